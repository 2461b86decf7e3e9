//! What callers are told instead of an answer: the one table of failures and gRPC statuses of this side.

use grpc_wire::GrpcStatus;
use invoke_core::{InvokeError, error::code};

use crate::codec::{DecodeError, EncodeError};

/// A method that this server does not have.
pub(super) fn unknown(path: &str) -> GrpcStatus {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) else {
        return GrpcStatus::new(code::UNIMPLEMENTED, format!("malformed method name: \"{path}\""));
    };
    match (service, method) {
        (
            "dapr.proto.internals.v1.ServiceInvocation",
            "CallActor" | "CallActorReminder" | "CallActorStream",
        ) => GrpcStatus::new(code::UNIMPLEMENTED, "this API is currently not implemented"),
        ("dapr.proto.internals.v1.ServiceInvocation", _) => GrpcStatus::new(
            code::UNIMPLEMENTED,
            format!("unknown method {method} for service {service}"),
        ),
        _ => GrpcStatus::new(code::UNIMPLEMENTED, format!("unknown service {service}")),
    }
}

/// A message that cannot be read.
pub(super) fn undecodable(error: &DecodeError) -> GrpcStatus {
    match error {
        DecodeError::Method(_) => GrpcStatus::new(code::INVALID_ARGUMENT, error.to_string()),
        DecodeError::Malformed(_) => GrpcStatus::new(code::INTERNAL, error.to_string()),
        DecodeError::HeaderName(_) | DecodeError::HeaderValue(_) => {
            GrpcStatus::new(code::INTERNAL, format!("error invoking app channel: {error}"))
        }
    }
}

/// A call that is not complete.
pub(super) fn incomplete(text: &str) -> GrpcStatus {
    GrpcStatus::new(
        code::INVALID_ARGUMENT,
        format!("parsing InternalInvokeRequest error: {text}"),
    )
}

/// A version of the protocol that is not known.
pub(super) fn unsupported_version(version: u64) -> GrpcStatus {
    let text = format!(
        "error invoking app channel: rpc error: code = Unimplemented desc = Unsupported spec version: {version}"
    );
    GrpcStatus::new(code::INTERNAL, text)
}

/// An answer that cannot be written.
pub(super) fn unmarshallable(error: &EncodeError) -> GrpcStatus {
    GrpcStatus::new(code::INTERNAL, error.to_string())
}

/// A proxied call that names no app.
pub(super) fn no_target(path: &str, is_traced: bool) -> GrpcStatus {
    GrpcStatus::new(code::UNKNOWN, invoke_codec::metadata::no_target(path, is_traced))
}

/// A proxied call that failed.
pub(super) fn proxied(error: InvokeError) -> GrpcStatus {
    let status = error.into_proxied_status();
    GrpcStatus::new(status.code, status.message)
}

/// A call that failed.
pub(super) fn status(error: &InvokeError) -> GrpcStatus {
    let status = error.received_status();
    GrpcStatus::new(status.code, status.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods() {
        assert_eq!(unknown("/a.B/C").message, "unknown service a.B");
        assert_eq!(unknown("/x").message, "malformed method name: \"/x\"");
        assert_eq!(
            unknown("/dapr.proto.internals.v1.ServiceInvocation/CallActor").message,
            "this API is currently not implemented"
        );
    }
}
