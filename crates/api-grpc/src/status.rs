//! Statuses: what an app's answer and a failure become for a gRPC caller.

use api_core::TokenError;
use bytes::Bytes;
use grpc_wire::GrpcStatus;
use http::StatusCode;
use invoke_codec::status::{details, error_info};
use invoke_core::{BodyError, Cause, InvokeError, RpcStatus, StatusDetail, WireStatus, error::code};

const DOMAIN: &str = "dapr.io";
/// How much of an app's error page a caller is told.
const SHOWN_BODY: usize = 63;

/// The status of an invocation that failed.
pub(crate) fn of_failure(target: &str, error: &InvokeError) -> GrpcStatus {
    match &error.cause {
        Cause::DeadlineExceeded | Cause::Body(BodyError::DeadlineExceeded) => {
            GrpcStatus::new(code::DEADLINE_EXCEEDED, error.to_string())
        }
        Cause::BreakerOpen | Cause::BreakerFull => GrpcStatus::new(code::UNKNOWN, error.to_string()),
        _ => GrpcStatus::new(
            code::INTERNAL,
            format!("failed to invoke, id: {target}, err: {error}"),
        ),
    }
}

/// An invocation of nothing. Dapr finds out at the other sidecar, hence the words.
pub(crate) fn no_message(target: &str) -> GrpcStatus {
    let found = RpcStatus::new(
        code::INVALID_ARGUMENT,
        "parsing InternalInvokeRequest error: request does not contain the required fields in the leading chunk",
    );
    GrpcStatus::new(
        code::INTERNAL,
        format!("failed to invoke, id: {target}, err: {found}"),
    )
}

/// The status of an app's answer; `None` when it is a success. `body` is the beginning of the answer's body.
pub(crate) fn of_app(status: &WireStatus, body: &[u8]) -> Option<GrpcStatus> {
    if !status.is_http() {
        return (status.code != code::OK).then(|| GrpcStatus {
            code: status.code,
            message: status.message.clone(),
            details: details(status),
        });
    }
    if (200..300).contains(&status.code) {
        return None;
    }
    let reason = reason(status.code);
    let shown = &body[..body.len().min(SHOWN_BODY)];
    let detail = std::str::from_utf8(shown)
        .ok()
        .map(|shown| http_detail(status.code, reason, shown));
    Some(with_details(
        code_of_http(status.code),
        reason,
        detail.into_iter().collect(),
    ))
}

/// A caller that did not show the token.
pub(crate) fn of_token(error: TokenError) -> GrpcStatus {
    let text = match error {
        TokenError::Missing => "missing api token in request metadata",
        TokenError::Wrong => "authentication error: api token mismatch",
    };
    let reason = reason(401);
    let detail = http_detail(401, reason, text);
    with_details(code::UNAUTHENTICATED, reason, vec![detail])
}

/// A method that `spec.api` takes away.
pub(crate) fn not_available() -> GrpcStatus {
    let reason = reason(501);
    let detail = http_detail(501, reason, "requested endpoint is not available");
    with_details(code::UNIMPLEMENTED, reason, vec![detail])
}

/// A status with details.
pub(crate) fn with_details(code: i32, message: &str, details: Vec<StatusDetail>) -> GrpcStatus {
    let status = WireStatus {
        code,
        message: message.to_owned(),
        details,
    };
    GrpcStatus {
        details: invoke_codec::status::details(&status),
        code,
        message: status.message,
    }
}

fn http_detail(status: i32, reason: &str, text: &str) -> StatusDetail {
    let code = status.to_string();
    error_info(
        reason,
        DOMAIN,
        &[("http.code", &code), ("http.error_message", text)],
    )
}

/// The reason phrase, empty where no standard has one.
fn reason(status: i32) -> &'static str {
    let status = u16::try_from(status)
        .ok()
        .and_then(|s| StatusCode::from_u16(s).ok());
    match status.map(|status| status.as_u16()) {
        // Go's spelling differs in these.
        Some(203) => "Non-Authoritative Information",
        Some(413) => "Request Entity Too Large",
        Some(414) => "Request URI Too Long",
        Some(416) => "Requested Range Not Satisfiable",
        Some(418) => "I'm a teapot",
        _ => status.and_then(|status| status.canonical_reason()).unwrap_or(""),
    }
}

/// The code for the HTTP status of an app (Dapr's documentation, "Service invocation API reference").
fn code_of_http(status: i32) -> i32 {
    match status {
        400 => code::INTERNAL,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 => 5,
        408 => code::CANCELLED,
        409 => 6,
        429 => code::RESOURCE_EXHAUSTED,
        501 => code::UNIMPLEMENTED,
        503 => code::UNAVAILABLE,
        504 => code::DEADLINE_EXCEEDED,
        _ => code::UNKNOWN,
    }
}

/// An answer that is longer than a message may be.
pub(crate) fn too_large(length: usize, max: usize) -> GrpcStatus {
    GrpcStatus::new(
        code::RESOURCE_EXHAUSTED,
        format!("grpc: trying to send message larger than max ({length} vs. {max})"),
    )
}

/// A path that names no method.
pub(crate) fn malformed(path: &str) -> GrpcStatus {
    GrpcStatus::new(code::UNIMPLEMENTED, format!("malformed method name: \"{path}\""))
}

/// A service that Dapr has and this sidecar does not.
pub(crate) fn not_implemented() -> GrpcStatus {
    GrpcStatus::new(code::UNIMPLEMENTED, "this API is currently not implemented")
}

/// A proxied call that names no app.
pub(crate) fn no_target(path: &str, is_traced: bool) -> GrpcStatus {
    GrpcStatus::new(code::UNKNOWN, invoke_codec::metadata::no_target(path, is_traced))
}

/// A proxied call that failed.
pub(crate) fn of_proxied(error: InvokeError) -> GrpcStatus {
    let status = error.into_proxied_status();
    GrpcStatus::new(status.code, status.message)
}

/// The beginning of a body that came in pieces.
pub(crate) fn beginning(pieces: &[Bytes]) -> Vec<u8> {
    pieces
        .iter()
        .flat_map(|piece| piece.iter().copied())
        .take(SHOWN_BODY)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_statuses() {
        for (status, code, message) in [
            (400, 13, "Bad Request"),
            (401, 16, "Unauthorized"),
            (404, 5, "Not Found"),
            (302, 2, "Found"),
            (413, 2, "Request Entity Too Large"),
            (429, 8, "Too Many Requests"),
            (500, 2, "Internal Server Error"),
            (503, 14, "Service Unavailable"),
            (599, 2, ""),
        ] {
            let wire = WireStatus {
                code: status,
                ..WireStatus::default()
            };
            let mapped = of_app(&wire, b"why").unwrap();
            assert_eq!(
                (mapped.code, mapped.message.as_str()),
                (code, message),
                "{status}"
            );
            assert!(mapped.details.is_some());
        }
        let fine = WireStatus::http(StatusCode::NO_CONTENT);
        assert_eq!(of_app(&fine, b""), None);
    }

    #[test]
    fn a_body_that_is_cut_within_a_character_is_not_told() {
        let wire = WireStatus::http(StatusCode::NOT_FOUND);
        let mut body = "x".repeat(62);
        body.push('é');
        assert_eq!(of_app(&wire, body.as_bytes()).unwrap().details, None);
        assert!(of_app(&wire, &body.as_bytes()[1..]).unwrap().details.is_some());
    }

    #[test]
    fn the_status_of_a_grpc_app_is_not_touched() {
        let wire = WireStatus {
            code: 20,
            message: "odd".into(),
            details: vec![StatusDetail {
                type_url: "t".into(),
                value: Bytes::from_static(b"v"),
            }],
        };
        let status = of_app(&wire, b"").unwrap();
        assert_eq!((status.code, status.message.as_str()), (20, "odd"));
        assert_eq!(status.details, details(&wire));
    }

    #[test]
    fn failures() {
        let error = InvokeError::unsent(invoke_core::Fault::Us, Cause::NoResolver);
        let status = of_failure("b.ns", &error);
        assert_eq!(status.code, 13);
        assert_eq!(
            status.message,
            "failed to invoke, id: b.ns, err: name resolver not initialized"
        );
    }
}
