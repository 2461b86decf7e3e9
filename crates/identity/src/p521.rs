//! Signatures of authorities on the curve P-521, which `ring` does not know. Dapr's sentry signs with whatever
//! key its operator gives it, and Go's peers take such certificates.

use ::p521::ecdsa::signature::Verifier;
use ::p521::ecdsa::{Signature, VerifyingKey};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// ECDSA on P-521 with SHA-512.
#[derive(Debug)]
struct P521Sha512;

/// The algorithm, as certificates are verified with it.
pub(crate) static P521_SHA512: &dyn SignatureVerificationAlgorithm = &P521Sha512;

impl SignatureVerificationAlgorithm for P521Sha512 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }
}

/// The algorithms with which certificates may be signed: those of the provider, and this one.
pub(crate) fn with_p521(
    known: &WebPkiSupportedAlgorithms,
) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let mut all = known.all.to_vec();
    all.push(P521_SHA512);
    all
}
