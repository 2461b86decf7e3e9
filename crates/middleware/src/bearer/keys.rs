//! Sets of keys (RFC 7517), and signatures that they verify (RFC 7518).
//!
//! Which algorithms a key verifies is up to the kind of the key, never to the token: a public key of RSA verifies no
//! HMAC, whatever a token says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use serde::Deserialize;
use thiserror::Error;

/// As many keys of a set are looked at.
const MOST: usize = 256;

/// A set of keys. What of it is no key that verifies signatures is left out.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

/// What is no set of keys.
#[derive(Debug, Error)]
pub(crate) enum KeysError {
    #[error("failed to unmarshal JWK set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("failed to unmarshal JWK set: failed to parse sole key in key set")]
    NoSet,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

struct Key {
    id: Option<String>,
    /// What the key is for, if the set says so.
    algorithm: Option<String>,
    material: Material,
}

enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Box<p521::ecdsa::VerifyingKey>),
    Ed25519(Vec<u8>),
    Secret(Vec<u8>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads a set. A single key is a set of one.
    pub(super) fn parse(json: &[u8]) -> Result<Self, KeysError> {
        let value: serde_json::Value = serde_json::from_slice(json)?;
        let keys = if value.get("kty").is_some() {
            vec![value]
        } else if value.get("keys").is_none() {
            return Err(KeysError::NoSet);
        } else {
            serde_json::from_value::<Set>(value)?.keys
        };
        let known = keys.into_iter().take(MOST).filter_map(Key::read);
        Ok(Self(known.collect()))
    }

    /// Whether there is a key of this name.
    pub(super) fn have(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Whether a key of this name made the signature of a message.
    pub(super) fn verify(&self, id: &str, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let named = self.0.iter().filter(|key| key.id.as_deref() == Some(id));
        let mut meant = named.filter(|key| key.algorithm.as_deref().is_none_or(|own| own == algorithm));
        meant.any(|key| key.material.verify(algorithm, message, signature))
    }
}

impl Key {
    fn read(value: serde_json::Value) -> Option<Self> {
        let written: Written = serde_json::from_value(value).ok()?;
        if written
            .usage
            .as_deref()
            .is_some_and(|usage| !matches!(usage, "" | "sig"))
        {
            return None;
        }
        let bytes = |text: &Option<String>| {
            URL_SAFE_NO_PAD
                .decode(text.as_deref()?.trim_end_matches('='))
                .ok()
        };
        let point = |length: usize| {
            let mut point = vec![4];
            for part in [bytes(&written.x)?, bytes(&written.y)?] {
                point.resize(point.len() + length.checked_sub(part.len())?, 0);
                point.extend_from_slice(&part);
            }
            Some(point)
        };
        let material = match (written.kty.as_str(), written.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                n: bytes(&written.n)?,
                e: bytes(&written.e)?,
            },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("EC", Some("P-521")) => Material::P521(Box::new(
                p521::ecdsa::VerifyingKey::from_sec1_bytes(&point(66)?).ok()?,
            )),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&written.x)?),
            ("oct", _) => Material::Secret(bytes(&written.k).filter(|secret| !secret.is_empty())?),
            _ => return None,
        };
        Some(Self {
            id: written.kid,
            algorithm: written.alg.filter(|algorithm| !algorithm.is_empty()),
            material,
        })
    }
}

impl Material {
    fn verify(&self, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
        match self {
            Self::Rsa { n, e } => {
                let parameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                let key = signature::RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signed).is_ok()
            }
            Self::P256(point) if algorithm == "ES256" => {
                verify(&signature::ECDSA_P256_SHA256_FIXED, point, message, signed)
            }
            Self::P384(point) if algorithm == "ES384" => {
                verify(&signature::ECDSA_P384_SHA384_FIXED, point, message, signed)
            }
            Self::P521(key) if algorithm == "ES512" => {
                use p521::ecdsa::signature::Verifier;
                p521::ecdsa::Signature::from_slice(signed)
                    .is_ok_and(|signed| key.verify(message, &signed).is_ok())
            }
            Self::Ed25519(key) if algorithm == "EdDSA" => verify(&signature::ED25519, key, message, signed),
            Self::Secret(secret) => {
                let kind = match algorithm {
                    "HS256" => hmac::HMAC_SHA256,
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => return false,
                };
                hmac::verify(&hmac::Key::new(kind, secret), message, signed).is_ok()
            }
            _ => false,
        }
    }
}

fn verify(
    algorithm: &'static dyn signature::VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signed: &[u8],
) -> bool {
    signature::UnparsedPublicKey::new(algorithm, key)
        .verify(message, signed)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        for (json, count) in [
            (r#"{"keys":[]}"#, Some(0)),
            ("{}", None),
            (
                r#"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}"#,
                Some(1),
            ),
            (r#"{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}"#, Some(1)),
            (
                r#"{"keys":[{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB"}]}"#,
                Some(0),
            ),
            (
                r#"{"keys":[{"kty":"XYZ"},7,{"kty":"oct","k":""},{"kty":"EC","crv":"P-256","x":"AA"}]}"#,
                Some(0),
            ),
            (r#"{"keys":[{"kty":"oct","kid":"s","k":"AAAA"}]}"#, Some(1)),
            (r#"{"keys":7}"#, None),
            ("hello", None),
            ("[]", None),
            ("", None),
        ] {
            let parsed = Keys::parse(json.as_bytes());
            assert_eq!(parsed.ok().map(|keys| keys.0.len()), count, "{json}");
        }
    }

    #[test]
    fn a_set_without_end_is_cut() {
        let key = r#"{"kty":"oct","kid":"s","k":"AAAA"}"#;
        let json = format!(r#"{{"keys":[{}]}}"#, vec![key; MOST + 10].join(","));
        assert_eq!(Keys::parse(json.as_bytes()).unwrap().0.len(), MOST);
    }
}
