//! Tokens of an authorization server (OAuth 2.0, RFC 6749): `middleware.http.oauth2clientcredentials` gets one for the
//! sidecar itself, `middleware.http.oauth2` one for whoever sits in front of a browser.
//!
//! What a server may answer is wider than the RFC, as it is for Go's clients: forms, numbers as texts, no type. No
//! library takes that, so the exchange is written here; it is one request.

#[cfg(feature = "oauth2clientcredentials")]
pub(crate) mod client_credentials;
#[cfg(feature = "oauth2")]
pub(crate) mod code;
mod endpoint;
#[cfg(feature = "oauth2")]
mod sessions;

#[cfg(feature = "oauth2")]
pub(crate) use sessions::Sessions;

/// A list with commas as the list with blanks that servers want (RFC 6749, section 3.3).
fn scope(list: &str) -> String {
    list.replace(',', " ")
}

/// Doors for the fuzz targets.
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz {
    use std::time::Duration;

    use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

    use crate::web::Answer;

    pub(crate) fn token(status: u16, kind: &[u8], body: &[u8]) -> Option<(HeaderValue, Option<Duration>)> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_bytes(kind).ok()?);
        let answer = Answer {
            status: http::StatusCode::from_u16(status).ok()?,
            headers,
            body: body.to_vec().into(),
        };
        let token = super::endpoint::token(&answer).ok()?;
        Some((token.value, token.life))
    }

    #[cfg(feature = "oauth2")]
    pub(crate) fn shown(headers: &HeaderMap) -> Option<&str> {
        super::sessions::shown(headers)
    }

    #[cfg(feature = "oauth2")]
    pub(crate) fn cookie(id: &str, domain: Option<&str>, is_secure: bool) -> Option<HeaderValue> {
        super::sessions::cookie(id, domain, is_secure)
    }
}
