//! The head of a call that a server takes in.

use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use super::{Encoding, GrpcStatus, parse_timeout};

/// The most headers of one message, each value counted, as `http2` bounds those of a header block.
///
/// An [`HeaderMap`] panics when it has to grow beyond 32,768 places, which names that collide on purpose make it do from
/// 6,554 entries on. Some are added on the way to the app.
pub const MOST_HEADERS: usize = 6 * 1024;

const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;

/// What the head of a call says about the connection's side of it.
#[derive(Clone, Debug)]
pub struct CallHead {
    /// How its messages are compressed.
    pub encoding: Encoding,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// The content type, which the answer repeats.
    pub content_type: HeaderValue,
}

/// Why a request is not taken in, as gRPC for Go says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the HTTP answer.
    pub http: StatusCode,
    /// The status of the call.
    pub status: GrpcStatus,
    /// Whether the body says it, too: no client of gRPC leaves the content type out, so that somebody may read this.
    is_told: bool,
}

impl CallHead {
    /// Reads the head of a request whose messages are read here. Boxed, because refusals are rare and large.
    pub fn of<B>(request: &Request<B>) -> Result<Self, Box<Refusal>> {
        let mut head = Self::of_relayed(request)?;
        head.encoding = Encoding::of(request.headers()).map_err(|status| Refusal {
            http: StatusCode::OK,
            status,
            is_told: false,
        })?;
        Ok(head)
    }

    /// Reads the head of a request whose messages are passed on as they are, in whatever encoding.
    pub fn of_relayed<B>(request: &Request<B>) -> Result<Self, Box<Refusal>> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let refuse = |http, code, text: String| {
            Err(Box::new(Refusal {
                http,
                status: GrpcStatus::new(code, text),
                is_told: content_type.is_none() && request.method() != Method::HEAD,
            }))
        };
        if request.headers().len() > MOST_HEADERS {
            let text = format!("more than {MOST_HEADERS} headers");
            return refuse(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                RESOURCE_EXHAUSTED,
                text,
            );
        }
        let content_type = match content_type {
            Some(content_type) if is_grpc(content_type.as_bytes()) => content_type.clone(),
            other => {
                let shown = other.map_or(&b""[..], HeaderValue::as_bytes);
                let shown = String::from_utf8_lossy(shown);
                let text = format!("invalid gRPC request content-type \"{shown}\"");
                return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_ARGUMENT, text);
            }
        };
        if request.method() != Method::POST {
            let text = format!(
                "Received a HEADERS frame with :method \"{}\" which should be POST",
                request.method()
            );
            return refuse(StatusCode::METHOD_NOT_ALLOWED, INTERNAL, text);
        }
        let deadline = match deadline(request.headers()) {
            Ok(deadline) => deadline,
            Err(text) => return refuse(StatusCode::BAD_REQUEST, INTERNAL, text),
        };
        Ok(Self {
            encoding: Encoding::Identity,
            deadline,
            content_type,
        })
    }
}

impl Refusal {
    /// A call that is read as far as its metadata, which cannot be.
    pub fn bad_metadata(text: impl Into<String>) -> Self {
        Self {
            http: StatusCode::BAD_REQUEST,
            status: GrpcStatus::new(INTERNAL, text),
            is_told: false,
        }
    }

    /// The answer: all of it is in the head, and once more in the body for whoever does not speak gRPC.
    pub fn to_response<B: Default + From<Bytes>>(&self) -> Response<B> {
        let mut response = trailers_only(&self.status, HeaderValue::from_static("application/grpc"));
        *response.status_mut() = self.http;
        if self.is_told {
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, text);
            *response.body_mut() = B::from(format!("{}\n", self.status.message).into());
        }
        response
    }
}

/// An answer without messages, whose head has the status.
pub fn trailers_only<B: Default>(status: &GrpcStatus, content_type: HeaderValue) -> Response<B> {
    let mut response = Response::new(B::default());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    status.write(response.headers_mut());
    response
}

fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type
        .get(..16)
        .filter(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    rest.is_some() && matches!(content_type.get(16), None | Some(b'+' | b';'))
}

fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, String> {
    let Some(timeout) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    match timeout.to_str().ok().and_then(parse_timeout) {
        // A time-out beyond what the clock can tell is none.
        Some(timeout) => Ok(Instant::now().checked_add(timeout)),
        None => Err(format!(
            "malformed grpc-timeout: {}",
            String::from_utf8_lossy(timeout.as_bytes())
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> (u16, i32) {
        let request = build(Request::post("/a/b")).body(()).unwrap();
        match CallHead::of(&request) {
            Ok(_) => (0, 0),
            Err(refusal) => (refusal.http.as_u16(), refusal.status.code),
        }
    }

    #[test]
    fn who_does_not_speak_grpc_can_read_that() {
        let told = |method: Method, content_type: Option<&str>| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            if let Some(content_type) = content_type {
                let value = content_type.parse().unwrap();
                request.headers_mut().insert(header::CONTENT_TYPE, value);
            }
            let response = CallHead::of(&request).unwrap_err().to_response::<Bytes>();
            (response.status().as_u16(), response.into_body())
        };
        let text = "invalid gRPC request content-type \"\"\n";
        assert_eq!(told(Method::GET, None), (415, text.into()));
        assert_eq!(told(Method::HEAD, None), (415, "".into()));
        assert_eq!(told(Method::POST, Some("text/plain")), (415, "".into()));
        assert_eq!(told(Method::GET, Some("application/grpc")), (405, "".into()));
    }

    #[test]
    fn heads() {
        for (content_type, wanted) in [
            ("application/grpc", (0, 0)),
            ("application/grpc+proto", (0, 0)),
            ("Application/gRPC;x", (0, 0)),
            ("application/grpc-web", (415, 3)),
            ("application/json", (415, 3)),
            ("", (415, 3)),
        ] {
            assert_eq!(
                refused(|r| r.header("content-type", content_type)),
                wanted,
                "{content_type:?}"
            );
        }
        let grpc = |r: http::request::Builder| r.header("content-type", "application/grpc");
        assert_eq!(refused(|r| r), (415, 3));
        assert_eq!(refused(|r| grpc(r).method("GET")), (405, 13));
        assert_eq!(refused(|r| grpc(r).header("grpc-timeout", "x")), (400, 13));
        assert_eq!(refused(|r| grpc(r).header("grpc-timeout", "99999999H")), (0, 0));
        assert_eq!(refused(|r| grpc(r).header("grpc-encoding", "zstd")), (200, 12));
        let many = |count| {
            (0..count).fold(Request::post("/a/b"), |r, number| {
                r.header(format!("h{number}"), "v")
            })
        };
        assert_eq!(refused(|_| grpc(many(MOST_HEADERS - 1))), (0, 0));
        assert_eq!(refused(|_| grpc(many(MOST_HEADERS))), (431, 8));
        let unknown = grpc(Request::post("/a/b")).header("grpc-encoding", "zstd");
        assert!(CallHead::of_relayed(&unknown.body(()).unwrap()).is_ok());
    }
}
