//! What callers are told instead of an answer: the one table of failures and gRPC statuses of this side.

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use invoke_core::{Cause, InvokeError, error::code};
use transport::grpc::GrpcStatus;

use super::Answer;
use crate::codec::{DecodeError, EncodeError};

/// Requests that are no gRPC calls, answered as gRPC for Go answers them.
pub(super) fn of_http<B>(request: &Request<B>) -> Option<Response<Answer>> {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    if !is_grpc(content_type) {
        let text = format!(
            "invalid gRPC request content-type \"{}\"",
            String::from_utf8_lossy(content_type)
        );
        return Some(refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            &GrpcStatus::new(3, text),
        ));
    }
    if request.method() != Method::POST {
        let text = format!(
            "Received a HEADERS frame with :method \"{}\" which should be POST",
            request.method()
        );
        return Some(refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            &GrpcStatus::new(code::INTERNAL, text),
        ));
    }
    None
}

fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type
        .get(..16)
        .filter(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    rest.is_some() && matches!(content_type.get(16), None | Some(b'+' | b';'))
}

fn refusal(http: StatusCode, status: &GrpcStatus) -> Response<Answer> {
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = http;
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    status.write(response.headers_mut());
    response
}

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

/// A call that failed.
pub(super) fn status(error: &InvokeError) -> GrpcStatus {
    match &error.cause {
        Cause::NoApp => GrpcStatus::new(code::INTERNAL, error.to_string()),
        Cause::Denied { .. } => GrpcStatus::new(code::PERMISSION_DENIED, error.to_string()),
        Cause::Method(method) => GrpcStatus::new(code::INVALID_ARGUMENT, format!("invalid method: {method}")),
        _ => GrpcStatus::new(code::INTERNAL, format!("error invoking app channel: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (content_type, wanted) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;x", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(content_type.as_bytes()), wanted, "{content_type:?}");
        }
    }

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
