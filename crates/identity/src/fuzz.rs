//! Doors for the fuzz targets: everything that this crate reads from others.

use std::time::Duration;

use prost::Message;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::anchors::AnchorStore;
use crate::csr::FreshKey;
use crate::jwt::{self, For};
use crate::settings::AnchorSource;
use crate::svid::Svid;
use crate::verify::{Expected, Verifier};
use crate::{Mode, SpiffeId, TokenSource, certificate, pem};
use transport::tls::provider;

/// The blocks of a text that are certificates.
pub fn certificates(text: &str) -> Option<Vec<Vec<u8>>> {
    pem::certificates(text).ok()
}

/// A certificate as a block of a text.
pub fn as_pem(der: &[u8]) -> String {
    pem::encode("CERTIFICATE", der)
}

/// The id that stands in the certificate of a workload, whoever vouches for it.
pub fn leaf(der: &[u8]) -> Option<SpiffeId> {
    certificate::leaf(der).ok().map(|leaf| leaf.id)
}

/// Trust anchors, and who must be proven.
pub struct Trust(Verifier);

impl Trust {
    /// Nothing if the text has no anchors, or one that cannot be read. `path` is the path of the expected id.
    pub async fn new(anchors: &str, path: Option<&str>) -> Option<Self> {
        let source = AnchorSource {
            value: Some(anchors.to_owned()),
            file: None,
        };
        let expected = path.map_or(Expected::Any, |path| Expected::Path(path.into()));
        let anchors = AnchorStore::load(&source).await.ok()?;
        Some(Self(Verifier::new(anchors, expected, provider())))
    }

    /// Who is proven by a chain, the leaf first, at a second since 1970.
    pub fn proves(&self, chain: &[Vec<u8>], now: u64) -> Option<SpiffeId> {
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(&der[..])).collect();
        let (leaf, rest) = chain.split_first()?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        self.0.verify(leaf, rest, now).ok()
    }
}

/// A key that sentry is asked to certify.
pub struct SigningRequest(FreshKey);

impl SigningRequest {
    /// A new key.
    pub fn new() -> Option<Self> {
        FreshKey::new().ok().map(Self)
    }

    /// The bits of its public part.
    pub fn public(&self) -> Vec<u8> {
        self.0.public().to_vec()
    }

    /// The request that sentry gets.
    pub fn request(&self) -> String {
        self.0.request()
    }

    /// Takes the message of an answer: the id, and when the certificate is to be renewed.
    pub fn answered(self, message: &[u8], now: i64) -> Option<(SpiffeId, i64)> {
        let answer = dapr_proto::sentry::SignCertificateResponse::decode(message).ok()?;
        let svid = Svid::of(self.0, &answer, now).ok()?;
        let renew_at = svid.renew_at(now);
        Some((svid.id, renew_at))
    }
}

/// When a JWT expires, if it is one for this audience among others, or for it alone.
pub fn jwt(token: &str, audience: &str, is_only: bool, now: i64) -> Option<i64> {
    let audience = if is_only {
        For::Only(audience)
    } else {
        For::Including(audience)
    };
    jwt::expiry(token, audience, now).ok()
}

/// The token in a file, as sentry would be shown it.
pub async fn token(path: &str) -> Option<String> {
    let source = TokenSource::new(Mode::Standalone, Some(path.to_owned()));
    source.read().await.ok().map(|(token, _)| token.to_string())
}
