//! Failures of a hop as Dapr names them.

use grpc_wire::{GrpcStatus, RelayFailure};
use invoke_core::{Delivery, Fault, InvokeError, RpcStatus, StatusDetail};
use transport::client::ClientError;

/// A failure before the first message.
pub(super) fn transport(error: ClientError) -> InvokeError {
    let status = rpc(GrpcStatus::of_failure(&error));
    InvokeError::new(Fault::Peer, seen(error.seen()), status).refused(error.is_refusal())
}

/// A proxied call that no answer came to.
pub(super) fn relayed(failure: RelayFailure) -> InvokeError {
    let fault = if failure.is_of_request {
        Fault::Caller
    } else {
        Fault::Peer
    };
    InvokeError::new(fault, seen(failure.seen), rpc(failure.status)).refused(failure.is_refusal)
}

fn seen(seen: transport::client::Delivery) -> Delivery {
    match seen {
        transport::client::Delivery::No => Delivery::No,
        transport::client::Delivery::Maybe => Delivery::Maybe,
    }
}

/// The other sidecar is there, but its app is not: others may have the call.
pub(super) fn unseen(status: GrpcStatus) -> InvokeError {
    InvokeError::new(Fault::Peer, Delivery::No, rpc(status)).refused(true)
}

/// A status of the other sidecar, or of gRPC on the way to it.
pub(super) fn status(status: GrpcStatus) -> InvokeError {
    InvokeError::new(Fault::Peer, Delivery::Yes, rpc(status))
}

pub(super) fn rpc(status: GrpcStatus) -> RpcStatus {
    RpcStatus {
        code: status.code,
        message: status.message,
        details: Vec::<StatusDetail>::new(),
    }
}
