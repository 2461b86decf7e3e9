//! The exchange of keys on P-521, which `ring` does not know.
//!
//! Servers of TLS 1.2 that run OpenSSL show a certificate on a curve only to clients that offer that curve for the
//! exchange, too (RFC 8422, section 5.1). It is offered last and to servers alone: it takes a hundred times as long as
//! X25519, so nobody who connects to this sidecar may ask for it.

use p521::elliptic_curve::sec1::ToEncodedPoint;
use p521::{PublicKey, SecretKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// The length of a number of P-521, in bytes. Its highest byte has one bit.
const FIELD: usize = 66;

/// ECDHE on P-521.
#[derive(Debug)]
pub(super) struct P521;

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = secret()?;
        let public = secret.public_key().to_encoded_point(false);
        Ok(Box::new(Started {
            secret,
            public: public.as_bytes().into(),
        }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

fn secret() -> Result<SecretKey, Error> {
    let random = SystemRandom::new();
    loop {
        let mut number = [0; FIELD];
        random.fill(&mut number).map_err(|_| GetRandomFailed)?;
        number[0] &= 1;
        // Zero, and what is not below the order of the curve, is drawn again, so that all keys are equally likely.
        if let Ok(secret) = SecretKey::from_slice(&number) {
            return Ok(secret);
        }
    }
}

struct Started {
    secret: SecretKey,
    public: Box<[u8]>,
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, other: &[u8]) -> Result<SharedSecret, Error> {
        // Uncompressed alone is allowed (RFC 8446, section 4.2.8.2; RFC 8422, section 5.1.2). The library sees to it
        // that the point is on the curve.
        let other = Some(other)
            .filter(|other| other.len() == self.public.len())
            .and_then(|other| PublicKey::from_sec1_bytes(other).ok())
            .ok_or(PeerMisbehaved::InvalidKeyShare)?;
        let shared = p521::ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), other.as_affine());
        Ok(SharedSecret::from(shared.raw_secret_bytes().as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_get_the_same_secret() {
        let (one, other) = (P521.start().unwrap(), P521.start().unwrap());
        assert_eq!(one.pub_key().len(), 1 + 2 * FIELD);
        assert_ne!(one.pub_key(), other.pub_key());
        let (ones, others) = (one.pub_key().to_vec(), other.pub_key().to_vec());
        let secret = one.complete(&others).unwrap();
        assert_eq!(secret.secret_bytes().len(), FIELD);
        assert_eq!(
            secret.secret_bytes(),
            other.complete(&ones).unwrap().secret_bytes()
        );
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let point = P521.start().unwrap().pub_key().to_vec();
        let mut beside = point.clone();
        beside[2 * FIELD] ^= 1;
        let mut compressed = point[..=FIELD].to_vec();
        compressed[0] = 2 + (point[2 * FIELD] & 1);
        for (what, wrong) in [
            ("nothing", &[][..]),
            ("infinity", &[0]),
            ("cut", &point[..2 * FIELD]),
            ("beside the curve", &beside),
            ("compressed", &compressed),
        ] {
            let refused = P521.start().unwrap().complete(wrong).err();
            assert_eq!(refused, Some(PeerMisbehaved::InvalidKeyShare.into()), "{what}");
        }
    }
}
