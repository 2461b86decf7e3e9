//! What an HTTP/1 server refuses before any handler sees it, in the words of Go's `net/http`.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;

use super::framing::HeadFraming;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The handler gets it.
    Pass,
    /// The handler gets it, and the connection is closed after the answer.
    PassAndClose,
    /// It is answered here.
    Answer(Response<Full<Bytes>>),
}

/// Judges the head of a request.
pub(super) fn judge<B>(request: &Request<B>, framing: HeadFraming) -> Verdict {
    let headers = request.headers();
    if request.version() >= Version::HTTP_11 && !headers.contains_key(header::HOST) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "400 Bad Request: missing required Host header",
        );
    }
    if headers.get_all(header::HOST).iter().count() > 1 || !is_escaped_well(request.uri().path()) {
        return refuse(StatusCode::BAD_REQUEST, "400 Bad Request");
    }
    if let Some(expect) = headers.get(header::EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Verdict::Answer(with_close(StatusCode::EXPECTATION_FAILED, Bytes::new()));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return judge_transfer_encoding(headers, framing);
    }
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return Verdict::Answer(Response::new(Full::default()));
    }
    Verdict::Pass
}

/// Whether every percent sign begins an escape (RFC 3986, section 2.1).
fn is_escaped_well(path: &str) -> bool {
    let mut parts = path.split('%');
    parts.next();
    parts.all(|part| matches!(part.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}

/// A request whose end can be read in two ways is refused and its connection closed (RFC 9112, section 6.1).
fn judge_transfer_encoding(headers: &HeaderMap, framing: HeadFraming) -> Verdict {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            match framing {
                HeadFraming::Chunked => Verdict::Pass,
                HeadFraming::Both => refuse(StatusCode::BAD_REQUEST, "400 Bad Request"),
                HeadFraming::Unknown => Verdict::PassAndClose,
            }
        }
        _ => refuse(StatusCode::NOT_IMPLEMENTED, "Unsupported transfer encoding"),
    }
}

fn refuse(status: StatusCode, text: &'static str) -> Verdict {
    let mut answer = with_close(status, Bytes::from_static(text.as_bytes()));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    Verdict::Answer(answer)
}

fn with_close(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
