//! A fresh key, and the request to certify it.

use std::fmt;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivatePkcs8KeyDer;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::pem;

/// `PrivateKeyInfo` of an Ed25519 key (RFC 8410, section 7) up to the key itself.
const PRIVATE_KEY_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// `CertificationRequest` (RFC 2986, section 4.2): the outer sequence.
const REQUEST_HEAD: [u8; 2] = [0x30, 0x7f];
/// `CertificationRequestInfo` of version 0, with an empty subject and an Ed25519 key, up to the key itself.
const INFO_HEAD: [u8; 19] = [
    0x30, 0x33, 0x02, 0x01, 0x00, 0x30, 0x00, 0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03,
    0x21, 0x00,
];
/// No attributes.
const INFO_TAIL: [u8; 2] = [0xa0, 0x00];
/// The algorithm of the signature, and its bit string up to the signature itself.
const SIGNATURE_HEAD: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00];

/// The system gives no random bytes, or the library cannot use the key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a private key cannot be made")]
pub struct NoKey;

/// A key pair of Ed25519, made for one certificate.
pub(crate) struct FreshKey {
    pair: Ed25519KeyPair,
    signing: Arc<dyn SigningKey>,
}

impl FreshKey {
    pub(crate) fn new() -> Result<Self, NoKey> {
        let mut private = Zeroizing::new(Vec::with_capacity(PRIVATE_KEY_HEAD.len() + 32));
        private.extend(PRIVATE_KEY_HEAD);
        private.resize(PRIVATE_KEY_HEAD.len() + 32, 0);
        let seed = private.get_mut(PRIVATE_KEY_HEAD.len()..).ok_or(NoKey)?;
        SystemRandom::new().fill(seed).map_err(|_| NoKey)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoKey)?;
        let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(&private[..])).map_err(|_| NoKey)?;
        Ok(Self { pair, signing })
    }

    /// The 32 bytes of the public key.
    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The key as TLS uses it.
    pub(crate) fn into_signing(self) -> Arc<dyn SigningKey> {
        self.signing
    }

    /// The request, in PEM.
    pub(crate) fn request(&self) -> String {
        pem::encode("CERTIFICATE REQUEST", &self.request_der())
    }

    /// The request: no subject, no attributes, signed with the key itself.
    fn request_der(&self) -> Vec<u8> {
        let info = [&INFO_HEAD[..], self.public(), &INFO_TAIL].concat();
        let signature = self.pair.sign(&info);
        [&REQUEST_HEAD[..], &info, &SIGNATURE_HEAD, signature.as_ref()].concat()
    }
}

impl fmt::Debug for FreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreshKey")
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer;

    use super::*;

    #[test]
    fn the_request_is_as_go_writes_it() {
        let key = FreshKey::new().unwrap();
        let der = key.request_der();
        assert_eq!(der.len(), 129);
        let (rest, request) = X509CertificationRequest::from_der(&der).unwrap();
        assert!(rest.is_empty());
        let info = &request.certification_request_info;
        assert_eq!(info.version.0, 0);
        assert_eq!(info.subject.iter().count(), 0);
        assert_eq!(info.attributes().len(), 0);
        assert_eq!(&*info.subject_pki.subject_public_key.data, key.public());
        let signed = der.get(2..55).unwrap();
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key.public())
            .verify(signed, &request.signature_value.data)
            .unwrap();
    }

    #[test]
    fn every_key_is_another() {
        assert_ne!(
            FreshKey::new().unwrap().public(),
            FreshKey::new().unwrap().public()
        );
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", FreshKey::new().unwrap()), "FreshKey");
    }
}
