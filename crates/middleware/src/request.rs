//! Path and query of a request, as Go's servers and clients have them.

use std::borrow::Cow;

use http::Request;
use http::uri::{PathAndQuery, Uri};
use percent_encoding::percent_decode;
use transport::server::RawQuery;

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

/// Names and values of a query. A pair with a bad escape or a semicolon is dropped, as in Go.
#[cfg(any(
    feature = "routeralias",
    feature = "oauth2",
    feature = "oauth2clientcredentials"
))]
pub(crate) fn pairs(query: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    parts(query).filter_map(pair).collect()
}

/// The same; nothing if there is a bad pair.
#[cfg(feature = "oauth2clientcredentials")]
pub(crate) fn all_pairs(query: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    parts(query).map(pair).collect()
}

#[cfg(any(
    feature = "routeralias",
    feature = "oauth2",
    feature = "oauth2clientcredentials"
))]
fn parts(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|byte| *byte == b'&').filter(|part| !part.is_empty())
}

#[cfg(any(
    feature = "routeralias",
    feature = "oauth2",
    feature = "oauth2clientcredentials"
))]
fn pair(pair: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if pair.contains(&b';') {
        return None;
    }
    let at = pair.iter().position(|byte| *byte == b'=');
    let (name, value) = pair.split_at(at.unwrap_or(pair.len()));
    Some((unescape(name)?, unescape(value.get(1..).unwrap_or_default())?))
}

/// A query of names and values, sorted by name.
#[cfg(any(
    feature = "routeralias",
    feature = "oauth2",
    feature = "oauth2clientcredentials"
))]
pub(crate) fn query_of(mut pairs: Vec<(Vec<u8>, Vec<u8>)>) -> String {
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escape_query(name), escape_query(value)))
        .collect();
    pairs.join("&")
}

/// A name or a value as it stands in a query, and in a form.
#[cfg(any(
    feature = "routeralias",
    feature = "oauth2",
    feature = "oauth2clientcredentials"
))]
pub(crate) fn escape_query(text: impl AsRef<[u8]>) -> String {
    let as_it_is = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~ ".contains(&byte);
    escaped(text.as_ref(), as_it_is).replace(' ', "+")
}

#[cfg(any(
    feature = "routeralias",
    feature = "oauth2",
    feature = "oauth2clientcredentials"
))]
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'%' => {
                out.push(digit(text.get(at + 1))? << 4 | digit(text.get(at + 2))?);
                at += 2;
            }
            b'+' => out.push(b' '),
            other => out.push(*other),
        }
        at += 1;
    }
    Some(out)
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

    #[test]
    #[cfg(feature = "routeralias")]
    fn queries() {
        for (query, wanted) in [
            ("b=2&a=1&a=0", "a=1&a=0&b=2"),
            ("a=%41+b&&c", "a=A+b&c="),
            ("bad=%4&x;y=1&ok", "ok="),
            ("a=~%2F*", "a=~%2F%2A"),
        ] {
            assert_eq!(query_of(pairs(query.as_bytes())), wanted, "{query}");
        }
    }
}
