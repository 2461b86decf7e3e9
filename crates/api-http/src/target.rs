//! Which app a request is for, and which method: three forms, tried in order.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap};
use invoke_core::{clean_path, headers::DAPR_APP_ID};

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedTarget<'a> {
    /// The target as the caller wrote it.
    pub(crate) target: Cow<'a, str>,
    /// The method path, cleaned but not yet judged.
    pub(crate) method: Bytes,
    /// Whether the `dapr-app-id` header named the target; it is not passed on then.
    pub(crate) by_header: bool,
}

/// Finds target and method of a request. `path` is the path, percent-decoded once and otherwise as it came.
///
/// 1. The header `dapr-app-id` names the target, and the whole path is the method.
/// 2. So does the user `dapr-app-id` of a basic authorization, whose password is the target.
/// 3. `/v1.0/invoke/TARGET/method/METHOD`.
pub(crate) fn find<'a>(headers: &HeaderMap, path: &'a [u8]) -> Option<NamedTarget<'a>> {
    if let Some(id) = headers.get(DAPR_APP_ID).filter(|id| !id.is_empty()) {
        let target = String::from_utf8_lossy(id.as_bytes()).into_owned();
        return Some(NamedTarget {
            target: target.into(),
            method: whole(path),
            by_header: true,
        });
    }
    if let Some(target) = basic(headers).filter(|target| !target.is_empty()) {
        return Some(NamedTarget {
            target: target.into(),
            method: whole(path),
            by_header: false,
        });
    }
    let rest = after_prefix(path)?;
    let at = rest
        .windows(METHOD.len())
        .position(|window| window == METHOD)
        .filter(|at| *at > 0)?;
    let method = match clean_path(&rest[at + METHOD.len()..]) {
        root if *root == *b"." => Bytes::new(),
        method => Bytes::copy_from_slice(&method),
    };
    Some(NamedTarget {
        target: unescape(&rest[..at]),
        method,
        by_header: false,
    })
}

const METHOD: &[u8] = b"/method/";

/// The whole path as a method: cleaned, without its leading slash.
fn whole(path: &[u8]) -> Bytes {
    let cleaned = clean_path(path);
    let method = cleaned.strip_prefix(b"/").unwrap_or(&cleaned);
    if method == b"." {
        Bytes::new()
    } else {
        Bytes::copy_from_slice(method)
    }
}

fn basic(headers: &HeaderMap) -> Option<String> {
    let credentials = headers
        .get(header::AUTHORIZATION)?
        .as_bytes()
        .strip_prefix(b"Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    let is_ours = user.eq_ignore_ascii_case("dapr-app-id") && !password.contains(':');
    is_ours.then(|| password.to_owned())
}

/// What follows `/v1.0/invoke/`, with any number of slashes between the parts.
fn after_prefix(path: &[u8]) -> Option<&[u8]> {
    let rest = slashes(path)?.strip_prefix(b"v1.0")?;
    slashes(slashes(rest)?.strip_prefix(b"invoke")?)
}

/// Skips at least one slash.
fn slashes(path: &[u8]) -> Option<&[u8]> {
    let count = path.iter().take_while(|byte| **byte == b'/').count();
    (count > 0).then(|| &path[count..])
}

/// A target is unescaped once more, as the value of a query is; one that cannot be is taken as it is.
fn unescape(target: &[u8]) -> Cow<'_, str> {
    let raw = || String::from_utf8_lossy(target);
    if !target.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return raw();
    }
    query_unescape(target).map_or_else(raw, |decoded| {
        String::from_utf8_lossy(&decoded).into_owned().into()
    })
}

/// Decodes `%XX` and `+`; `None` for a percent sign that begins no escape.
pub(crate) fn query_unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match first {
            b'%' => {
                let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
                decoded.push((digit(0)? << 4 | digit(1)?) as u8);
                rest = &after[2..];
            }
            b'+' => {
                decoded.push(b' ');
                rest = after;
            }
            other => {
                decoded.push(*other);
                rest = after;
            }
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn by_path(path: &str) -> Option<(String, String)> {
        find(&HeaderMap::new(), path.as_bytes()).map(|found| {
            (
                found.target.into_owned(),
                String::from_utf8(found.method.to_vec()).unwrap(),
            )
        })
    }

    #[test]
    fn paths() {
        for (path, wanted) in [
            ("/v1.0/invoke/app/method/a/b", Some(("app", "a/b"))),
            ("/v1.0////invoke//app/method//foo", Some(("app", "/foo"))),
            ("/v1.0/invoke/app/method/foo/", Some(("app", "foo"))),
            ("/v1.0/invoke/app/method/", Some(("app", ""))),
            ("/v1.0/invoke/app.ns/method/m", Some(("app.ns", "m"))),
            ("/v1.0/invoke/app/method", None),
            ("/v1.0/invoke/app", None),
            ("/v1.0/invoke//method/x", None),
            ("/v1.0/./invoke/app/method/x", None),
            ("/v1.0/invoke/app//method/foo", Some(("app/", "foo"))),
            ("/v1.0/invoke/http://h:1/method/x", Some(("http://h:1", "x"))),
            ("/v1.0/invoke/https:///h/method/x", Some(("https:///h", "x"))),
            ("/v1.0/invoke/a%2Db/method/x", Some(("a-b", "x"))),
            ("/v1.0/invoke/a+b/method/x", Some(("a b", "x"))),
            ("/v1.0/invoke/a%zz/method/x", Some(("a%zz", "x"))),
            ("/v1.0/invoke/app/method/public#/../x", Some(("app", "x"))),
            ("/v1.0/invoke/app/method/a/method/b", Some(("app", "a/method/b"))),
            ("/foo", None),
            ("v1.0/invoke/app/method/x", None),
            ("", None),
        ] {
            let wanted = wanted.map(|(target, method)| (target.to_owned(), method.to_owned()));
            assert_eq!(by_path(path), wanted, "{path:?}");
        }
    }

    #[test]
    fn the_header_wins_over_the_path() {
        let mut headers = HeaderMap::new();
        headers.insert(DAPR_APP_ID, HeaderValue::from_static("app"));
        for (path, wanted) in [
            ("///foo", "foo"),
            ("/", ""),
            ("/a/b/", "a/b"),
            ("/v1.0/invoke/other/method/m", "v1.0/invoke/other/method/m"),
        ] {
            let found = find(&headers, path.as_bytes()).unwrap();
            assert_eq!(
                (&*found.target, &*found.method, found.by_header),
                ("app", wanted.as_bytes(), true)
            );
        }
        headers.insert(DAPR_APP_ID, HeaderValue::from_static(""));
        assert_eq!(find(&headers, b"/foo"), None);
    }

    #[test]
    fn basic_authorization() {
        for (credentials, wanted) in [
            ("dapr-app-id:app", Some("app")),
            ("Dapr-App-Id:app", Some("app")),
            ("user:app", None),
            ("dapr-app-id:http://h", None),
            ("dapr-app-id", None),
        ] {
            let mut headers = HeaderMap::new();
            let value = format!("Basic {}", STANDARD.encode(credentials));
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(
                find(&headers, b"/m").map(|found| found.target).as_deref(),
                wanted,
                "{credentials}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_path_is_judged(path in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = find(&HeaderMap::new(), &path);
            let mut prefixed = b"/v1.0/invoke/".to_vec();
            prefixed.extend(path);
            if let Some(found) = find(&HeaderMap::new(), &prefixed) {
                prop_assert!(!found.by_header);
            }
        }
    }
}
