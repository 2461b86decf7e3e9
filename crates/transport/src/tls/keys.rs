//! Private keys that a client proves itself with: those of the library, and those of P-521.

use std::fmt;
use std::sync::Arc;

use p521::SecretKey;
use p521::ecdsa::signature::hazmat::PrehashSigner;
use p521::ecdsa::{DerSignature, Signature};
use p521::pkcs8::DecodePrivateKey;
use ring::digest::{SHA512, digest};
use rustls::crypto::KeyProvider;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id};

/// Loads private keys.
#[derive(Debug)]
pub(super) struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        if let Ok(known) = any_supported_type(&key) {
            return Ok(known);
        }
        let secret = match &key {
            PrivateKeyDer::Pkcs8(der) => SecretKey::from_pkcs8_der(der.secret_pkcs8_der()).ok(),
            PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()).ok(),
            _ => None,
        };
        match secret.and_then(|secret| p521::ecdsa::SigningKey::from_bytes(&secret.to_bytes()).ok()) {
            Some(key) => Ok(Arc::new(P521Key(Arc::new(key)))),
            None => Err(Error::General(
                "the key is none of RSA with 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
                    .to_owned(),
            )),
        }
    }
}

/// A key of P-521. It does not show itself.
struct P521Key(Arc<p521::ecdsa::SigningKey>);

impl fmt::Debug for P521Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P521Key")
    }
}

impl SigningKey for P521Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP521_SHA512)
            .then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let key = p521::ecdsa::VerifyingKey::from(&*self.0).to_encoded_point(false);
        Some(public_key_to_spki(&alg_id::ECDSA_P521, key.as_bytes()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for P521Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let hash = digest(&SHA512, message);
        let signature: Signature = self
            .0
            .sign_prehash(hash.as_ref())
            .map_err(|_| Error::General("the key of P-521 cannot sign".to_owned()))?;
        Ok(DerSignature::from(signature).as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP521_SHA512
    }
}
