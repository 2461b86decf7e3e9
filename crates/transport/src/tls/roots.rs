//! A pool of certificates that are trusted, as Go's `crypto/x509` takes one.
//!
//! Whatever stands in the pool is trusted: authorities, whoever signed them; and, for itself alone, the certificate of
//! a server. `webpki` knows authorities only, and would let each certificate of the pool sign others; so the pool
//! keeps apart who may.

use std::borrow::Cow;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Version;

use super::x509::{self, Untrusted};

/// Certificates that are trusted.
#[derive(Debug, Default)]
pub(super) struct Roots {
    all: Vec<Root>,
    anchors: Vec<TrustAnchor<'static>>,
}

#[derive(Debug)]
struct Root {
    der: CertificateDer<'static>,
    /// How others are traced back to it, if it may sign.
    anchor: Option<TrustAnchor<'static>>,
    not_before: i64,
    not_after: i64,
    /// How many authorities may stand between it and a server.
    path_length: Option<u32>,
}

impl Root {
    fn of(der: CertificateDer<'static>) -> Option<Self> {
        let certificate = x509::parse(&der).ok()?;
        let validity = certificate.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let constraints = certificate.basic_constraints().ok().flatten();
        let path_length = constraints.and_then(|constraints| constraints.value.path_len_constraint);
        let anchor = if signs(&certificate) {
            webpki::anchor_from_trusted_cert(&der)
                .ok()
                .map(|anchor| anchor.to_owned())
        } else {
            None
        };
        Some(Self {
            der,
            anchor,
            not_before,
            not_after,
            path_length,
        })
    }

    fn is_valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// Whether a certificate may sign others, by the rules of Go's `CheckSignatureFrom`: those of version 3 say so, those
/// before cannot. One that cannot be read may not.
pub fn may_sign(der: &CertificateDer<'_>) -> bool {
    x509::parse(der).is_ok_and(|certificate| signs(&certificate))
}

fn signs(certificate: &X509Certificate<'_>) -> bool {
    let is_authority = match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => certificate.version() != X509Version::V3,
        Err(_) => false,
    };
    let signs_certificates = match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.flags == 0 || usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    is_authority && signs_certificates
}

impl Roots {
    /// A pool of these. What is no certificate is left out, as Go leaves it out.
    pub(super) fn of(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let all: Vec<_> = certificates.into_iter().filter_map(Root::of).collect();
        let anchors = all.iter().filter_map(|root| root.anchor.clone()).collect();
        Self { all, anchors }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether this very certificate is in the pool.
    pub(super) fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.all.iter().any(|root| root.der == *certificate)
    }

    /// The authorities whose own certificate is valid now. `webpki` does not look at their dates.
    pub(super) fn anchors_at(&self, now: i64) -> Cow<'_, [TrustAnchor<'static>]> {
        if self.all.iter().all(|root| root.is_valid_at(now)) {
            return Cow::Borrowed(&self.anchors);
        }
        let valid = self.all.iter().filter(|root| root.is_valid_at(now));
        valid.filter_map(|root| root.anchor.clone()).collect()
    }

    /// Whether a path with so many authorities between a server and an anchor is not too long for it, which `webpki`
    /// does not look at either.
    pub(super) fn allows(&self, anchor: &TrustAnchor<'_>, between: usize) -> bool {
        self.all.iter().any(|root| {
            root.anchor.as_ref() == Some(anchor)
                && root
                    .path_length
                    .is_none_or(|length| usize::try_from(length).is_ok_and(|length| between <= length))
        })
    }

    /// Whether a certificate of the pool has this name, in DER.
    pub(super) fn names(&self, subject: &[u8]) -> bool {
        self.all.iter().any(|root| {
            x509::parse(&root.der).is_ok_and(|certificate| certificate.subject().as_raw() == subject)
        })
    }

    /// Why an authority of this pool does not vouch for a certificate that names it, as Go adds it to its error; empty
    /// if none of this name is there.
    pub(super) fn hint(&self, chain: &[X509Certificate<'_>], now: i64) -> String {
        for root in &self.all {
            let Ok(certificate) = x509::parse(&root.der) else {
                continue;
            };
            let subject = certificate.subject().as_raw();
            if !chain.iter().any(|below| below.issuer().as_raw() == subject) {
                continue;
            }
            let why = match x509::check_dates(&certificate, now) {
                Err(dates @ Untrusted::Dated { .. }) => format!("x509: {dates}"),
                _ if root.anchor.is_none() => {
                    "x509: invalid signature: parent certificate cannot sign this kind of certificate"
                        .to_owned()
                }
                _ => x509::weak_key(&certificate).unwrap_or_else(|| "x509: verification failure".to_owned()),
            };
            return format!(
                " (possibly because of {why:?} while trying to verify candidate authority certificate {})",
                x509::name(&certificate)
            );
        }
        String::new()
    }

    /// The certificates of the pool that cannot be used, for a warning before the first call fails.
    pub(super) fn findings(&self) -> Vec<String> {
        let keys = self
            .all
            .iter()
            .filter_map(|root| x509::weak_key(&x509::parse(&root.der).ok()?));
        keys.map(|weak| format!("a certificate among the roots is of no use: {weak}"))
            .collect()
    }
}
