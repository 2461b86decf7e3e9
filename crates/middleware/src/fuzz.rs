//! Doors for the fuzz targets: tokens, sets of keys, cookies, answers of token endpoints, words of policies.

use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};

/// Whether a token, in a time in seconds since 1970, is one of these keys, of this issuer and for this audience.
#[cfg(feature = "bearer")]
pub fn accepts(keys: &[u8], token: &str, [issuer, audience]: [&str; 2], now: f64) -> bool {
    crate::bearer::fuzz::accepts(keys, token, [issuer, audience], now)
}

/// How many keys of these names a set has.
#[cfg(feature = "bearer")]
pub fn keys(set: &[u8], names: &[&str]) -> Option<usize> {
    crate::bearer::fuzz::keys(set, names)
}

/// The header that a token of an answer makes, and how long it is good for.
#[cfg(any(feature = "oauth2", feature = "oauth2clientcredentials"))]
pub fn token(status: u16, kind: &[u8], body: &[u8]) -> Option<(HeaderValue, Option<Duration>)> {
    crate::oauth::fuzz::token(status, kind, body)
}

/// The id of a session that a browser shows.
#[cfg(feature = "oauth2")]
pub fn shown(headers: &HeaderMap) -> Option<&str> {
    crate::oauth::fuzz::shown(headers)
}

/// What makes a browser show an id.
#[cfg(feature = "oauth2")]
pub fn cookie(id: &str, domain: Option<&str>, is_secure: bool) -> Option<HeaderValue> {
    crate::oauth::fuzz::cookie(id, domain, is_secure)
}

/// The first word of the newer syntax that no import brings, and its line.
#[cfg(feature = "opa")]
pub fn keyword_without_import(rego: &str) -> Option<(usize, &'static str)> {
    crate::opa::fuzz::keyword_without_import(rego)
}

/// A token as a policy sees it, in JSON.
#[cfg(feature = "opa")]
pub fn decoded(token: &str) -> Option<String> {
    crate::opa::fuzz::decoded(token)
}
