//! The token that apps must show (`DAPR_API_TOKEN`).

use std::fmt;

use http::header::HeaderMap;
use invoke_core::headers::API_TOKEN;
use subtle::ConstantTimeEq;

/// A token. It is compared in constant time and never printed.
#[derive(Clone)]
pub struct ApiToken(Box<[u8]>);

impl ApiToken {
    /// `None` for an empty token, which switches the check off.
    pub fn new(token: &str) -> Option<Self> {
        (!token.is_empty()).then(|| Self(token.as_bytes().into()))
    }

    /// Whether a request shows the token; if it does, the header is removed so that nobody else sees it.
    pub fn admits(&self, headers: &mut HeaderMap) -> Result<(), TokenError> {
        self.is_shown(headers)?;
        headers.remove(API_TOKEN);
        Ok(())
    }

    /// The same, with the header left in place.
    pub fn is_shown(&self, headers: &HeaderMap) -> Result<(), TokenError> {
        let shown = headers.get(API_TOKEN).ok_or(TokenError::Missing)?;
        if bool::from(shown.as_bytes().ct_eq(&self.0)) {
            Ok(())
        } else {
            Err(TokenError::Wrong)
        }
    }
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It shows no token.
    Missing,
    /// It shows another one.
    Wrong,
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        assert!(ApiToken::new("").is_none());
        let token = ApiToken::new("secret").unwrap();
        for (shown, wanted) in [
            ("secret", true),
            ("Secret", false),
            ("secret2", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(API_TOKEN, shown.parse().unwrap());
            assert_eq!(token.admits(&mut headers).is_ok(), wanted, "{shown:?}");
            assert_eq!(headers.contains_key(API_TOKEN), !wanted);
        }
        assert_eq!(token.admits(&mut HeaderMap::new()), Err(TokenError::Missing));
        assert!(!format!("{token:?}").contains("secret"));
    }
}
