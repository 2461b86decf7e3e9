//! `middleware.http.rs.claims`: claims of a token that `bearer` verified, as headers for the app.
//!
//! Nothing is taken from a token that nobody verified, and headers of these names that a caller brings along are removed:
//! what the app sees in them is what the issuer said.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::answer::refused;
use crate::bearer;
use crate::handler::{After, Call, Verdict};
use crate::properties::{Duplicate, Properties, Unknown};

/// Says of a request that the token it has was verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verified;

/// Why there are no claims.
#[derive(Debug, Error)]
pub(crate) enum ClaimsError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("headers: {0}")]
    Json(#[from] serde_json::Error),
    #[error("headers: claims must be there, and the header of each: {{\"sub\": \"X-User\"}}")]
    Nothing,
    #[error("headers: the header of {claim:?} is {header}, which is no name of a header")]
    Header { claim: String, header: String },
}

/// Which claims become which headers.
#[derive(Debug)]
pub(crate) struct Claims {
    headers: Vec<(String, HeaderName)>,
    are_required: bool,
}

impl Claims {
    /// `headers` is a map of claims to headers, in JSON; `required` refuses whoever lacks one of them.
    pub(crate) fn new(properties: &Properties) -> Result<Self, ClaimsError> {
        properties.check()?;
        properties.only(&["headers", "required"])?;
        let text = |name| properties.get(name).unwrap_or_default();
        let written = text("headers");
        if written.trim().is_empty() {
            return Err(ClaimsError::Nothing);
        }
        let written: Map<String, Value> = serde_json::from_str(written)?;
        let headers = written.into_iter().map(|(claim, header)| {
            let name = header.as_str().and_then(|name| HeaderName::try_from(name).ok());
            match name {
                Some(name) => Ok((claim, name)),
                None => Err(ClaimsError::Header {
                    claim,
                    header: header.to_string(),
                }),
            }
        });
        let headers = headers.collect::<Result<Vec<_>, _>>()?;
        if headers.is_empty() {
            return Err(ClaimsError::Nothing);
        }
        Ok(Self {
            headers,
            are_required: go_text::is_truthy(text("required")),
        })
    }

    pub(crate) fn handle(&self, call: &mut Call) -> Verdict {
        let is_verified = call.request.extensions().get::<Verified>().is_some();
        let claims = if is_verified {
            bearer::claims(call.request.headers())
        } else {
            None
        };
        let headers = call.request.headers_mut();
        for (_, name) in &self.headers {
            headers.remove(name);
        }
        let told = self.tell(&claims.unwrap_or_default(), headers);
        if self.are_required && told < self.headers.len() {
            let answer = refused(StatusCode::UNAUTHORIZED, "Unauthorized");
            return Err(Box::new(answer));
        }
        Ok(After::Nothing)
    }

    /// Puts claims into headers. The answer is how many there were.
    fn tell(&self, claims: &Map<String, Value>, headers: &mut HeaderMap) -> usize {
        let mut told = 0;
        for (claim, name) in &self.headers {
            let value = found(claims, claim).and_then(text);
            if let Some(value) = value.and_then(|text| HeaderValue::try_from(text).ok()) {
                headers.append(name, value);
                told += 1;
            }
        }
        told
    }
}

/// A claim by its name, or by the way to it with dots between.
fn found<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    found(claims.get(first)?.as_object()?, rest)
}

/// A claim as a header has it: lists of texts with commas between them, anything else that is no text in JSON.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            Some(items.join(","))
        }
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use http::Request;
    use invoke_core::Body;
    use serde_json::json;

    use super::*;

    fn of(items: &[(&str, &str)]) -> Result<Claims, ClaimsError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Claims::new(&Properties::new(items.iter().map(owned)))
    }

    #[test]
    fn what_is_refused() {
        for (items, wanted) in [
            (&[][..], "headers: claims must be there"),
            (&[("headers", "{}")], "headers: claims must be there"),
            (&[("headers", "sub")], "headers: expected value"),
            (
                &[("headers", r#"{"sub": "X User"}"#)],
                "headers: the header of \"sub\" is \"X User\", which is no name of a header",
            ),
            (
                &[("headers", r#"{"sub": 7}"#)],
                "headers: the header of \"sub\" is 7",
            ),
            (&[("claims", "{}")], "claims is no metadata of this component"),
        ] {
            let said = of(items).unwrap_err().to_string();
            assert!(said.starts_with(wanted), "{said}");
        }
    }

    fn call(claims: &Value, is_verified: bool) -> Call {
        let token = format!("{{}}.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut request = Request::builder()
            .header("authorization", format!("Bearer {token}"))
            .header("x-user", "forged")
            .header("x-user", "twice")
            .body(Body::empty())
            .unwrap();
        if is_verified {
            request.extensions_mut().insert(Verified);
        }
        Call { request, peer: None }
    }

    #[test]
    fn what_the_app_sees() {
        for (claim, claims, wanted) in [
            ("sub", json!({"sub": "ann"}), Some("ann")),
            ("sub", json!({"sub": "ann\r\nx-evil: 1"}), None),
            ("sub", json!({}), None),
            ("sub", json!({"sub": null}), None),
            ("admin", json!({"admin": true}), Some("true")),
            ("roles", json!({"roles": ["a", "b"]}), Some("a,b")),
            ("level", json!({"level": 3}), Some("3")),
            ("realm.roles", json!({"realm": {"roles": ["a"]}}), Some("a")),
            ("https://a.b/c", json!({"https://a.b/c": "d"}), Some("d")),
            (
                "address",
                json!({"address": {"city": "Ulm"}}),
                Some(r#"{"city":"Ulm"}"#),
            ),
        ] {
            let headers = json!({claim: "X-User"}).to_string();
            let plain = of(&[("headers", &headers)]).unwrap();
            let strict = of(&[("headers", &headers), ("required", "true")]).unwrap();
            let mut verified = call(&claims, true);
            assert!(plain.handle(&mut verified).is_ok());
            let seen: Vec<_> = verified.request.headers().get_all("x-user").iter().collect();
            assert_eq!(seen, wanted.into_iter().collect::<Vec<_>>(), "{claim} {claims}");
            assert_eq!(
                strict.handle(&mut call(&claims, true)).is_ok(),
                wanted.is_some(),
                "{claim}"
            );
            let mut unverified = call(&claims, false);
            assert!(plain.handle(&mut unverified).is_ok());
            assert!(!unverified.request.headers().contains_key("x-user"), "{claim}");
            assert!(strict.handle(&mut call(&claims, false)).is_err());
        }
    }
}
