//! SPIFFE ids, by the SPIFFE-ID specification, section 2. A general parser of URLs must not be used for them: it
//! would make two ids of different bytes the same.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// The longest id (SPIFFE-ID, section 2.3).
const LONGEST_ID: usize = 2048;
const LONGEST_TRUST_DOMAIN: usize = 255;
const SCHEME: &str = "spiffe://";

/// Something that is no SPIFFE id, in the words of Go's library.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SpiffeError {
    /// Nothing at all.
    #[error("cannot be empty")]
    Empty,
    /// Not `spiffe://`.
    #[error("scheme is missing or invalid")]
    Scheme,
    /// Nothing between the slashes.
    #[error("trust domain is missing")]
    NoTrustDomain,
    /// A character that a trust domain cannot have.
    #[error(
        "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores"
    )]
    TrustDomain,
    /// `//`.
    #[error("path cannot contain empty segments")]
    EmptySegment,
    /// `/.` or `/..`.
    #[error("path cannot contain dot segments")]
    DotSegment,
    /// `/` at the end.
    #[error("path cannot have a trailing slash")]
    TrailingSlash,
    /// A character that a path cannot have.
    #[error("path segment characters are limited to letters, numbers, dots, dashes, and underscores")]
    Segment,
    /// More bytes than allowed.
    #[error("is too long")]
    TooLong,
}

/// A trust domain: a name, not necessarily one of DNS. Cloning shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Reads a name, or the trust domain of a whole id.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        if text.is_empty() {
            return Err(SpiffeError::NoTrustDomain);
        }
        if text.contains(":/") {
            return SpiffeId::parse(text).map(|id| Self(id.trust_domain().into()));
        }
        check_trust_domain(text).map(|()| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A SPIFFE id. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path begins; at the end when there is none.
    path: usize,
}

impl SpiffeId {
    /// Reads an id, byte by byte as it is written.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        if text.is_empty() {
            return Err(SpiffeError::Empty);
        }
        if text.len() > LONGEST_ID {
            return Err(SpiffeError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeError::Scheme)?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (trust_domain, path) = rest.split_at(end);
        check_trust_domain(trust_domain)?;
        check_path(path)?;
        Ok(Self {
            text: text.into(),
            path: SCHEME.len() + end,
        })
    }

    /// The id of a service of the control plane: `spiffe://<trust domain>/ns/<namespace>/<service>`.
    pub(crate) fn of(
        trust_domain: &TrustDomain,
        namespace: &str,
        service: &str,
    ) -> Result<Self, SpiffeError> {
        Self::parse(&format!(
            "{SCHEME}{}/ns/{namespace}/{service}",
            trust_domain.as_str()
        ))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole id, shared.
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The part between `spiffe://` and the path.
    pub fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..self.path).unwrap_or_default()
    }

    /// The path with its leading slash; empty when there is none.
    pub fn path(&self) -> &str {
        self.text.get(self.path..).unwrap_or_default()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

fn check_trust_domain(text: &str) -> Result<(), SpiffeError> {
    let is_fine = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    match text {
        "" => Err(SpiffeError::NoTrustDomain),
        text if !text.bytes().all(is_fine) => Err(SpiffeError::TrustDomain),
        text if text.len() > LONGEST_TRUST_DOMAIN => Err(SpiffeError::TooLong),
        _ => Ok(()),
    }
}

/// A path is empty, or segments that each begin with a slash.
fn check_path(path: &str) -> Result<(), SpiffeError> {
    let Some(segments) = path.strip_prefix('/') else {
        return Ok(());
    };
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "" if segments.peek().is_none() => return Err(SpiffeError::TrailingSlash),
            "" => return Err(SpiffeError::EmptySegment),
            "." | ".." => return Err(SpiffeError::DotSegment),
            segment if !segment.bytes().all(is_of_segment) => return Err(SpiffeError::Segment),
            _ => {}
        }
    }
    Ok(())
}

fn is_of_segment(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids() {
        let long = format!("spiffe://a/{}", "x".repeat(2048));
        let long_domain = format!("spiffe://{}/x", "a".repeat(256));
        for (text, wanted) in [
            (
                "spiffe://public/ns/default/app",
                Ok(("public", "/ns/default/app")),
            ),
            ("spiffe://a.b-c_0/A.b-C_9", Ok(("a.b-c_0", "/A.b-C_9"))),
            ("spiffe://public", Ok(("public", ""))),
            ("", Err(SpiffeError::Empty)),
            ("public/ns", Err(SpiffeError::Scheme)),
            ("SPIFFE://public/ns", Err(SpiffeError::Scheme)),
            ("https://public/ns", Err(SpiffeError::Scheme)),
            ("spiffe:///ns", Err(SpiffeError::NoTrustDomain)),
            ("spiffe://Public/ns", Err(SpiffeError::TrustDomain)),
            ("spiffe://public:80/ns", Err(SpiffeError::TrustDomain)),
            ("spiffe://u@public/ns", Err(SpiffeError::TrustDomain)),
            ("spiffe://public/", Err(SpiffeError::TrailingSlash)),
            ("spiffe://public/ns/", Err(SpiffeError::TrailingSlash)),
            ("spiffe://public//ns", Err(SpiffeError::EmptySegment)),
            ("spiffe://public/ns/../x", Err(SpiffeError::DotSegment)),
            ("spiffe://public/.", Err(SpiffeError::DotSegment)),
            ("spiffe://public/a%2Fb", Err(SpiffeError::Segment)),
            ("spiffe://public/a?b", Err(SpiffeError::Segment)),
            ("spiffe://public/a#b", Err(SpiffeError::Segment)),
            ("spiffe://public/ä", Err(SpiffeError::Segment)),
            ("spiffe://public/a\0", Err(SpiffeError::Segment)),
            (&long, Err(SpiffeError::TooLong)),
            (&long_domain, Err(SpiffeError::TooLong)),
        ] {
            let parsed = SpiffeId::parse(text);
            let parsed = parsed.as_ref().map(|id| (id.trust_domain(), id.path()));
            assert_eq!(parsed, wanted.as_ref().map(|wanted| *wanted), "{text:?}");
        }
    }

    #[test]
    fn trust_domains() {
        for (text, wanted) in [
            ("cluster.local", Ok("cluster.local")),
            ("spiffe://cluster.local", Ok("cluster.local")),
            ("spiffe://cluster.local/ns/x", Ok("cluster.local")),
            ("", Err(SpiffeError::NoTrustDomain)),
            ("Cluster", Err(SpiffeError::TrustDomain)),
            ("a b", Err(SpiffeError::TrustDomain)),
            ("http://x", Err(SpiffeError::Scheme)),
        ] {
            let parsed = TrustDomain::parse(text);
            assert_eq!(
                parsed.as_ref().map(TrustDomain::as_str),
                wanted.as_ref().copied(),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_id_is_its_parts(text in "spiffe://[a-c./]{0,6}[A-C./_%]{0,12}") {
            if let Ok(id) = SpiffeId::parse(&text) {
                prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), &*text);
                prop_assert!(!id.path().ends_with('/') && !id.path().contains("//"));
            }
        }

        #[test]
        fn any_text_is_judged(text in any::<String>()) {
            let _ = (SpiffeId::parse(&text), TrustDomain::parse(&text));
        }
    }
}
