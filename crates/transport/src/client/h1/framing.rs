//! How an answer is framed (RFC 9112, section 6).

use http::{Response, StatusCode, Version, header};
use http_body::Body;

/// Why an answer is not to be read, although the HTTP library would; in the words of Go's HTTP client.
pub(super) fn refused<B>(answer: &Response<B>) -> Option<String> {
    let mut codings = answer.headers().get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next()?;
    let text = |coding: &http::HeaderValue| String::from_utf8_lossy(coding.as_bytes()).into_owned();
    if codings.next().is_some() {
        let all = answer.headers().get_all(header::TRANSFER_ENCODING).iter();
        let all: Vec<String> = all.map(|coding| format!("{:?}", text(coding))).collect();
        return Some(format!("too many transfer encodings: [{}]", all.join(" ")));
    }
    // Any other coding would have to be undone: the next hop is told nothing of it.
    let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    (!is_chunked).then(|| format!("unsupported transfer encoding: {:?}", text(coding)))
}

/// Whether the connection ends with an answer: it says so, its body has no other end, or what follows is no HTTP. No
/// request of ours asks for another protocol; an app that answers 101 all the same says nothing else.
pub(super) fn is_last<B: Body>(answer: &Response<B>) -> bool {
    let says = |token: &[u8]| {
        let lines = answer.headers().get_all(header::CONNECTION).iter();
        lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .any(|said| said.trim_ascii().eq_ignore_ascii_case(token))
    };
    let is_chunked = answer.headers().contains_key(header::TRANSFER_ENCODING);
    let has_no_end = answer.body().size_hint().exact().is_none() && !is_chunked;
    let is_left = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    is_left || has_no_end || says(b"close") || (answer.version() < Version::HTTP_11 && !says(b"keep-alive"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::Frame;
    use http_body_util::{Empty, Full, StreamBody};

    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Response<Empty<bytes::Bytes>> {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        answer.body(Empty::new()).unwrap()
    }

    #[test]
    fn codings() {
        for (codings, wanted) in [
            (&[][..], None),
            (&["chunked"], None),
            (&["Chunked"], None),
            (
                &["gzip, chunked"],
                Some("unsupported transfer encoding: \"gzip, chunked\""),
            ),
            (&["gzip"], Some("unsupported transfer encoding: \"gzip\"")),
            (&["identity"], Some("unsupported transfer encoding: \"identity\"")),
            (&[""], Some("unsupported transfer encoding: \"\"")),
            (
                &["gzip", "chunked"],
                Some("too many transfer encodings: [\"gzip\" \"chunked\"]"),
            ),
            (
                &["chunked", "chunked"],
                Some("too many transfer encodings: [\"chunked\" \"chunked\"]"),
            ),
        ] {
            let headers: Vec<_> = codings
                .iter()
                .map(|coding| ("transfer-encoding", *coding))
                .collect();
            assert_eq!(refused(&answer(200, &headers)).as_deref(), wanted, "{codings:?}");
        }
        assert!(is_last(&answer(101, &[("upgrade", "websocket")])));
    }

    #[test]
    fn ends() {
        for (headers, wanted) in [
            (&[][..], false),
            (&[("connection", "keep-alive")], false),
            (&[("connection", "close")], true),
            (&[("connection", "x-mine, Close")], true),
            (&[("connection", "keep-alive"), ("connection", "close")], true),
        ] {
            assert_eq!(is_last(&answer(200, headers)), wanted, "{headers:?}");
        }
        let mut old = answer(200, &[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(is_last(&old));
        old.headers_mut()
            .insert("connection", "Keep-Alive".parse().unwrap());
        assert!(!is_last(&old));
        let known = Response::new(Full::new(bytes::Bytes::from_static(b"x")));
        assert!(!is_last(&known));
        let nothing = futures_util::stream::empty::<Result<Frame<bytes::Bytes>, Infallible>>();
        let mut unknown = Response::new(StreamBody::new(nothing));
        assert!(is_last(&unknown));
        unknown
            .headers_mut()
            .insert("transfer-encoding", "chunked".parse().unwrap());
        assert!(!is_last(&unknown));
    }
}
