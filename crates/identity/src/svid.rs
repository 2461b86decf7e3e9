//! The certificate that this sidecar shows, and the answer of sentry that it comes in.

use std::sync::Arc;

use dapr_proto::sentry::SignCertificateResponse;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use thiserror::Error;

use crate::certificate::{self, CertificateError, Validity};
use crate::csr::FreshKey;
use crate::jwt::{self, For, JwtError};
use crate::pem;
use crate::spiffe::SpiffeId;

/// The first and the last second that a timestamp of protobuf can have: the years 1 to 9999.
const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// An answer of sentry that makes no sense.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SvidError {
    /// No date, or one that cannot be.
    #[error("error parsing ValidUntil: {0}")]
    ValidUntil(&'static str),
    /// The certificates cannot be read.
    #[error("error parsing newly signed certificate: {0}")]
    Certificate(&'static str),
    /// There is none.
    #[error("no certificates received from sentry")]
    NoCertificates,
    /// The certificate is not one of a workload.
    #[error("error parsing spiffe id from newly signed certificate: {0}")]
    Id(CertificateError),
    /// A JWT came with it that cannot be accepted.
    #[error(transparent)]
    Jwt(#[from] JwtError),
}

/// A certificate with its key, as TLS needs it, and what it says.
#[derive(Debug)]
pub(crate) struct Svid {
    pub(crate) id: SpiffeId,
    pub(crate) validity: Validity,
    pub(crate) certified: Arc<CertifiedKey>,
    /// When the JWT that came with it expires, if there was one; seconds since 1970.
    pub(crate) jwt_expiry: Option<i64>,
}

impl Svid {
    /// Takes the answer for this key. A certificate that has expired is taken, too: clocks differ.
    pub(crate) fn of(key: FreshKey, answer: &SignCertificateResponse, now: i64) -> Result<Self, SvidError> {
        match &answer.valid_until {
            None => return Err(SvidError::ValidUntil("proto: invalid nil Timestamp")),
            Some(until) if !TIMES.contains(&until.seconds) || !(0..1_000_000_000).contains(&until.nanos) => {
                return Err(SvidError::ValidUntil("proto: timestamp is out of range"));
            }
            Some(_) => {}
        }
        let malformed = || SvidError::Certificate("x509: malformed certificate");
        let text = std::str::from_utf8(&answer.workload_certificate)
            .map_err(|_| SvidError::Certificate("no certificates found"))?;
        let chain = pem::certificates(text).map_err(|_| SvidError::NoCertificates)?;
        for der in &chain {
            certificate::validity(der).map_err(|_| malformed())?;
        }
        let leaf = chain.first().ok_or(SvidError::NoCertificates)?;
        let leaf = certificate::leaf(leaf).map_err(|error| match error {
            CertificateError::Malformed => malformed(),
            other => SvidError::Id(other),
        })?;
        if leaf.public_key != key.public() {
            return Err(SvidError::Certificate("it is for another key"));
        }
        let jwt_expiry = jwt_expiry(answer, &leaf.id, now)?;
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Ok(Self {
            id: leaf.id,
            validity: leaf.validity,
            certified: Arc::new(CertifiedKey::new(chain, key.into_signing())),
            jwt_expiry,
        })
    }

    /// When it should be renewed: at half of its time, or of that of its JWT. Seconds since 1970.
    pub(crate) fn renew_at(&self, now: i64) -> i64 {
        let Validity {
            not_before,
            not_after,
        } = self.validity;
        let half = not_before.saturating_add(not_after.saturating_sub(not_before) / 2);
        match self.jwt_expiry {
            Some(expiry) => half.min(now.saturating_add(expiry.saturating_sub(now) / 2)),
            None => half,
        }
    }
}

fn jwt_expiry(answer: &SignCertificateResponse, id: &SpiffeId, now: i64) -> Result<Option<i64>, JwtError> {
    for (audience, token) in &answer.per_audience_jwts {
        jwt::expiry(token, For::Only(audience), now)?;
    }
    match answer.jwt.as_deref() {
        None | Some("") => Ok(None),
        Some(token) => jwt::expiry(token, For::Including(id.trust_domain()), now).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use integration_tests::pki::Authority;

    const ID: &str = "spiffe://public/ns/default/app";

    fn answer(authority: &Authority, key: &FreshKey) -> SignCertificateResponse {
        SignCertificateResponse {
            workload_certificate: authority.certify(ID, key.public(), |_| {}).into(),
            valid_until: Some(prost_types::Timestamp::default()),
            ..SignCertificateResponse::default()
        }
    }

    fn taken(change: impl FnOnce(&mut SignCertificateResponse)) -> Result<Svid, SvidError> {
        let key = FreshKey::new().unwrap();
        let mut answer = answer(&Authority::new(), &key);
        change(&mut answer);
        Svid::of(key, &answer, 0)
    }

    #[test]
    fn answers() {
        assert_eq!(taken(|_| {}).unwrap().id.as_str(), ID);
        let other_key = Authority::new().issue(ID);
        let other_key = pem::encode("CERTIFICATE", &other_key.chain[0]);
        let junk = pem::encode("CERTIFICATE", b"junk");
        for (change, wanted) in [
            (
                &(|answer: &mut SignCertificateResponse| answer.valid_until = None)
                    as &dyn Fn(&mut SignCertificateResponse),
                SvidError::ValidUntil("proto: invalid nil Timestamp"),
            ),
            (
                &|answer| answer.valid_until.as_mut().unwrap().seconds = i64::MAX,
                SvidError::ValidUntil("proto: timestamp is out of range"),
            ),
            (
                &|answer| answer.valid_until.as_mut().unwrap().nanos = -1,
                SvidError::ValidUntil("proto: timestamp is out of range"),
            ),
            (
                &|answer| answer.workload_certificate.clear(),
                SvidError::NoCertificates,
            ),
            (
                &|answer| answer.workload_certificate = b"\xff".as_slice().into(),
                SvidError::Certificate("no certificates found"),
            ),
            (
                &|answer| answer.workload_certificate = junk.clone().into(),
                SvidError::Certificate("x509: malformed certificate"),
            ),
            (
                &|answer| answer.workload_certificate = other_key.clone().into(),
                SvidError::Certificate("it is for another key"),
            ),
            (
                &|answer| answer.jwt = Some("x".into()),
                JwtError::Malformed("it has not three parts").into(),
            ),
            (
                &|answer| {
                    answer.per_audience_jwts.insert("a".into(), "x".into());
                },
                JwtError::Malformed("it has not three parts").into(),
            ),
        ] {
            assert_eq!(taken(change).unwrap_err(), wanted);
        }
        assert!(taken(|answer| answer.jwt = Some(String::new())).is_ok());
    }

    #[test]
    fn a_certificate_of_nobody_is_refused() {
        let key = FreshKey::new().unwrap();
        let mut answer = answer(&Authority::new(), &key);
        answer.workload_certificate = Authority::new()
            .certify(ID, key.public(), |params| params.subject_alt_names.clear())
            .into();
        let error = Svid::of(key, &answer, 0).unwrap_err();
        assert_eq!(error, SvidError::Id(CertificateError::NoUri));
    }

    #[test]
    fn half_of_the_time() {
        let mut svid = taken(|_| {}).unwrap();
        for (not_before, not_after, jwt_expiry, wanted) in [
            (-900, 86_400, None, 42_750),
            (0, 0, None, 0),
            (100, 0, None, 50),
            (0, 1_000, Some(600), 300),
            (0, 1_000, Some(5_000), 500),
            (i64::MIN, i64::MAX, Some(i64::MIN), i64::MIN / 2 - 1),
        ] {
            svid.validity = Validity {
                not_before,
                not_after,
            };
            svid.jwt_expiry = jwt_expiry;
            assert_eq!(svid.renew_at(0), wanted);
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            use prost::Message;
            if let Ok(answer) = SignCertificateResponse::decode(&bytes[..]) {
                let _ = Svid::of(FreshKey::new().unwrap(), &answer, 0);
            }
        }
    }
}
