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

use http::Request;
use regex::bytes::Regex;

use crate::request;
#[cfg(feature = "oauth2")]
pub(crate) use sessions::Sessions;

/// The paths that a component is for: all of them without a filter.
#[derive(Debug)]
struct PathFilter(Option<Regex>);

impl PathFilter {
    fn new(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Ok(Self(None));
        }
        crate::regexp::compile(pattern).map(|regex| Self(Some(regex)))
    }

    fn takes<B>(&self, request: &Request<B>) -> bool {
        self.0
            .as_ref()
            .is_none_or(|regex| regex.is_match(&request::path(request)))
    }
}

/// A list with commas as the list with blanks that servers want (RFC 6749, section 3.3).
fn scope(list: &str) -> String {
    list.replace(',', " ")
}
