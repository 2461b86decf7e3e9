//! Path and query of a request, as Go's servers and clients have them.

#[cfg(any(
    feature = "routeralias",
    feature = "oauth2",
    feature = "oauth2clientcredentials",
    feature = "opa"
))]
mod query;

use std::borrow::Cow;

use http::Request;
use http::uri::{PathAndQuery, Uri};
use percent_encoding::percent_decode;
use transport::server::RawQuery;

#[cfg(any(
    feature = "routeralias",
    feature = "oauth2",
    feature = "oauth2clientcredentials",
    feature = "opa"
))]
pub(crate) use query::{all_pairs, escape_query, pairs, query_of};

/// The decoded path.
pub(crate) fn path<B>(request: &Request<B>) -> Cow<'_, [u8]> {
    percent_decode(request.uri().path().as_bytes()).into()
}

/// The query as the caller wrote it; `None` without a question mark.
pub(crate) fn query<B>(request: &Request<B>) -> Option<&[u8]> {
    match request.extensions().get::<RawQuery>() {
        Some(RawQuery(raw)) => Some(raw),
        None => request.uri().query().map(str::as_bytes),
    }
}

/// The escaped path: as the caller wrote it, unless there is something in it that must be escaped.
fn escaped_path(uri: &Uri) -> Cow<'_, [u8]> {
    match uri.path() {
        "" => Cow::Borrowed(b"/"),
        path if path.bytes().all(|byte| byte == b'%' || may_stand(byte)) => Cow::Borrowed(path.as_bytes()),
        path => {
            let decoded: Cow<'_, [u8]> = percent_decode(path.as_bytes()).into();
            Cow::Owned(escape(&decoded).into_bytes())
        }
    }
}

/// The escaped path with the query.
pub(crate) fn path_and_query<B>(request: &Request<B>) -> Cow<'_, [u8]> {
    with_query(request.uri(), query(request))
}

/// The same of a URI with what the caller wrote as the query.
pub(crate) fn with_query<'a>(uri: &'a Uri, query: Option<&[u8]>) -> Cow<'a, [u8]> {
    let path = escaped_path(uri);
    let Some(query) = query else {
        return path;
    };
    let mut target = path.into_owned();
    target.push(b'?');
    target.extend_from_slice(query);
    Cow::Owned(target)
}

/// Gives the request another decoded path, and perhaps another escaped query. `false` when that is too long to be sent.
pub(crate) fn rewrite<B>(request: &mut Request<B>, path: &[u8], query: Option<&str>) -> bool {
    let mut target = escape(path);
    if !target.starts_with('/') {
        target.insert(0, '/');
    }
    if let Some(query) = query.or_else(|| request.uri().query()) {
        target.push('?');
        target.push_str(query);
    }
    let Ok(target) = PathAndQuery::try_from(target) else {
        return false;
    };
    if query.is_some() {
        request.extensions_mut().remove::<RawQuery>();
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.path_and_query = Some(target);
    // The same scheme and authority as before, so it is one.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    true
}

/// What may stand in a path as it is.
fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/[]".contains(&byte)
}

/// What Go leaves alone when it escapes a path.
fn is_left_alone(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~$&+,/:;=@".contains(&byte)
}

/// A decoded path, escaped.
fn escape(path: &[u8]) -> String {
    escaped(path, is_left_alone)
}

fn escaped(bytes: &[u8], is_left_alone: impl Fn(u8) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len() + 16);
    for byte in bytes {
        if is_left_alone(*byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request<()> {
        Request::builder().uri(uri).body(()).unwrap()
    }

    #[test]
    fn targets_as_go_writes_them() {
        for (uri, wanted) in [
            ("/", "/"),
            ("/a?", "/a?"),
            ("/a%20b?x=%zz", "/a%20b?x=%zz"),
            ("//a", "//a"),
            ("/a{b}", "/a%7Bb%7D"),
            ("/(a){b}", "/%28a%29%7Bb%7D"),
            ("http://h:1/p?q", "/p?q"),
        ] {
            let request = request(uri);
            assert_eq!(path_and_query(&request), wanted.as_bytes(), "{uri}");
        }
    }

    #[test]
    fn rewritten() {
        for (uri, path, query, wanted) in [
            ("/a?x=1", "/b", None, "/b?x=1"),
            ("/a?x=1", "b c?", Some("y=2"), "/b%20c%3F?y=2"),
            ("http://h:1/p", "/é", None, "http://h:1/%C3%A9"),
            ("/a", "", None, "/"),
        ] {
            let mut request = request(uri);
            assert!(rewrite(&mut request, path.as_bytes(), query));
            assert_eq!(request.uri(), wanted);
        }
        let mut kept = request("/a");
        assert!(!rewrite(&mut kept, "a".repeat(70_000).as_bytes(), None));
        assert_eq!(kept.uri(), "/a");
    }
}
