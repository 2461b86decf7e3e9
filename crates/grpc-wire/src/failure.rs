//! What a broken transport means to a gRPC caller.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::{GrpcStatus, status_of_http};
use transport::client::{ClientError, ErrorKind};

const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

impl GrpcStatus {
    /// The status of a call that failed before the head of its answer was there, in the words of gRPC for Go.
    pub fn of_failure(error: &ClientError) -> Self {
        if let Some(words) = error.without_preface() {
            let text = format!("connection error: desc = \"error reading server preface: {words}\"");
            return Self::new(UNAVAILABLE, text);
        }
        let text = match error.kind() {
            ErrorKind::StreamReset(reason) => return Self::of_reset(reason),
            ErrorKind::Closed | ErrorKind::Reset => format!("error reading from server: {error}"),
            ErrorKind::Connect => {
                format!("connection error: desc = \"transport: Error while dialing: {error}\"")
            }
            ErrorKind::Handshake => {
                format!("connection error: desc = \"transport: authentication handshake failed: {error}\"")
            }
            _ => format!("connection error: desc = \"{error}\""),
        };
        Self::new(UNAVAILABLE, text)
    }

    /// The status of a call whose answer broke after its head.
    pub fn of_broken_answer(error: &(dyn std::error::Error + 'static)) -> Self {
        let kind = ErrorKind::of(error);
        let cause = match kind {
            ErrorKind::StreamReset(reason) => return Self::of_reset(reason),
            ErrorKind::Closed => "EOF".to_owned(),
            ErrorKind::Reset => "read: connection reset by peer".to_owned(),
            _ => last_cause(error).to_string(),
        };
        Self::new(UNAVAILABLE, format!("error reading from server: {cause}"))
    }

    /// What is wrong with the head of an answer that has no status, if it is no gRPC.
    pub fn of_head(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_grpc = content_type.is_some_and(|text| text.starts_with(b"application/grpc"));
        if status == StatusCode::OK && is_grpc {
            return None;
        }
        let code = if status == StatusCode::OK {
            UNKNOWN
        } else {
            status_of_http(status)
        };
        let number = status.as_u16();
        let shown = match status.canonical_reason() {
            Some(reason) => format!("{number} ({reason})"),
            None => number.to_string(),
        };
        let what = match content_type {
            None => "; malformed header: missing HTTP content-type".to_owned(),
            Some(_) if is_grpc => String::new(),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                format!("; transport: received unexpected content-type {other:?}")
            }
        };
        let text = format!("unexpected HTTP status code received from server: {shown}{what}");
        Some(Self::new(code, text))
    }

    /// The status of a call whose stream was reset with this code ("gRPC over HTTP2", Errors).
    pub fn of_reset(reason: u32) -> Self {
        let code = match reason {
            7 => UNAVAILABLE,
            8 => CANCELLED,
            3 | 11 => RESOURCE_EXHAUSTED,
            12 => PERMISSION_DENIED,
            _ => INTERNAL,
        };
        let name = ResetName(reason);
        Self::new(
            code,
            format!("stream terminated by RST_STREAM with error code: {name}"),
        )
    }
}

/// What a transport says of a broken stream, short.
fn last_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| (*error).source())
        .last()
        .unwrap_or(error)
}

/// The name of an HTTP/2 error code (RFC 9113, section 7).
struct ResetName(u32);

impl std::fmt::Display for ResetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match usize::try_from(self.0).ok().and_then(|code| NAMES.get(code)) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_are_no_grpc() {
        let head = |status, content_type: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(content_type) = content_type {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            GrpcStatus::of_head(status, &headers).map(|status| (status.code, status.message))
        };
        assert_eq!(head(StatusCode::OK, Some("application/grpc+json")), None);
        let (code, text) = head(StatusCode::BAD_GATEWAY, Some("text/html")).unwrap();
        assert_eq!(code, UNAVAILABLE);
        assert_eq!(
            text,
            "unexpected HTTP status code received from server: 502 (Bad Gateway); \
             transport: received unexpected content-type \"text/html\""
        );
        assert_eq!(head(StatusCode::OK, None).unwrap().0, UNKNOWN);
    }

    #[test]
    fn resets() {
        for (reason, code, name) in [
            (0, INTERNAL, "NO_ERROR"),
            (7, UNAVAILABLE, "REFUSED_STREAM"),
            (8, CANCELLED, "CANCEL"),
            (11, RESOURCE_EXHAUSTED, "ENHANCE_YOUR_CALM"),
            (99, INTERNAL, "99"),
        ] {
            let status = GrpcStatus::of_reset(reason);
            assert_eq!(status.code, code, "{reason}");
            assert!(status.message.ends_with(name), "{}", status.message);
        }
    }
}
