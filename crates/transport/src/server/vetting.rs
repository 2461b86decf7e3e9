//! What an HTTP/1 server refuses before any handler sees it, in the words of Go's `net/http`.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;

use super::watch::HeadFraming;

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
    if request.version() >= Version::HTTP_11
        && !headers.contains_key(header::HOST)
        && request.method() != Method::CONNECT
    {
        return refuse(
            StatusCode::BAD_REQUEST,
            "400 Bad Request: missing required Host header",
        );
    }
    if headers.get_all(header::HOST).iter().count() > 1 || !is_target(request.method(), request.uri()) {
        return refuse(StatusCode::BAD_REQUEST, "400 Bad Request");
    }
    if !headers.get(header::HOST).is_none_or(is_host) {
        return refuse(StatusCode::BAD_REQUEST, "400 Bad Request: malformed Host header");
    }
    if let Some(expect) = headers.get(header::EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::EXPECTATION_FAILED;
        return Verdict::Answer(closing(answer));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return judge_transfer_encoding(headers, framing);
    }
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return Verdict::Answer(Response::new(Full::default()));
    }
    Verdict::Pass
}

/// Whether a request asks for something: a path, which begins with a slash, a whole URL, or everything. A name alone is
/// the form of CONNECT (RFC 9112, section 3.2.3).
fn is_target(method: &Method, uri: &Uri) -> bool {
    let is_name = uri.authority().is_some() && uri.scheme().is_none();
    (!is_name || method == Method::CONNECT) && is_escaped_well(uri.path())
}

/// Whether a host has only bytes that hosts and ports may have, for Go's `net/http`.
fn is_host(host: &HeaderValue) -> bool {
    let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"!$%&()*+,-.:;=[']_~".contains(byte);
    host.as_bytes().iter().all(is_fine)
}

/// Whether every percent sign begins an escape (RFC 3986, section 2.1).
pub(super) fn is_escaped_well(path: &str) -> bool {
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
    let mut answer = closing(plain(status, text));
    // The status line says as much as the body.
    if let Some(phrase) = text.strip_prefix("400 ") {
        answer
            .extensions_mut()
            .insert(ReasonPhrase::from_static(phrase.as_bytes()));
    }
    Verdict::Answer(answer)
}

/// A refusal in words.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}

fn closing(mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

/// Whether the client says that this is its last request on the connection.
pub(super) fn says_close(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, target: &str, headers: &[(&'static str, &'static str)]) -> Option<u16> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match judge(&request.body(()).unwrap(), HeadFraming::Chunked) {
            Verdict::Answer(answer) => Some(answer.status().as_u16()),
            Verdict::Pass | Verdict::PassAndClose => None,
        }
    }

    #[test]
    fn targets() {
        for (method, target, wanted) in [
            ("GET", "/", None),
            ("GET", "/a%2Fb?c", None),
            ("GET", "*", None),
            ("OPTIONS", "*", Some(200)),
            ("GET", "http://x/a", None),
            ("GET", "http://x", None),
            ("GET", "http://x?a", None),
            ("GET", "foo", Some(400)),
            ("GET", "foo:1", Some(400)),
            ("POST", "v1.0", Some(400)),
            ("GET", "/%zz", Some(400)),
            ("CONNECT", "foo:1", None),
        ] {
            assert_eq!(
                status(method, target, &[("host", "x")]),
                wanted,
                "{method} {target}"
            );
        }
    }

    #[test]
    fn hosts() {
        for (host, wanted) in [
            ("", None),
            ("x", None),
            ("x:1", None),
            ("[::1]:80", None),
            ("a_b~c", None),
            ("a b", Some(400)),
            ("a/b", Some(400)),
            ("a@b", Some(400)),
            ("a\"b", Some(400)),
            ("a<b", Some(400)),
            ("a#b", Some(400)),
        ] {
            assert_eq!(status("GET", "/", &[("host", host)]), wanted, "{host:?}");
        }
        assert_eq!(status("GET", "/", &[]), Some(400));
        assert_eq!(status("CONNECT", "x:1", &[]), None);
        assert_eq!(status("GET", "/", &[("host", "x"), ("host", "x")]), Some(400));
    }

    #[test]
    fn who_says_close() {
        for (values, wanted) in [
            (&["close"][..], true),
            (&["keep-alive"], false),
            (&["Keep-Alive , CLOSE"], true),
            (&["upgrade", "close"], true),
            (&["closed"], false),
            (&[], false),
        ] {
            let values = values.iter().map(|value| HeaderValue::from_static(value));
            let headers: HeaderMap = values.map(|value| (header::CONNECTION, value)).collect();
            assert_eq!(says_close(&headers), wanted, "{headers:?}");
        }
    }
}
