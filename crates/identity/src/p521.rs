//! Signatures of authorities on the curve P-521, which `ring` does not know. Dapr's sentry signs with whatever
//! key its operator gives it, and Go's peers take such certificates.

use ::p521::ecdsa::signature::hazmat::PrehashVerifier;
use ::p521::ecdsa::{Signature, VerifyingKey};
use ring::digest::{self, digest};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// The length of a number of the curve, in bytes.
const FIELD: usize = 66;

/// ECDSA on P-521 with one of the hashes that go with it (RFC 5758, section 3.2).
#[derive(Debug)]
struct EcdsaP521 {
    hash: &'static digest::Algorithm,
    id: AlgorithmIdentifier,
}

static ALGORITHMS: [EcdsaP521; 3] = [
    EcdsaP521 {
        hash: &digest::SHA512,
        id: alg_id::ECDSA_SHA512,
    },
    EcdsaP521 {
        hash: &digest::SHA384,
        id: alg_id::ECDSA_SHA384,
    },
    EcdsaP521 {
        hash: &digest::SHA256,
        id: alg_id::ECDSA_SHA256,
    },
];

impl SignatureVerificationAlgorithm for EcdsaP521 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        // The hash as a number of the curve: all of them are shorter.
        let hash = digest(self.hash, message);
        let mut number = [0; FIELD];
        let place = FIELD - hash.as_ref().len();
        number
            .get_mut(place..)
            .ok_or(InvalidSignature)?
            .copy_from_slice(hash.as_ref());
        key.verify_prehash(&number, &signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}

/// The algorithms with which certificates may be signed: those of the provider, and these.
pub(crate) fn with_p521(
    known: &WebPkiSupportedAlgorithms,
) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let ours = ALGORITHMS
        .iter()
        .map(|one| one as &dyn SignatureVerificationAlgorithm);
    known.all.iter().copied().chain(ours).collect()
}
