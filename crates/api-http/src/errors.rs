//! The failures that callers of the HTTP API see.

use std::fmt::Write as _;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use invoke_core::{Body, InvokeError, error::code};

/// The code of every failed invocation.
pub(crate) const DIRECT_INVOKE: &str = "ERR_DIRECT_INVOKE";
pub(crate) const HEALTH_NOT_READY: &str = "ERR_HEALTH_NOT_READY";
pub(crate) const HEALTH_APPID_NOT_MATCH: &str = "ERR_HEALTH_APPID_NOT_MATCH";
pub(crate) const OUTBOUND_HEALTH_NOT_READY: &str = "ERR_OUTBOUND_HEALTH_NOT_READY";
pub(crate) const BODY_READ: &str = "ERR_BODY_READ";
pub(crate) const MALFORMED_REQUEST: &str = "ERR_MALFORMED_REQUEST";
pub(crate) const MALFORMED_RESPONSE: &str = "ERR_MALFORMED_RESPONSE";

/// An error answer: `{"errorCode":"…","message":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The JSON of `details`, if there are any.
    pub(crate) details: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: None,
        }
    }

    pub(crate) fn internal(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
    }

    /// A request that names no app.
    pub(crate) fn no_target() -> Self {
        let message = "failed getting app id either from the URL path or the header dapr-app-id";
        Self::new(StatusCode::NOT_FOUND, DIRECT_INVOKE, message)
    }

    /// A failed invocation.
    pub(crate) fn of_invocation(target: &str, error: &InvokeError) -> Self {
        let status = match error.rpc_code() {
            Some(code::PERMISSION_DENIED) => StatusCode::FORBIDDEN,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(
            status,
            DIRECT_INVOKE,
            format!("failed to invoke, id: {target}, err: {error}"),
        )
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut json = format!(
            "{{\"errorCode\":{},\"message\":{}",
            quoted(self.code),
            quoted(&self.message)
        );
        if let Some(details) = &self.details {
            let _ = write!(json, ",\"details\":{details}");
        }
        json.push('}');
        let mut response = Response::new(Body::full(json));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// A JSON string as Go writes it: `<`, `>`, `&` and the two line separators of Unicode are escaped.
pub(crate) fn quoted(text: &str) -> String {
    let plain = serde_json::Value::String(text.to_owned()).to_string();
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain;
    }
    let mut escaped = String::with_capacity(plain.len() + 16);
    for character in plain.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(escaped, "\\u{:04x}", character as u32);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// A plain-text answer as Go's `http.Error` makes it.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// A path that is not there.
pub(crate) fn not_found() -> Response<Body> {
    plain(StatusCode::NOT_FOUND, "404 page not found")
}

/// A path that is there for other methods.
pub(crate) fn wrong_method(allowed: &[&str]) -> Response<Body> {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    if let Ok(allowed) = HeaderValue::from_str(&allowed.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use invoke_core::{Delivery, Fault, RpcStatus};

    use super::*;

    fn json(error: ApiError) -> String {
        let mut response = error.into_response();
        String::from_utf8(response.body_mut().take_full().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn texts() {
        let denied = RpcStatus::new(code::PERMISSION_DENIED, "no <a&b>");
        let error = ApiError::of_invocation("x", &InvokeError::new(Fault::Peer, Delivery::Yes, denied));
        assert_eq!(error.status, 403);
        assert_eq!(
            json(error),
            "{\"errorCode\":\"ERR_DIRECT_INVOKE\",\"message\":\"failed to invoke, id: x, err: rpc error: \
             code = PermissionDenied desc = no \\u003ca\\u0026b\\u003e\"}"
        );
        assert_eq!(
            json(ApiError::no_target()),
            "{\"errorCode\":\"ERR_DIRECT_INVOKE\",\
             \"message\":\"failed getting app id either from the URL path or the header dapr-app-id\"}"
        );
    }
}
