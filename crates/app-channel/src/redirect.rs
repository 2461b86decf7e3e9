//! Where a redirect leads (RFC 9110, section 15.4; RFC 3986, section 5).

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, StatusCode};
use thiserror::Error;

use crate::url::put_escaped;

/// An address that nobody can go to.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum PlaceError {
    /// It is of another protocol than HTTP.
    #[error("unsupported protocol scheme {0:?}")]
    Scheme(String),
    /// It has no host, or is not readable.
    #[error("{0:?} is no address")]
    Address(String),
    /// The header of the redirect is not readable.
    #[error("failed to parse Location header {0:?}")]
    Location(String),
}

/// An address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) is_https: bool,
    /// Host and perhaps port, in lower case.
    authority: String,
    pub(crate) target: PathAndQuery,
}

/// What to do with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is for the caller.
    Answer,
    /// Go there, perhaps with a GET without a body.
    Follow {
        /// Where to.
        to: Place,
        /// Whether the call becomes a GET.
        as_get: bool,
    },
}

/// Whether an answer sends us on. One that cannot be followed as it should be is an answer like any other: it has no
/// `Location`, or the body would have to be sent again and is gone.
pub(crate) fn next(
    status: StatusCode,
    location: Option<&HeaderValue>,
    method: &Method,
    has_body_again: bool,
    from: &Place,
) -> Result<Next, PlaceError> {
    let as_get = match status.as_u16() {
        301..=303 => !matches!(*method, Method::GET | Method::HEAD),
        307 | 308 if has_body_again => false,
        _ => return Ok(Next::Answer),
    };
    // A GET has a body as rarely as a call that becomes one; if it has, it is left behind, too.
    let as_get = as_get || (status.as_u16() <= 303 && !has_body_again);
    match location.filter(|location| !location.is_empty()) {
        Some(location) => Ok(Next::Follow {
            to: from.join(location.as_bytes())?,
            as_get,
        }),
        None => Ok(Next::Answer),
    }
}

impl Place {
    /// An absolute address.
    pub(crate) fn parse(url: &str) -> Result<Self, PlaceError> {
        let no_address = || PlaceError::Address(url.to_owned());
        let (scheme, rest) = url.split_once(':').ok_or_else(no_address)?;
        Self::absolute(scheme, rest.as_bytes()).ok_or_else(no_address)?
    }

    /// What follows the scheme and its colon; nothing if that is no address.
    fn absolute(scheme: &str, rest: &[u8]) -> Option<Result<Self, PlaceError>> {
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            other => return Some(Err(PlaceError::Scheme(other.to_owned()))),
        };
        let rest = rest.strip_prefix(b"//")?;
        let end = rest
            .iter()
            .position(|byte| b"/?#".contains(byte))
            .unwrap_or(rest.len());
        let authority = Authority::try_from(&rest[..end]).ok()?;
        // A user and a password are for this request only, and never sent.
        let authority = authority.as_str().rsplit('@').next().unwrap_or_default();
        if authority.starts_with(':') {
            return None;
        }
        // Brackets that began in the user do not end in the host.
        let authority = Authority::try_from(authority).ok()?;
        let (path, query) = split(&rest[end..]);
        Some(Ok(Self {
            is_https,
            authority: authority.as_str().to_ascii_lowercase(),
            target: target(&path_of(path), query)?,
        }))
    }

    /// The address that a reference means, seen from here.
    fn join(&self, reference: &[u8]) -> Result<Self, PlaceError> {
        let unreadable = || PlaceError::Location(String::from_utf8_lossy(reference).into_owned());
        if let Some((scheme, rest)) = scheme_of(reference) {
            return Self::absolute(scheme, rest).ok_or_else(unreadable)?;
        }
        if reference.starts_with(b"//") {
            let scheme = if self.is_https { "https" } else { "http" };
            return Self::absolute(scheme, reference).ok_or_else(unreadable)?;
        }
        let (own_path, own_query) = split(self.target.as_str().as_bytes());
        let (path, query) = split(reference);
        let joined = if path.is_empty() {
            let query = if has_query(reference) { query } else { own_query };
            target(own_path, query)
        } else if path.starts_with(b"/") {
            target(&path_of(path), query)
        } else {
            let folder = own_path
                .iter()
                .rposition(|byte| *byte == b'/')
                .map_or(0, |at| at + 1);
            target(&path_of(&[&own_path[..folder], path].concat()), query)
        };
        Ok(Self {
            target: joined.ok_or_else(unreadable)?,
            ..self.clone()
        })
    }

    /// The same origin with another path and query.
    pub(crate) fn at(&self, target: &PathAndQuery) -> Self {
        Self {
            target: target.clone(),
            ..self.clone()
        }
    }

    /// Scheme, host and port are the same (RFC 6454, section 5).
    pub(crate) fn is_same_origin(&self, other: &Self) -> bool {
        let full = |place: &Self| {
            let port = if place.is_https { ":443" } else { ":80" };
            let authority = &place.authority;
            authority.strip_suffix(port).unwrap_or(authority).to_owned()
        };
        self.is_https == other.is_https && full(self) == full(other)
    }

    /// `http://host:port`.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// `host:port`, to connect to.
    pub(crate) fn address(&self) -> String {
        let has_port = self
            .authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = if self.is_https { 443 } else { 80 };
        if has_port {
            self.authority.clone()
        } else {
            format!("{}:{port}", self.authority.trim_end_matches(':'))
        }
    }

    /// The whole of it.
    pub(crate) fn url(&self) -> String {
        format!("{}{}", self.origin(), self.target)
    }
}

/// A scheme and what follows its colon.
fn scheme_of(reference: &[u8]) -> Option<(&str, &[u8])> {
    let end = reference
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte)))?;
    if end == 0 || reference[end] != b':' || !reference[0].is_ascii_alphabetic() {
        return None;
    }
    Some((
        std::str::from_utf8(&reference[..end]).ok()?,
        &reference[end + 1..],
    ))
}

fn without_fragment(reference: &[u8]) -> &[u8] {
    reference.split(|byte| *byte == b'#').next().unwrap_or_default()
}

fn has_query(reference: &[u8]) -> bool {
    without_fragment(reference).contains(&b'?')
}

/// Path and query.
fn split(reference: &[u8]) -> (&[u8], &[u8]) {
    let reference = without_fragment(reference);
    match reference.iter().position(|byte| *byte == b'?') {
        Some(at) => (&reference[..at], &reference[at + 1..]),
        None => (reference, b""),
    }
}

/// A path without dots (RFC 3986, section 5.2.4).
fn path_of(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut parts = path
        .strip_prefix(b"/")
        .unwrap_or(path)
        .split(|byte| *byte == b'/')
        .peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            b"." | b".." => {
                if part == b".." {
                    segments.pop();
                }
                if is_last {
                    segments.push(b"");
                }
            }
            part => segments.push(part),
        }
    }
    [b"/", segments.join(&b'/').as_slice()].concat()
}

/// Path and query as a request has them: what may not stand there is escaped.
fn target(path: &[u8], query: &[u8]) -> Option<PathAndQuery> {
    let mut target = Vec::with_capacity(path.len() + query.len() + 1);
    for byte in path {
        let is_legal = byte.is_ascii_graphic() && !b"\"<>\\^`{|}#?".contains(byte);
        put_escaped(&mut target, *byte, is_legal);
    }
    if !query.is_empty() {
        target.push(b'?');
        for byte in query {
            put_escaped(
                &mut target,
                *byte,
                byte.is_ascii_graphic() && !b"\"<>#".contains(byte),
            );
        }
    }
    PathAndQuery::from_maybe_shared(Bytes::from(target)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn where_references_lead() {
        let from = Place::parse("https://Host:1/a/b/c?q").unwrap();
        for (reference, wanted) in [
            ("http://other/x#f", Ok("http://other/x")),
            ("HTTPS://user:pw@OTHER:8443?x=1", Ok("https://other:8443/?x=1")),
            ("//other/x", Ok("https://other/x")),
            ("/x?y", Ok("https://host:1/x?y")),
            ("x", Ok("https://host:1/a/b/x")),
            ("../x/./y/..", Ok("https://host:1/a/x/")),
            ("../../../../x", Ok("https://host:1/x")),
            ("?z", Ok("https://host:1/a/b/c?z")),
            ("#f", Ok("https://host:1/a/b/c?q")),
            ("é b", Ok("https://host:1/a/b/%C3%A9%20b")),
            ("x:y", Err("unsupported protocol scheme \"x\"")),
            ("ftp://h/", Err("unsupported protocol scheme \"ftp\"")),
            ("http://", Err("failed to parse Location header \"http://\"")),
            (
                "http://:80/",
                Err("failed to parse Location header \"http://:80/\""),
            ),
            (
                "http://[::@1]:7/x",
                Err("failed to parse Location header \"http://[::@1]:7/x\""),
            ),
            ("http:x", Err("failed to parse Location header \"http:x\"")),
        ] {
            let led = from.join(reference.as_bytes());
            let led = led.map(|place| place.url()).map_err(|error| error.to_string());
            assert_eq!(
                led,
                wanted.map(str::to_owned).map_err(str::to_owned),
                "{reference}"
            );
        }
    }

    #[test]
    fn origins() {
        let of = |url: &str| Place::parse(url).unwrap();
        for (one, other, wanted) in [
            ("http://h/", "http://h:80/x", true),
            ("https://H:443", "https://h", true),
            ("http://h", "https://h", false),
            ("http://h:1", "http://h:2", false),
            ("http://a.h", "http://h", false),
        ] {
            assert_eq!(of(one).is_same_origin(&of(other)), wanted, "{one} {other}");
        }
        for (url, wanted) in [
            ("http://h", "h:80"),
            ("https://h", "h:443"),
            ("https://h:1/x", "h:1"),
            ("http://[::1]", "[::1]:80"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(of(url).address(), wanted);
        }
        for bad in ["", "h:1", "http:/h", "ftp://h"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_becomes_of_a_call() {
        let from = Place::parse("http://h/").unwrap();
        let location = HeaderValue::from_static("/x");
        for (status, method, has_body, wanted) in [
            (301, Method::POST, true, Some(true)),
            (302, Method::PUT, false, Some(true)),
            (303, Method::DELETE, true, Some(true)),
            (303, Method::GET, true, Some(false)),
            (301, Method::HEAD, true, Some(false)),
            (301, Method::GET, false, Some(true)),
            (307, Method::POST, true, Some(false)),
            (307, Method::POST, false, None),
            (308, Method::GET, true, Some(false)),
            (300, Method::GET, true, None),
            (304, Method::GET, true, None),
            (200, Method::GET, true, None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let next = next(status, Some(&location), &method, has_body, &from).unwrap();
            let followed = match next {
                Next::Follow { as_get, .. } => Some(as_get),
                Next::Answer => None,
            };
            assert_eq!(followed, wanted, "{status} {method} {has_body}");
            assert_eq!(
                super::next(status, None, &method, has_body, &from),
                Ok(Next::Answer)
            );
        }
    }

    proptest! {
        #[test]
        fn any_location_is_judged(reference in proptest::collection::vec(any::<u8>(), 0..40)) {
            let from = Place::parse("https://h/a/b").unwrap();
            if let Ok(place) = from.join(&reference) {
                prop_assert!(place.target.as_str().starts_with('/'));
                prop_assert!(place.url().parse::<http::Uri>().is_ok(), "{}", place.url());
            }
        }

        #[test]
        fn any_reference_is_judged(reference in "[a-z/.?#:@%\\\\ é]{0,20}") {
            let from = Place::parse("https://h/a/b").unwrap();
            let _ = from.join(reference.as_bytes());
            let _ = Place::parse(&reference);
        }
    }
}
