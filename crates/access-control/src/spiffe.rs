//! Who calls, as its certificate says.

use std::fmt;

use thiserror::Error;

/// The identity of a sidecar: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/APP-ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId<'a> {
    /// The trust domain.
    pub trust_domain: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The app id.
    pub app_id: &'a str,
    whole: &'a str,
}

/// A URI that is no identity of a sidecar.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed SPIFFE ID: {0}")]
pub struct Malformed<'a>(pub &'a str);

impl<'a> SpiffeId<'a> {
    /// Takes an identity apart. Segments after the app id are ignored, as Dapr ignores them.
    pub fn parse(uri: &'a str) -> Result<Self, Malformed<'a>> {
        let malformed = || Malformed(uri);
        let rest = uri.strip_prefix("spiffe://").ok_or_else(malformed)?;
        let (trust_domain, path) = rest.split_once('/').ok_or_else(malformed)?;
        let mut segments = path.split('/');
        let (kind, namespace, app_id) = (segments.next(), segments.next(), segments.next());
        match (kind, namespace, app_id) {
            (Some("ns"), Some(namespace), Some(app_id))
                if !trust_domain.is_empty() && !namespace.is_empty() && !app_id.is_empty() =>
            {
                Ok(Self {
                    trust_domain,
                    namespace,
                    app_id,
                    whole: uri,
                })
            }
            _ => Err(malformed()),
        }
    }

    /// The whole URI.
    pub fn as_str(&self) -> &'a str {
        self.whole
    }
}

impl fmt::Display for SpiffeId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(uri: &str) -> Option<(&str, &str, &str)> {
        let id = SpiffeId::parse(uri).ok()?;
        assert_eq!(id.as_str(), uri);
        Some((id.trust_domain, id.namespace, id.app_id))
    }

    #[test]
    fn identities() {
        for (uri, wanted) in [
            (
                "spiffe://public/ns/default/app",
                Some(("public", "default", "app")),
            ),
            ("spiffe://a.b/ns/n/x/more/segments", Some(("a.b", "n", "x"))),
            ("spiffe://public/ns/n/x/", Some(("public", "n", "x"))),
            ("spiffe://public/ns/n/", None),
            ("spiffe://public/ns//x", None),
            ("spiffe://public/ns/n", None),
            ("spiffe://public/NS/n/x", None),
            ("spiffe://public//ns/n/x", None),
            ("spiffe://public/x/ns/n/x", None),
            ("spiffe://public", None),
            ("spiffe:///ns/n/x", None),
            ("SPIFFE://public/ns/n/x", None),
            ("https://public/ns/n/x", None),
            ("", None),
        ] {
            assert_eq!(parts(uri), wanted, "{uri:?}");
        }
        assert_eq!(
            SpiffeId::parse("spiffe://x/y").unwrap_err().to_string(),
            "malformed SPIFFE ID: spiffe://x/y"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_text_is_judged(text in "\\PC{0,40}") {
            let _ = SpiffeId::parse(&text);
            let _ = SpiffeId::parse(&format!("spiffe://{text}"));
        }

        #[test]
        fn what_is_put_together_is_taken_apart(
            trust_domain in "[a-z0-9._-]{1,12}", namespace in "[^/]{1,12}", app in "[^/]{1,12}",
            more in "(/[^/]{0,5}){0,3}",
        ) {
            let uri = format!("spiffe://{trust_domain}/ns/{namespace}/{app}{more}");
            prop_assert_eq!(parts(&uri), Some((&*trust_domain, &*namespace, &*app)));
        }
    }
}
