//! What this crate wants to know of a certificate.

use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::spiffe::{SpiffeError, SpiffeId};

/// The tag of a URI among the names of a certificate (RFC 5280, section 4.2.1.6).
const URI: u32 = 6;

/// A certificate that cannot be read, or is not one of a workload, in the words of Go's libraries.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateError {
    /// It is not DER, or not X.509.
    #[error("x509: malformed certificate")]
    Malformed,
    /// It names no workload.
    #[error("could not get leaf SPIFFE ID: certificate contains no URI SAN")]
    NoUri,
    /// It names more than one.
    #[error("could not get leaf SPIFFE ID: certificate contains more than one URI SAN")]
    ManyUris,
    /// What it names is no SPIFFE id.
    #[error("could not get leaf SPIFFE ID: {0}")]
    Spiffe(#[from] SpiffeError),
    /// It names a trust domain and no workload.
    #[error("could not get leaf SPIFFE ID: path is missing")]
    NoPath,
    /// It is that of an authority.
    #[error("leaf certificate with CA flag set to true")]
    Authority,
    /// It may sign certificates.
    #[error("leaf certificate with KeyCertSign key usage")]
    SignsCertificates,
    /// It may sign lists of revoked certificates.
    #[error("leaf certificate with KeyCrlSign key usage")]
    SignsRevocations,
}

/// From when to when a certificate is valid, both ends included; seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

impl Validity {
    pub(crate) fn contains(self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// The dates of any certificate.
pub(crate) fn validity(der: &[u8]) -> Result<Validity, CertificateError> {
    parse(der).map(|certificate| validity_of(&certificate))
}

/// The certificate of a workload.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) id: SpiffeId,
    pub(crate) validity: Validity,
    /// The bits of the public key.
    pub(crate) public_key: Vec<u8>,
}

/// Reads the certificate of a workload, and judges what stands in it. Whether anybody vouches for it is another
/// question.
pub(crate) fn leaf(der: &[u8]) -> Result<Leaf, CertificateError> {
    let certificate = parse(der)?;
    let id = spiffe_id(&certificate)?;
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                return Err(CertificateError::Authority);
            }
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() => {
                return Err(CertificateError::SignsCertificates);
            }
            ParsedExtension::KeyUsage(usage) if usage.crl_sign() => {
                return Err(CertificateError::SignsRevocations);
            }
            ParsedExtension::ParseError { .. } => return Err(CertificateError::Malformed),
            _ => {}
        }
    }
    Ok(Leaf {
        id,
        validity: validity_of(&certificate),
        public_key: certificate.public_key().subject_public_key.data.to_vec(),
    })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

fn validity_of(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    }
}

/// There must be exactly one URI, in one extension. One that cannot be read counts, too.
fn spiffe_id(certificate: &X509Certificate<'_>) -> Result<SpiffeId, CertificateError> {
    let mut uris = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::URI(uri) => uris.push(Some(*uri)),
                GeneralName::Invalid(tag, _) if tag.0 == URI => uris.push(None),
                _ => {}
            }
        }
    }
    match uris.as_slice() {
        [] => Err(CertificateError::NoUri),
        [Some(uri)] => {
            let id = SpiffeId::parse(uri)?;
            if id.path().is_empty() {
                return Err(CertificateError::NoPath);
            }
            Ok(id)
        }
        [None] => Err(CertificateError::Malformed),
        _ => Err(CertificateError::ManyUris),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose, SanType};

    use super::*;
    use integration_tests::pki::{Authority, uri};

    #[test]
    fn leaves() {
        let authority = Authority::new();
        let of = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
            let issued = authority.issue_with("spiffe://public/ns/default/app", change);
            leaf(&issued.chain[0]).map(|leaf| leaf.id.as_str().to_owned())
        };
        let app = "spiffe://public/ns/default/app".to_owned();
        assert_eq!(of(&|_| {}), Ok(app.clone()));
        // Names of other kinds do not matter.
        let dns = SanType::DnsName("localhost".try_into().unwrap());
        assert_eq!(of(&|params| params.subject_alt_names.push(dns.clone())), Ok(app));
        for (names, wanted) in [
            (vec![], CertificateError::NoUri),
            (
                vec![uri("spiffe://a/x"), uri("spiffe://a/y")],
                CertificateError::ManyUris,
            ),
            (
                vec![uri("spiffe://a/x"), uri("spiffe://a/x")],
                CertificateError::ManyUris,
            ),
            (
                vec![uri("spiffe://a/x"), uri("https://a")],
                CertificateError::ManyUris,
            ),
            (
                vec![uri("https://a/x")],
                CertificateError::Spiffe(SpiffeError::Scheme),
            ),
            (vec![uri("spiffe://a")], CertificateError::NoPath),
            (
                vec![uri("spiffe://A/x")],
                CertificateError::Spiffe(SpiffeError::TrustDomain),
            ),
        ] {
            assert_eq!(
                of(&|params| params.subject_alt_names = names.clone()),
                Err(wanted)
            );
        }
        let is_ca =
            |params: &mut rcgen::CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert_eq!(of(&is_ca), Err(CertificateError::Authority));
        for (usage, wanted) in [
            (KeyUsagePurpose::KeyCertSign, CertificateError::SignsCertificates),
            (KeyUsagePurpose::CrlSign, CertificateError::SignsRevocations),
        ] {
            assert_eq!(of(&|params| params.key_usages = vec![usage]), Err(wanted));
        }
    }

    #[test]
    fn what_is_no_certificate() {
        let authority = Authority::new();
        let der = authority.issue("spiffe://public/ns/default/app").chain[0].to_vec();
        let longer = [&der[..], &[0]].concat();
        for bytes in [&b""[..], b"\x30", &der[..der.len() - 1], &longer] {
            assert!(matches!(leaf(bytes), Err(CertificateError::Malformed)));
            assert!(matches!(validity(bytes), Err(CertificateError::Malformed)));
        }
    }

    proptest! {
        #[test]
        fn a_certificate_with_wrong_bytes_is_judged(at in 0_usize..400, byte in any::<u8>()) {
            let mut der = Authority::new().issue("spiffe://public/ns/default/app").chain[0].to_vec();
            let at = at % der.len();
            der[at] = byte;
            let _ = (leaf(&der), validity(&der));
        }

        #[test]
        fn any_bytes_are_judged(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (leaf(&der), validity(&der));
        }
    }
}
