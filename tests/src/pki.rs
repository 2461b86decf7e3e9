//! A certificate authority.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

/// Seconds since 1970 as certificates have them.
fn time(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
}

/// This moment, in seconds since 1970.
///
/// # Panics
/// When the clock is wrong.
pub fn now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_secs()).expect("a sane clock")
}

/// A name of a certificate.
///
/// # Panics
/// When it cannot stand in one.
pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

/// Sets from when to when a certificate is valid, in seconds since 1970.
pub fn set_validity(params: &mut CertificateParams, not_before: i64, not_after: i64) {
    (params.not_before, params.not_after) = (time(not_before), time(not_after));
}

/// A root, or an authority below one.
pub struct Authority {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// What is sent along with the leaves: this authority and those above it, without the root.
    path: Vec<CertificateDer<'static>>,
}

/// A certificate with its chain and its key.
pub struct Issued {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the leaf.
    pub key: KeyPair,
}

/// A public key of Ed25519 that somebody else made.
struct Ed25519Key([u8; 32]);

impl PublicKeyData for Ed25519Key {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A root with a key of Ed25519 that is valid for a long time.
    pub fn new() -> Self {
        Self::root(&PKCS_ED25519, |_| {})
    }

    /// A root that is valid from one second since 1970 to another.
    pub fn valid(not_before: i64, not_after: i64) -> Self {
        Self::root(&PKCS_ED25519, |params| {
            set_validity(params, not_before, not_after);
        })
    }

    /// A root with a key of this kind.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn root(algorithm: &'static SignatureAlgorithm, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::with_key(KeyPair::generate_for(algorithm).expect("a key"), change)
    }

    /// A root with this key.
    ///
    /// # Panics
    /// When the key cannot sign.
    pub fn with_key(key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params("root");
        change(&mut params);
        let der = params.self_signed(&key).expect("a root").der().clone();
        Self {
            der,
            issuer: Issuer::new(params, key),
            path: Vec::new(),
        }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// An authority below this one.
    ///
    /// # Panics
    /// When this one cannot sign.
    #[must_use]
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let mut params = Self::params(name);
        change(&mut params);
        let der = params
            .signed_by(&key, &self.issuer)
            .expect("signed")
            .der()
            .clone();
        let mut path = vec![der.clone()];
        path.extend(self.path.iter().cloned());
        Self {
            der,
            issuer: Issuer::new(params, key),
            path,
        }
    }

    /// The certificate of this authority, as it stands among trust anchors.
    pub fn pem(&self) -> String {
        pem(&self.der)
    }

    /// The certificate of this authority, in DER.
    pub fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    /// A certificate of a workload.
    pub fn issue(&self, id: &str) -> Issued {
        self.issue_with(id, |_| {})
    }

    /// The same, with something else.
    ///
    /// # Panics
    /// When there is no key.
    pub fn issue_with(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.issue_for(KeyPair::generate_for(&PKCS_ED25519).expect("a key"), id, change)
    }

    /// The same, for this key.
    ///
    /// # Panics
    /// When this authority cannot sign.
    pub fn issue_for(&self, key: KeyPair, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let leaf = Self::leaf(id, change)
            .signed_by(&key, &self.issuer)
            .expect("signed");
        Issued {
            chain: self.chain(leaf.der()),
            key,
        }
    }

    /// A chain in PEM for the 32 bytes of a public key of Ed25519 that somebody else has.
    ///
    /// # Panics
    /// When there are not 32 bytes.
    pub fn certify(
        &self,
        id: &str,
        public_key: &[u8],
        change: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let key = Ed25519Key(public_key.try_into().expect("32 bytes"));
        let leaf = Self::leaf(id, change)
            .signed_by(&key, &self.issuer)
            .expect("signed");
        self.chain(leaf.der()).iter().map(|der| pem(der)).collect()
    }

    fn leaf(id: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![uri(id)];
        change(&mut params);
        params
    }

    fn chain(&self, leaf: &CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        std::iter::once(leaf.clone())
            .chain(self.path.iter().cloned())
            .collect()
    }
}

impl Issued {
    /// The chain, in PEM.
    pub fn pem(&self) -> String {
        self.chain.iter().map(|der| pem(der)).collect()
    }

    /// As TLS needs it.
    ///
    /// # Panics
    /// When the key is of a kind that TLS does not know.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        let key = self.key.serialize_der().try_into().expect("a private key");
        let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a known kind of key");
        Arc::new(CertifiedKey::new(self.chain.clone(), key))
    }
}

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("ASCII"))
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}
