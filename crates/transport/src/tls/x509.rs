//! What stands in a certificate, and what can be wrong with it, in the words of Go's `crypto/x509`.

use rustls_pki_types::{ServerName, UnixTime};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// The fewest bits of an RSA key whose signatures count.
const FEWEST_RSA_BITS: usize = 2048;

/// Why nobody vouches for a certificate; printed without the `x509: ` in front of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Untrusted {
    #[error("malformed certificate")]
    Malformed,
    #[error("certificate has expired or is not yet valid: current time {now} is {relation} {bound}")]
    Dated {
        now: String,
        relation: &'static str,
        bound: String,
    },
    #[error("{0}")]
    Name(String),
    #[error("certificate signed by unknown authority{0}")]
    UnknownAuthority(String),
    #[error("{0}")]
    Chain(String),
}

/// Reads a certificate.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Untrusted> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(Untrusted::Malformed),
    }
}

/// Judges the dates of a certificate.
pub(super) fn check_dates(certificate: &X509Certificate<'_>, now: i64) -> Result<(), Untrusted> {
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let dated = |relation, bound| {
        Err(Untrusted::Dated {
            now: date(now),
            relation,
            bound: date(bound),
        })
    };
    if now < from {
        dated("before", from)
    } else if now > to {
        dated("after", to)
    } else {
        Ok(())
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn date(seconds: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok();
    date.and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// Why a key cannot be used to verify anything, if it cannot.
pub(super) fn weak_key(certificate: &X509Certificate<'_>) -> Option<String> {
    let key = certificate.public_key();
    let curve = || {
        key.algorithm
            .parameters
            .as_ref()
            .and_then(|curve| curve.as_oid().ok())
    };
    let is_known = match key.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => return weak_rsa(certificate),
        // P-256, P-384 and P-521 (RFC 5480, section 2.1.1.1).
        "1.2.840.10045.2.1" => curve().is_some_and(|curve| {
            let curve = curve.to_id_string();
            ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"].contains(&curve.as_str())
        }),
        // Ed25519 (RFC 8410, section 3).
        "1.3.101.112" => true,
        _ => false,
    };
    (!is_known).then(|| {
        let name = name(certificate);
        format!("the key of {name} is none of RSA, ECDSA on P-256, P-384 or P-521, or Ed25519")
    })
}

fn weak_rsa(certificate: &X509Certificate<'_>) -> Option<String> {
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
        return Some(format!("the RSA key of {} cannot be read", name(certificate)));
    };
    let mut modulus = key.modulus.iter().skip_while(|byte| **byte == 0);
    let first = modulus.next().map_or(0, |byte| 8 - byte.leading_zeros() as usize);
    let bits = first + modulus.count() * 8;
    (bits < FEWEST_RSA_BITS).then(|| {
        let name = name(certificate);
        format!("the RSA key of {name} has {bits} bits, at least {FEWEST_RSA_BITS} are needed")
    })
}

/// How texts name a certificate.
pub(super) fn name(certificate: &X509Certificate<'_>) -> String {
    let subject = certificate.subject();
    let first = |text: Option<&str>| text.map(|text| format!("{text:?}"));
    first(
        subject
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok()),
    )
    .or_else(|| {
        first(
            subject
                .iter_organization()
                .next()
                .and_then(|name| name.as_str().ok()),
        )
    })
    .unwrap_or_else(|| format!("\"serial:{}\"", certificate.tbs_certificate.serial))
}

/// What a certificate says about whom it is for, and whom it is not for, as Go tells it.
pub(super) fn wrong_name(certificate: &X509Certificate<'_>, wanted: &ServerName<'_>) -> Untrusted {
    let wanted_text = wanted.to_str();
    let is_address = matches!(wanted, ServerName::IpAddress(_));
    let (mut names, mut has_names) = (Vec::new(), false);
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(found) = extension.parsed_extension() else {
            continue;
        };
        has_names = true;
        for name in &found.general_names {
            match name {
                GeneralName::DNSName(name) if !is_address => names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) if is_address => names.extend(address(octets)),
                _ => {}
            }
        }
    }
    let common = certificate.subject().iter_common_name().next();
    let is_common = common
        .and_then(|name| name.as_str().ok())
        .is_some_and(|name| name.eq_ignore_ascii_case(&wanted_text));
    Untrusted::Name(match names.as_slice() {
        _ if !has_names && is_common => {
            "certificate relies on legacy Common Name field, use SANs instead".to_owned()
        }
        [] if is_address => {
            format!("cannot validate certificate for {wanted_text} because it doesn't contain any IP SANs")
        }
        [] => format!("certificate is not valid for any names, but wanted to match {wanted_text}"),
        names if names.len() >= 100 => {
            let kind = if is_address { "IP SANs" } else { "names" };
            format!(
                "certificate is valid for {} {kind}, but none matched {wanted_text}",
                names.len()
            )
        }
        names => format!("certificate is valid for {}, not {wanted_text}", names.join(", ")),
    })
}

fn address(octets: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(std::net::Ipv4Addr::from(octets).to_string());
    }
    let octets = <[u8; 16]>::try_from(octets).ok()?;
    Some(std::net::Ipv6Addr::from(octets).to_string())
}

/// What is wrong with a chain of certificates, in the words of Go's `crypto/x509`, without its `x509: `: names of
/// the library's errors say nothing to an operator.
pub fn x509_words(error: &webpki::Error) -> String {
    use webpki::Error;
    let dated = |now: UnixTime, relation: &'static str, bound: UnixTime| {
        let (now, bound) = (date(seconds(now)), date(seconds(bound)));
        Untrusted::Dated { now, relation, bound }.to_string()
    };
    let words = match error {
        Error::CertExpired { time, not_after } => return dated(*time, "after", *not_after),
        Error::CertNotValidYet { time, not_before } => return dated(*time, "before", *not_before),
        Error::UnsupportedSignatureAlgorithmContext(context) => {
            return unsupported_signature(&context.signature_algorithm_id);
        }
        // An authority of the same name whose key did not sign it, or is of another kind, is none that is known.
        Error::UnknownIssuer
        | Error::InvalidSignatureForPublicKey
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "certificate signed by unknown authority"
        }
        Error::CaUsedAsEndEntity => {
            "certificate is that of an authority, and none of those that are trusted themselves"
        }
        Error::EndEntityUsedAsCa => "certificate is not authorized to sign other certificates",
        Error::PathLenConstraintViolated => "too many intermediates for path length constraint",
        Error::NameConstraintViolation => {
            "a root or intermediate certificate is not authorized to sign for this name"
        }
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            "certificate specifies an incompatible key usage"
        }
        Error::UnsupportedCriticalExtension => "unhandled critical extension",
        Error::UnsupportedCertVersion => "certificate is not of version 3 of X.509",
        Error::MaximumSignatureChecksExceeded | Error::MaximumPathBuildCallsExceeded => {
            "signature check attempts limit reached while verifying certificate chain"
        }
        Error::MaximumNameConstraintComparisonsExceeded | Error::MaximumPathDepthExceeded => {
            "the chain of certificates is too long to be verified"
        }
        Error::BadDer
        | Error::BadDerTime
        | Error::TrailingData(_)
        | Error::ExtensionValueInvalid
        | Error::InvalidCertValidity
        | Error::InvalidSerialNumber
        | Error::MalformedDnsIdentifier
        | Error::MalformedExtensions
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint
        | Error::SignatureAlgorithmMismatch => "malformed certificate",
        _ => "no valid chains built",
    };
    words.to_owned()
}

fn unsupported_signature(algorithm: &[u8]) -> String {
    let named = [
        (
            &b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"[..],
            "insecure algorithm SHA1-RSA",
        ),
        (
            b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04",
            "insecure algorithm MD5-RSA",
        ),
        (b"\x2a\x86\x48\xce\x3d\x04\x01", "insecure algorithm ECDSA-SHA1"),
    ];
    let contains = |oid: &[u8]| algorithm.windows(oid.len()).any(|window| window == oid);
    let which = named
        .iter()
        .find(|(oid, _)| contains(oid))
        .map_or("algorithm unimplemented", |(_, name)| name);
    format!("cannot verify signature: {which}")
}

/// The first certificate of a chain whose key cannot be used, as an explanation in brackets; empty for none.
pub(super) fn weak_keys(chain: &[X509Certificate<'_>]) -> String {
    let mut found = chain.iter().filter_map(weak_key);
    found.next().map_or_else(String::new, |weak| format!(" ({weak})"))
}
