//! The URL of a call.
//!
//! The method of an invocation is decoded text, and it is read *as the path of a URL*: a percent sign must begin
//! an escape, and what it escapes reaches the app. A path of which every byte may stand in a path is sent as it
//! is; otherwise the decoded path is escaped anew, as a whole. Apps decode the same path either way.

use http::uri::PathAndQuery;
use invoke_core::MethodPath;
use thiserror::Error;
use transport::client::RawTarget;

/// A URL that cannot be; printed as Go's `net/url` prints it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum UrlError {
    /// A percent sign without two hexadecimal digits.
    #[error("parse {url:?}: invalid URL escape {escape:?}")]
    Escape {
        /// The whole URL.
        url: String,
        /// What follows the percent sign, at most two bytes.
        escape: String,
    },
    /// A control byte.
    #[error("parse {url:?}: net/url: invalid control character in URL")]
    Control {
        /// The whole URL.
        url: String,
    },
    /// More than a request can carry. An app must never get another path than the one that was judged.
    #[error("the path and the query of the URL have {0} bytes, which is too long to be sent")]
    TooLong(usize),
}

/// The target of a request.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As [`http::Uri`] has it.
    pub(crate) escaped: PathAndQuery,
    /// As the app gets it, if the query has bytes that are escaped there. They pass as the caller wrote them.
    pub(crate) raw: Option<RawTarget>,
}

/// The request target of a call to `base` (a URL without a trailing slash, or with a path of its own).
///
/// `base_path` is the path of the base, empty or beginning with a slash.
pub(crate) fn target(
    base: &str,
    base_path: &str,
    method: &MethodPath,
    query: &[u8],
) -> Result<Target, UrlError> {
    let method = method.as_bytes();
    let mut path = Vec::with_capacity(base_path.len() + method.len() + query.len() + 2);
    path.extend_from_slice(base_path.as_bytes());
    if !method.is_empty() && method.first() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(method);
    // Only a gRPC caller can write a `#` into its query; there it begins a fragment, which no request carries.
    let query = query.split(|byte| *byte == b'#').next().unwrap_or_default();
    let url = || {
        let own = path.strip_prefix(base_path.as_bytes()).unwrap_or(&path);
        let mut url = format!("{base}{}", String::from_utf8_lossy(own));
        if !query.is_empty() {
            url.push('?');
            url.push_str(&String::from_utf8_lossy(query));
        }
        url
    };
    if path.iter().chain(query).any(|byte| *byte < 0x20 || *byte == 0x7f) {
        return Err(UrlError::Control { url: url() });
    }
    if let Some(escape) = bad_escape(&path) {
        let escape = String::from_utf8_lossy(escape).into_owned();
        return Err(UrlError::Escape { url: url(), escape });
    }
    if path.is_empty() {
        path.push(b'/');
    }
    if !path.iter().all(|byte| *byte == b'%' || is_path_byte(*byte)) {
        path = escape(&decode(&path));
    }
    let mut raw = None;
    if !query.is_empty() {
        path.push(b'?');
        if !query.iter().all(|byte| is_query_byte(*byte)) {
            let mut whole = path.clone();
            put_query(&mut whole, query, |byte| byte != b' ');
            raw = RawTarget::new(whole);
        }
        put_query(&mut path, query, is_query_byte);
    }
    let length = path.len();
    // All of its bytes may stand there, so it can only be too long.
    let escaped = PathAndQuery::from_maybe_shared(bytes::Bytes::from(path));
    let escaped = escaped.map_err(|_| UrlError::TooLong(length))?;
    Ok(Target { escaped, raw })
}

/// The whole URL of a call, for error texts: as Go prints the URL of a request.
pub(crate) fn shown(base: &str, base_path: &str, target: &str) -> String {
    let Some(own) = target.strip_prefix(base_path) else {
        // Where a redirect led.
        return format!("{}{target}", base.strip_suffix(base_path).unwrap_or(base));
    };
    // The root of a base without a path is not printed when the call had no method.
    if own == "/" {
        base.to_owned()
    } else {
        format!("{base}{own}")
    }
}

/// What may stand in a path as it is.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/[]".contains(&byte)
}

/// What is left alone when a path is escaped anew.
fn is_left_alone(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~$&+,/:;=@".contains(&byte)
}

fn bad_escape(path: &[u8]) -> Option<&[u8]> {
    let mut rest = path;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        rest = &rest[at..];
        match rest {
            [_, a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest = &rest[3..],
            _ => return Some(&rest[..rest.len().min(3)]),
        }
    }
    None
}

fn decode(path: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match rest {
            [b'%', a, b, ..] => {
                decoded.push(digit(*a) << 4 | digit(*b));
                rest = &rest[3..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

fn escape(path: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len() + 16);
    for byte in path {
        put_escaped(&mut escaped, *byte, is_left_alone(*byte));
    }
    escaped
}

/// What may stand in a query as it is, according to [`http::Uri`].
fn is_query_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>".contains(&byte)
}

/// The query as the caller wrote it, but for bytes that may not stand there.
fn put_query(out: &mut Vec<u8>, query: &[u8], as_it_is: impl Fn(u8) -> bool) {
    for byte in query {
        put_escaped(out, *byte, as_it_is(*byte));
    }
}

pub(crate) fn put_escaped(out: &mut Vec<u8>, byte: u8, as_it_is: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if as_it_is {
        out.push(byte);
    } else {
        out.extend_from_slice(&[
            b'%',
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(method: &str, query: &str) -> Result<String, String> {
        let method = MethodPath::parse(method.to_owned()).unwrap();
        target("http://127.0.0.1:1", "", &method, query.as_bytes())
            .map(|target| target.escaped.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn targets() {
        for (method, query, wanted) in [
            ("", "", "/"),
            ("", "a=b", "/?a=b"),
            ("m", "", "/m"),
            ("/m", "", "/m"),
            ("a/b", "x=1&y=%20&z=a+b", "/a/b?x=1&y=%20&z=a+b"),
            ("a%41", "", "/a%41"),
            ("a b", "", "/a%20b"),
            ("test\"stream", "", "/test%22stream"),
            ("test\\stream", "", "/test%5Cstream"),
            ("test*stream", "", "/test*stream"),
            ("(a) b", "", "/%28a%29%20b"),
            ("é", "", "/%C3%A9"),
            ("é%41", "", "/%C3%A9A"),
            ("-._~!$&'()*+,;=:@[]", "", "/-._~!$&'()*+,;=:@[]"),
            ("m", "a#b", "/m?a"),
            ("a<b>`c", "", "/a%3Cb%3E%60c"),
            ("m", "a=\"<`>\" {|}^\\[]'", "/m?a=%22%3C`%3E%22%20{|}^\\[]'"),
            ("m", "é", "/m?%C3%A9"),
        ] {
            assert_eq!(of(method, query), Ok(wanted.to_owned()), "{method:?} {query:?}");
        }
    }

    #[test]
    fn queries_pass_as_they_are() {
        for (query, wanted) in [
            (&b"a=b"[..], None),
            (b"a=`{|}^\\[]'", None),
            (b"a=\"b\"", Some(&b"/m?a=\"b\""[..])),
            (b"<a> b", Some(b"/m?<a>%20b")),
            (b"a b", Some(b"/m?a%20b")),
            (b"%22\"", Some(b"/m?%22\"")),
            (b"\xe9\xc3\xa9", Some(b"/m?\xe9\xc3\xa9")),
            (b"\"#\"", Some(b"/m?\"")),
        ] {
            let method = MethodPath::parse("m").unwrap();
            let raw = target("http://h", "", &method, query).unwrap().raw;
            assert_eq!(raw.as_ref().map(RawTarget::as_bytes), wanted, "{query:?}");
        }
    }

    #[test]
    fn bad_targets() {
        for (method, query, wanted) in [
            (
                "test%stream",
                "",
                "parse \"http://127.0.0.1:1/test%stream\": invalid URL escape \"%st\"",
            ),
            (
                "a%",
                "",
                "parse \"http://127.0.0.1:1/a%\": invalid URL escape \"%\"",
            ),
            (
                "a%4",
                "x",
                "parse \"http://127.0.0.1:1/a%4?x\": invalid URL escape \"%4\"",
            ),
        ] {
            assert_eq!(of(method, query), Err(wanted.to_owned()), "{method:?}");
        }
        assert!(
            of("m", "a\u{1}")
                .unwrap_err()
                .ends_with("net/url: invalid control character in URL")
        );
    }

    #[test]
    fn what_is_too_long_is_no_other_path() {
        let of = |method: String, query: &[u8]| {
            let method = MethodPath::parse(method).unwrap();
            target("http://h", "", &method, query).map(|target| target.escaped)
        };
        let longest = "a".repeat(65_533);
        assert_eq!(of(longest.clone(), b"").unwrap(), format!("/{longest}").as_str());
        assert_eq!(of(format!("{longest}a"), b""), Err(UrlError::TooLong(65_535)));
        assert_eq!(of(longest, b"q"), Err(UrlError::TooLong(65_536)));
        assert_eq!(of(" ".repeat(22_000), b""), Err(UrlError::TooLong(66_001)));
    }

    #[test]
    fn a_base_may_have_a_path() {
        let method = MethodPath::parse("m").unwrap();
        let target = target("http://h/base", "/base", &method, b"").unwrap();
        assert_eq!(target.escaped, "/base/m");
        assert_eq!(shown("http://h/base", "/base", "/base/m"), "http://h/base/m");
        assert_eq!(shown("http://h:1", "", "/"), "http://h:1");
        assert_eq!(shown("http://h/base", "/base", "/other"), "http://h/other");
    }

    proptest! {
        // What the app decodes is what the method says, read as the path of a URL.
        #[test]
        fn apps_decode_what_was_meant(method in "[a-z /%*\"()é\\\\]{0,16}", query in "[ -~]{0,12}") {
            let method = MethodPath::parse(method).unwrap();
            if let Ok(target) = target("http://127.0.0.1:1", "", &method, query.as_bytes()) {
                let mut meant = decode(method.as_bytes());
                if meant.first() != Some(&b'/') {
                    meant.insert(0, b'/');
                }
                prop_assert_eq!(decode(target.escaped.path().as_bytes()), meant);
            }
        }

        #[test]
        fn any_bytes_can_be_sent_or_tell_why_not(method in proptest::collection::vec(0x20..=255_u8, 0..30),
                                                 query in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(method) = MethodPath::parse(method) {
                let target = target("http://h", "", &method, &query);
                prop_assert!(!matches!(target, Err(UrlError::TooLong(_))), "{target:?}");
            }
        }
    }
}
