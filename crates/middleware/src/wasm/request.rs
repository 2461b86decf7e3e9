//! The request of a call as the guest sees it.

use std::borrow::Cow;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Version};
use invoke_core::Body;
use transport::server::RawQuery;

use super::body::{Incoming, Rest, Written};
use super::state::Halt;
use crate::request::with_query;

/// A request.
#[derive(Debug)]
pub(super) struct GuestRequest {
    pub(super) parts: Parts,
    peer: Option<SocketAddr>,
    pub(super) incoming: Incoming,
    pub(super) written: Written,
    /// What the guest reads goes on all the same.
    pub(super) is_kept: bool,
    /// The length and the coding that came: the host frames bodies, whatever a guest says of them.
    framing: [Option<HeaderValue>; 2],
}

const FRAMING: [header::HeaderName; 2] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

impl GuestRequest {
    pub(super) fn new(request: Request<Body>, peer: Option<SocketAddr>) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            framing: FRAMING.map(|name| parts.headers.get(name).cloned()),
            parts,
            peer,
            incoming: Incoming::new(body),
            written: Written::default(),
            is_kept: false,
        }
    }

    /// Path and query, escaped.
    pub(super) fn uri(&self) -> Cow<'_, [u8]> {
        let uri = &self.parts.uri;
        let query = match self.parts.extensions.get::<RawQuery>() {
            Some(RawQuery(raw)) => Some(&raw[..]),
            None => uri.query().map(str::as_bytes),
        };
        with_query(uri, query)
    }

    /// Another path and query. Scheme and host stay, as in Dapr.
    pub(super) fn set_uri(&mut self, uri: &[u8]) -> Result<(), Halt> {
        let target = target(uri)?;
        let mut parts = std::mem::take(&mut self.parts.uri).into_parts();
        parts.path_and_query = Some(target);
        // The same scheme and authority as before, so it is one.
        self.parts.uri = Uri::from_parts(parts).unwrap_or_default();
        self.parts.extensions.remove::<RawQuery>();
        Ok(())
    }

    pub(super) fn set_method(&mut self, method: &[u8]) -> Result<(), Halt> {
        let wrong = || Halt::Refused(format!("invalid method {:?}", String::from_utf8_lossy(method)));
        self.parts.method = Method::from_bytes(method).map_err(|_| wrong())?;
        Ok(())
    }

    pub(super) fn version(&self) -> &'static str {
        match self.parts.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        }
    }

    pub(super) fn source(&self) -> String {
        self.peer.map(|peer| peer.to_string()).unwrap_or_default()
    }

    /// The host that was asked for, if it is no header: on HTTP/2.
    pub(super) fn host(&self) -> Option<&str> {
        if self.parts.headers.contains_key(header::HOST) {
            return None;
        }
        self.parts.uri.authority().map(http::uri::Authority::as_str)
    }

    /// The request for whoever comes next.
    pub(super) fn pass(&mut self) -> Request<Body> {
        let mut parts = Request::new(()).into_parts().0;
        parts.method = self.parts.method.clone();
        parts.version = self.parts.version;
        parts.uri = self.parts.uri.clone();
        parts.extensions = std::mem::take(&mut self.parts.extensions);
        // The guest may still read it when the answer is there.
        parts.headers = self.parts.headers.clone();
        for (name, came) in FRAMING.into_iter().zip(&mut self.framing) {
            put(&mut parts.headers, name, came.take());
        }
        let body = self.body(&mut parts.headers);
        Request::from_parts(parts, body)
    }

    fn body(&mut self, headers: &mut HeaderMap) -> Body {
        let incoming = std::mem::take(&mut self.incoming);
        let (body, length) = match self.written.take() {
            Some(written) => {
                let length = written.len() as u64;
                (Body::full(written), Some(length))
            }
            None => match incoming.rest(self.is_kept) {
                Rest::Untouched(body) | Rest::Restored(body) => return body,
                Rest::Less(body, length) => (body, length),
            },
        };
        headers.remove(header::TRANSFER_ENCODING);
        put(headers, header::CONTENT_LENGTH, length.map(HeaderValue::from));
        body
    }
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => {
            headers.insert(name, value);
        }
        None => {
            headers.remove(name);
        }
    }
}

/// What a guest writes as a URI: a path with a query, or a whole URL, of which that part counts.
fn target(uri: &[u8]) -> Result<PathAndQuery, Halt> {
    let wrong = |why: &str| {
        let uri = String::from_utf8_lossy(uri);
        Halt::Refused(format!("parse {uri:?}: {why}"))
    };
    if uri.is_empty() {
        return Ok(PathAndQuery::from_static("/"));
    }
    if uri.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    let target = if uri.starts_with(b"/") {
        uri
    } else {
        let after = |mark: &[u8]| uri.windows(mark.len()).position(|window| window == mark);
        let at = after(b"://").ok_or_else(|| wrong("invalid URI for request"))? + 3;
        let path = uri[at..].iter().position(|byte| matches!(byte, b'/' | b'?'));
        path.map_or(&b"/"[..], |path| &uri[at + path..])
    };
    let at = target
        .iter()
        .position(|byte| *byte == b'?')
        .unwrap_or(target.len());
    let (path, query) = target.split_at(at);
    if let Some(escape) = bad_escape(path) {
        return Err(wrong(&format!("invalid URL escape {escape:?}")));
    }
    let mut text = String::with_capacity(target.len() + 1);
    if !path.starts_with(b"/") {
        text.push('/');
    }
    push(&mut text, path, b"\"<>`{}^|\\#?");
    if !query.is_empty() {
        text.push('?');
        push(&mut text, &query[1..], b"\"<>#");
    }
    PathAndQuery::from_maybe_shared(Bytes::from(text)).map_err(|error| wrong(&error.to_string()))
}

/// Writes what may stand there, and the rest with escapes.
fn push(text: &mut String, bytes: &[u8], not: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_graphic() && !not.contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

fn bad_escape(path: &[u8]) -> Option<String> {
    let mut at = 0;
    while let Some(found) = path.get(at..)?.iter().position(|byte| *byte == b'%') {
        let escape = &path[at + found..path.len().min(at + found + 3)];
        if escape.len() < 3 || !escape[1..].iter().all(u8::is_ascii_hexdigit) {
            return Some(String::from_utf8_lossy(escape).into_owned());
        }
        at += found + 3;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (uri, wanted) in [
            ("", Ok("/")),
            ("/a?b=c", Ok("/a?b=c")),
            ("/a%2Fb?", Ok("/a%2Fb?")),
            ("/é b?x y", Ok("/%C3%A9%20b?x%20y")),
            ("http://h:1/p?q", Ok("/p?q")),
            ("http://h", Ok("/")),
            ("http://h?q", Ok("/?q")),
            ("a", Err("parse \"a\": invalid URI for request")),
            ("/a%zz", Err("parse \"/a%zz\": invalid URL escape \"%zz\"")),
            ("/a%2", Err("parse \"/a%2\": invalid URL escape \"%2\"")),
            (
                "/a\n",
                Err("parse \"/a\\n\": net/url: invalid control character in URL"),
            ),
        ] {
            let found = target(uri.as_bytes());
            match wanted {
                Ok(wanted) => assert_eq!(found.unwrap().as_str(), wanted, "{uri}"),
                Err(wanted) => assert_eq!(found.unwrap_err().to_string(), wanted),
            }
        }
    }
}
