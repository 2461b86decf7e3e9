//! ECDSA as `ring` does not know it: the curve P-521, and SHA-512 with the smaller curves. Go's peers, sentry with the
//! key of an operator, servers and apps have such certificates.

use p521::ecdsa::signature::hazmat::PrehashVerifier;
use ring::digest::{self, digest};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// ECDSA on one curve with one hash (RFC 5758, section 3.2).
#[derive(Debug)]
pub(super) struct Ecdsa {
    curve: Curve,
    hash: &'static digest::Algorithm,
    id: AlgorithmIdentifier,
}

#[derive(Clone, Copy, Debug)]
enum Curve {
    P256,
    P384,
    P521,
}

const fn with_sha512(curve: Curve) -> Ecdsa {
    Ecdsa {
        curve,
        hash: &digest::SHA512,
        id: alg_id::ECDSA_SHA512,
    }
}

pub(super) static P256_SHA512: Ecdsa = with_sha512(Curve::P256);
pub(super) static P384_SHA512: Ecdsa = with_sha512(Curve::P384);
pub(super) static P521_SHA512: Ecdsa = with_sha512(Curve::P521);
pub(super) static P521_SHA384: Ecdsa = Ecdsa {
    curve: Curve::P521,
    hash: &digest::SHA384,
    id: alg_id::ECDSA_SHA384,
};
pub(super) static P521_SHA256: Ecdsa = Ecdsa {
    curve: Curve::P521,
    hash: &digest::SHA256,
    id: alg_id::ECDSA_SHA256,
};

/// The length of a number of P-521, in bytes.
const FIELD: usize = 66;

/// A hash as a number of P-521: all of them are shorter, and the library takes none that has less than half its length.
fn padded(hash: &[u8]) -> Option<[u8; FIELD]> {
    let mut number = [0; FIELD];
    let place = FIELD.checked_sub(hash.len())?;
    number.get_mut(place..)?.copy_from_slice(hash);
    Some(number)
}

impl Ecdsa {
    fn is_signed(&self, key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
        macro_rules! on {
            ($curve:ident, $hash:expr) => {{
                let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
                let signature = $curve::ecdsa::Signature::from_der(signature).ok()?;
                key.verify_prehash($hash, &signature).ok()
            }};
        }
        match self.curve {
            Curve::P256 => on!(p256, hash),
            Curve::P384 => on!(p384, hash),
            Curve::P521 => on!(p521, &padded(hash)?),
        }
    }
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let hash = digest(self.hash, message);
        self.is_signed(public_key, hash.as_ref(), signature)
            .ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.curve {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
            Curve::P521 => alg_id::ECDSA_P521,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}
