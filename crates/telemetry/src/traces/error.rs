//! What keeps traces from being set up.

use thiserror::Error;

use crate::otlp::VariableError;

/// A configuration of tracing that cannot be used, in the words of Dapr.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TraceError {
    /// The protocol of the collector is none that is known.
    #[error("failed to setup tracing: invalid protocol {0} provided for Otel endpoint")]
    Protocol(String),
    /// The address of the Zipkin collector is none.
    #[error("failed to setup tracing: invalid collector URL {url:?}: {reason}")]
    Zipkin {
        /// The address.
        url: String,
        /// Why not.
        reason: String,
    },
    /// How long an export may take cannot be read.
    #[error("failed to setup tracing: {0}")]
    Timeout(String),
    /// A variable of the environment cannot be read. What is wrong with it may be a secret and is not shown.
    #[error("error setting tracing spec from env: {0}")]
    Variable(String),
}

impl From<VariableError> for TraceError {
    fn from(VariableError(text): VariableError) -> Self {
        Self::Variable(text)
    }
}
