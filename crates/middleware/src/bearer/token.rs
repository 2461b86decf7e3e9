//! Tokens (RFC 7515, RFC 7519), as far as a caller needs to be let in.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::keys::Keys;

/// How far clocks may be apart, in seconds.
pub(super) const SKEW: f64 = 300.0;
/// Times beyond are none, in seconds.
const LATEST: f64 = 1e15;
/// A token that is longer is not looked at, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Whom a token must be of and for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) issuer: String,
    pub(super) audience: String,
}

/// When a token that is genuine holds, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Times {
    expires: Option<f64>,
    not_before: Option<f64>,
    issued: Option<f64>,
}

impl Times {
    /// Whether it holds now, for a clock that is not quite right.
    pub(super) fn hold_at(&self, now: f64) -> bool {
        self.expires.is_none_or(|expires| now < expires + SKEW)
            && self.not_before.is_none_or(|begin| now >= begin - SKEW)
            && self.issued.is_none_or(|issued| now >= issued - SKEW)
    }
}

/// A token as it is written. Nothing of it is believed yet.
#[derive(Debug)]
pub(super) struct Token<'a> {
    algorithm: String,
    key: String,
    message: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Takes a token apart; `None` for what is none, or asks for something that nobody here does.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > LONGEST {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (head, claims) = message.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        let head = object(head)?;
        // What must be understood is not.
        if head.contains_key("crit") {
            return None;
        }
        let text = |name| Some(head.get(name)?.as_str()?.to_owned());
        Some(Self {
            algorithm: text("alg")?,
            key: text("kid")?,
            message,
            claims,
            signature: BASE64.decode(signature).ok()?,
        })
    }

    /// The name of the key that is said to have signed it.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// When it holds; `None` for one that is not genuine, or not of whom or for whom it must be.
    pub(super) fn verify(&self, keys: &Keys, wanted: &Wanted) -> Option<Times> {
        // Nothing of the claims is read before somebody is known to have said them.
        if !keys.verify(
            &self.key,
            &self.algorithm,
            self.message.as_bytes(),
            &self.signature,
        ) {
            return None;
        }
        let claims = object(self.claims)?;
        let is_meant = claims.get("iss").and_then(Value::as_str) == Some(wanted.issuer.as_str())
            && is_for(claims.get("aud")?, &wanted.audience);
        let is_text = |name| claims.get(name).is_none_or(Value::is_string);
        if !is_meant || !is_text("sub") || !is_text("jti") {
            return None;
        }
        Some(Times {
            expires: time(claims.get("exp")).ok()?,
            not_before: time(claims.get("nbf")).ok()?,
            issued: time(claims.get("iat")).ok()?,
        })
    }
}

/// The claims of a token.
#[cfg(feature = "claims")]
pub(super) fn claims(token: &str) -> Option<Map<String, Value>> {
    object(token.split('.').nth(1)?)
}

fn object(text: &str) -> Option<Map<String, Value>> {
    match serde_json::from_slice(&BASE64.decode(text).ok()?).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// An audience, or several of them.
fn is_for(audience: &Value, wanted: &str) -> bool {
    match audience {
        Value::String(one) => one == wanted,
        Value::Array(several) => {
            several.iter().all(Value::is_string) && several.iter().any(|one| one.as_str() == Some(wanted))
        }
        _ => false,
    }
}

/// A claim that should be a time and is none.
struct NoTime;

/// A time as a number, or as a number in a text.
fn time(value: Option<&Value>) -> Result<Option<f64>, NoTime> {
    let time = match value {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    match time {
        Some(time) if time.abs() < LATEST => Ok(Some(time.trunc())),
        _ => Err(NoTime),
    }
}
