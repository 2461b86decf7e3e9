//! What goes wrong between a sidecar and its operator.

use invoke_core::RpcStatus;
use thiserror::Error;

/// Resources that cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// Nobody said where the operator is.
    #[error(
        "error creating operator client: the address of the operator is not known: --control-plane-address is empty or no address"
    )]
    Address,
    /// There is no connection: the operator is not there, or not who it should be.
    #[error(
        "error creating operator client: context deadline exceeded: connection error: desc = \"transport: {0}\""
    )]
    Connection(String),
    /// The operator gave no answer, or refused.
    #[error("{0}")]
    Refused(RpcStatus),
    /// There is no configuration of this name.
    #[error("configuration {0} not found")]
    NoConfiguration(String),
}
