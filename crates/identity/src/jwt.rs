//! The JWT that sentry may add to a certificate. Nothing here uses it to prove anything, so its signature is not
//! checked; but an answer of sentry with one that makes no sense is refused as a whole, as in Dapr.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

use crate::spiffe::SpiffeId;

/// How far the clocks may be apart, in seconds.
const LEEWAY: i64 = 60;
/// The longest token, in bytes.
const LONGEST: usize = 64 * 1024;
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512",
];

/// A JWT that cannot be accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JwtError {
    /// It is no JWT, or not one that SPIFFE allows.
    #[error("error parsing JWT: {0}")]
    Malformed(&'static str),
    /// It is for nobody.
    #[error("JWT audience is empty")]
    NoAudience,
    /// It is for somebody else.
    #[error("JWT audience mismatch")]
    Audience,
    /// Its dates or its subject are wrong.
    #[error("failed to parse JWT SVID: {0}")]
    Svid(&'static str),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    aud: Audience,
    #[serde(default)]
    sub: String,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Audience {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Whom a JWT must be for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum For<'a> {
    /// Among others.
    Including(&'a str),
    /// And nobody else.
    Only(&'a str),
}

/// Judges a JWT, and tells when it expires, in seconds since 1970.
pub(crate) fn expiry(token: &str, audience: For<'_>, now: i64) -> Result<i64, JwtError> {
    let claims = read(token)?;
    let audiences = claims.aud.as_slice();
    if audiences.is_empty() {
        return Err(JwtError::NoAudience);
    }
    let is_meant = match audience {
        For::Including(wanted) => audiences.iter().any(|audience| audience == wanted),
        For::Only(wanted) => matches!(audiences, [only] if only == wanted),
    };
    if !is_meant {
        return Err(JwtError::Audience);
    }
    SpiffeId::parse(&claims.sub).map_err(|_| JwtError::Svid("token has an invalid subject claim"))?;
    let expiry = claims.exp.ok_or(JwtError::Svid("token missing exp claim"))? as i64;
    if now > expiry.saturating_add(LEEWAY) {
        return Err(JwtError::Svid("token has expired"));
    }
    let latest = now.saturating_add(LEEWAY);
    if claims.nbf.is_some_and(|from| from as i64 > latest) {
        return Err(JwtError::Svid("token is not valid yet"));
    }
    if claims.iat.is_some_and(|from| from as i64 > latest) {
        return Err(JwtError::Svid("token was issued in the future"));
    }
    Ok(expiry)
}

fn read(token: &str) -> Result<Claims, JwtError> {
    if token.len() > LONGEST {
        return Err(JwtError::Malformed("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(JwtError::Malformed("it has not three parts"));
    };
    let decode = |part: &str| {
        URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_| JwtError::Malformed("a part is not base64url"))
    };
    decode(signature)?;
    let header: Header = serde_json::from_slice(&decode(header)?)
        .map_err(|_| JwtError::Malformed("its header is not that of a JWT"))?;
    if !ALGORITHMS.contains(&header.alg.as_str()) {
        return Err(JwtError::Malformed("its algorithm is not one of SPIFFE"));
    }
    if !matches!(header.typ.as_deref(), None | Some("JWT" | "JOSE")) {
        return Err(JwtError::Malformed("its type is not JWT or JOSE"));
    }
    serde_json::from_slice(&decode(claims)?).map_err(|_| JwtError::Malformed("its claims are not JSON"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    fn claims(change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "aud": ["public", "x"], "sub": "spiffe://public/ns/default/app",
            "exp": NOW + 600, "nbf": NOW, "iat": NOW,
        });
        change(&mut claims);
        token(&json!({"alg": "RS256", "typ": "JWT"}), &claims)
    }

    #[test]
    fn tokens() {
        for (token, wanted) in [
            (claims(|_| {}), Ok(NOW + 600)),
            (claims(|c| c["aud"] = json!("public")), Ok(NOW + 600)),
            (claims(|c| c["exp"] = json!(NOW - 60)), Ok(NOW - 60)),
            (
                claims(|c| c["exp"] = json!(NOW - 61)),
                Err(JwtError::Svid("token has expired")),
            ),
            (
                claims(|c| c["exp"] = json!(null)),
                Err(JwtError::Svid("token missing exp claim")),
            ),
            (claims(|c| c["nbf"] = json!(NOW + 60)), Ok(NOW + 600)),
            (
                claims(|c| c["nbf"] = json!(NOW + 61)),
                Err(JwtError::Svid("token is not valid yet")),
            ),
            (
                claims(|c| c["iat"] = json!(NOW + 61)),
                Err(JwtError::Svid("token was issued in the future")),
            ),
            (claims(|c| c["aud"] = json!([])), Err(JwtError::NoAudience)),
            (claims(|c| c["aud"] = json!(["x"])), Err(JwtError::Audience)),
            (
                claims(|c| c["sub"] = json!("me")),
                Err(JwtError::Svid("token has an invalid subject claim")),
            ),
            (
                "a.b".to_owned(),
                Err(JwtError::Malformed("it has not three parts")),
            ),
            (
                "!.!.!".to_owned(),
                Err(JwtError::Malformed("a part is not base64url")),
            ),
            (
                token(&json!({"alg": "none"}), &json!({})),
                Err(JwtError::Malformed("its algorithm is not one of SPIFFE")),
            ),
            (
                token(&json!({"alg": "ES256", "typ": "at+jwt"}), &json!({})),
                Err(JwtError::Malformed("its type is not JWT or JOSE")),
            ),
            (
                token(&json!({"alg": "ES256"}), &json!([])),
                Err(JwtError::Malformed("its claims are not JSON")),
            ),
            (
                "a".repeat(LONGEST + 1),
                Err(JwtError::Malformed("it is too long")),
            ),
        ] {
            assert_eq!(
                expiry(&token, For::Including("public"), NOW),
                wanted,
                "{token:.80}"
            );
        }
        assert_eq!(
            expiry(&claims(|_| {}), For::Only("public"), NOW),
            Err(JwtError::Audience)
        );
        let only = claims(|c| c["aud"] = json!(["public"]));
        assert_eq!(expiry(&only, For::Only("public"), NOW), Ok(NOW + 600));
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,60}", exp in any::<f64>(), nbf in any::<f64>(), now in any::<i64>()) {
            let _ = expiry(&text, For::Including("public"), now);
            let odd = claims(|c| { c["exp"] = json!(exp); c["nbf"] = json!(nbf); c["sub"] = json!(text); });
            let _ = expiry(&odd, For::Including("public"), now);
        }
    }
}
