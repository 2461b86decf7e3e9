//! The cryptography of all connections: that of `ring`, with the kinds of ECDSA that it lacks.
//!
//! Why `ring`, what is not there and what that means stands in `docs/src/security.md`, "Cryptography".

use std::sync::{Arc, LazyLock};

use rustls::SignatureScheme;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use webpki::ring as known;

use super::ecdsa::{P256_SHA512, P384_SHA512, P521_SHA256, P521_SHA384, P521_SHA512};
use super::exchange::P521;
use super::keys::Keys;

/// How certificates and handshakes may be signed. What is preferred comes first: servers that follow the order of
/// their clients take it.
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        known::ECDSA_P256_SHA256,
        known::ECDSA_P256_SHA384,
        &P256_SHA512,
        known::ECDSA_P384_SHA256,
        known::ECDSA_P384_SHA384,
        &P384_SHA512,
        &P521_SHA256,
        &P521_SHA384,
        &P521_SHA512,
        known::ED25519,
        known::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        known::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        known::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        known::RSA_PKCS1_2048_8192_SHA256,
        known::RSA_PKCS1_2048_8192_SHA384,
        known::RSA_PKCS1_2048_8192_SHA512,
        known::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        known::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        known::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    // In TLS 1.3 the first of a line is meant; in TLS 1.2 a scheme does not tell the curve (RFC 8446, section 4.2.3).
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[known::ECDSA_P256_SHA256, known::ECDSA_P384_SHA256, &P521_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[known::ECDSA_P384_SHA384, known::ECDSA_P256_SHA384, &P521_SHA384],
        ),
        (
            SignatureScheme::ECDSA_NISTP521_SHA512,
            &[&P521_SHA512, &P256_SHA512, &P384_SHA512],
        ),
        (SignatureScheme::ED25519, &[known::ED25519]),
        (
            SignatureScheme::RSA_PSS_SHA256,
            &[known::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA384,
            &[known::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA512,
            &[known::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA256,
            &[known::RSA_PKCS1_2048_8192_SHA256],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA384,
            &[known::RSA_PKCS1_2048_8192_SHA384],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA512,
            &[known::RSA_PKCS1_2048_8192_SHA512],
        ),
    ],
};

/// The cryptography of connections between sidecars, and to sentry and the operator. AES-128 is preferred, as Go prefers it: it is as safe
/// here and takes less time.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = default_provider();
        let preferred = cipher_suite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.retain(|suite| *suite != preferred);
        provider.cipher_suites.insert(0, preferred);
        provider.signature_verification_algorithms = SIGNATURES;
        provider.key_provider = &Keys;
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

/// The same, for apps, endpoints and URLs, which may be servers of any kind.
pub(super) fn for_origins() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = CryptoProvider::clone(&provider());
        provider.kx_groups.push(&P521);
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}
