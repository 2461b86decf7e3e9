//! The token endpoint: where a grant becomes a token (RFC 6749, sections 3.2 and 5).

use std::borrow::Cow;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::request;
use crate::web::{Answer, Web, WebError};

/// So much of an answer that is no token is shown.
const SHOWN: usize = 512;

/// How long a token is used whose `expires_in` cannot be read.
const UNREADABLE_LIFE: Duration = Duration::from_secs(60);
/// A token that is good for longer is as good as one without end.
const LONGEST_LIFE: Duration = Duration::from_secs(u32::MAX as u64);

/// Names and values of a form.
pub(super) type Form = Vec<(Vec<u8>, Vec<u8>)>;

/// How a client proves who it is (RFC 6749, section 2.3.1). The numbers are those of Go's `oauth2.AuthStyle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthStyle {
    /// It is found out: the header first.
    Unknown = 0,
    /// In the form.
    InParams = 1,
    /// As HTTP's basic authentication.
    InHeader = 2,
}

impl AuthStyle {
    #[cfg(feature = "oauth2clientcredentials")]
    pub(super) fn new(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Unknown),
            1 => Some(Self::InParams),
            2 => Some(Self::InHeader),
            _ => None,
        }
    }
}

/// Why there is no token, as Go's client says it.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("{0}")]
    Refused(String),
    #[error("oauth2: cannot parse json: {0}")]
    Json(#[from] serde_json::Error),
    #[error("oauth2: server response missing access_token")]
    Missing,
    #[error("oauth2: the token cannot stand in a header")]
    Unusable,
}

/// What a server gave.
#[derive(Debug)]
pub(super) struct Token {
    /// `TYPE TOKEN`, as it stands in a header.
    pub(super) value: HeaderValue,
    /// How long it is good for, if the server said so.
    pub(super) life: Option<Duration>,
}

/// A token endpoint, and the client that asks it.
#[derive(Debug)]
pub(super) struct Endpoint {
    web: Web,
    url: String,
    id: String,
    secret: Secret,
    /// An [`AuthStyle`], found out or given.
    style: AtomicU8,
}

/// A text that `Debug` does not show.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Endpoint {
    pub(super) fn new(web: &Web, url: &str, id: &str, secret: &str, style: AuthStyle) -> Self {
        Self {
            web: web.clone(),
            url: url.to_owned(),
            id: id.to_owned(),
            secret: Secret(secret.to_owned()),
            style: AtomicU8::new(style as u8),
        }
    }

    pub(super) fn client_id(&self) -> &str {
        &self.id
    }

    /// What tells this endpoint and its client from others.
    #[cfg(feature = "oauth2")]
    pub(super) fn identity(&self) -> String {
        format!("{} {}", self.id, self.url)
    }

    /// Exchanges a grant for a token.
    pub(super) async fn exchange(&self, form: &Form) -> Result<Token, TokenError> {
        let style = self.style.load(Ordering::Relaxed);
        if style != AuthStyle::Unknown as u8 {
            return self.ask(form, style == AuthStyle::InHeader as u8).await;
        }
        // A server that wants it otherwise answers anything, but no token.
        let (token, found) = match self.ask(form, true).await {
            Ok(token) => (token, AuthStyle::InHeader),
            Err(TokenError::Web(error)) => return Err(error.into()),
            Err(_) => (self.ask(form, false).await?, AuthStyle::InParams),
        };
        self.style.store(found as u8, Ordering::Relaxed);
        Ok(token)
    }

    async fn ask(&self, form: &Form, in_header: bool) -> Result<Token, TokenError> {
        let mut form = form.clone();
        let mut headers = HeaderMap::new();
        let urlencoded = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, urlencoded);
        let secret = &self.secret.0;
        if in_header {
            let pair = format!(
                "{}:{}",
                request::escape_query(&self.id),
                request::escape_query(secret)
            );
            let value = format!("Basic {}", STANDARD.encode(pair));
            let value = HeaderValue::from_str(&value).map_err(|_| TokenError::Unusable)?;
            headers.insert(header::AUTHORIZATION, value);
        } else {
            set(&mut form, "client_id", &self.id);
            if !secret.is_empty() {
                set(&mut form, "client_secret", secret);
            }
        }
        token(&self.web.post(&self.url, headers, request::query_of(form)).await?)
    }
}

/// Puts a value into a form, in place of others of that name.
pub(super) fn set(form: &mut Form, name: &str, value: &str) {
    form.retain(|(known, _)| known != name.as_bytes());
    form.push((name.into(), value.into()));
}

/// The fields of an answer, whatever form they came in.
#[derive(Default, Deserialize)]
struct Fields {
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<Value>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
    #[serde(default)]
    error_uri: Option<String>,
}

impl Fields {
    fn of_form(body: &[u8]) -> Self {
        let mut fields = Self::default();
        for (name, value) in request::pairs(body) {
            let value = String::from_utf8_lossy(&value).into_owned();
            match name.as_slice() {
                b"access_token" => fields.access_token = Some(value),
                b"token_type" => fields.token_type = Some(value),
                b"expires_in" => fields.expires_in = Some(Value::String(value)),
                b"error" => fields.error = Some(value),
                b"error_description" => fields.error_description = Some(value),
                b"error_uri" => fields.error_uri = Some(value),
                _ => {}
            }
        }
        fields
    }

    /// Nothing if the server did not say it, or said 0, which is the same for Go's clients: such a token has no end, as
    /// far as one knows. What cannot be read says that there is one, so that it comes soon.
    fn life(&self) -> Option<Duration> {
        let seconds = match self.expires_in.as_ref()? {
            Value::Null => return None,
            Value::Number(number) => number.as_f64(),
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match seconds {
            Some(0.0) => None,
            Some(seconds) if seconds > 0.0 && seconds.is_finite() => {
                Some(Duration::try_from_secs_f64(seconds).map_or(LONGEST_LIFE, |life| life.min(LONGEST_LIFE)))
            }
            _ => {
                tracing::warn!(
                    target: "dapr.contrib",
                    "The server says of a token that it ends, but not when: {} s are assumed",
                    UNREADABLE_LIFE.as_secs()
                );
                Some(UNREADABLE_LIFE)
            }
        }
    }

    fn refusal(&self) -> Option<String> {
        let code = self.error.as_ref().filter(|code| !code.is_empty())?;
        let more = [&self.error_description, &self.error_uri];
        let more = more.into_iter().flatten().filter(|text| !text.is_empty());
        Some(more.fold(format!("oauth2: {code:?}"), |said, text| {
            format!("{said} {text:?}")
        }))
    }
}

pub(super) fn token(answer: &Answer) -> Result<Token, TokenError> {
    let kind = answer.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = matches!(
        kind.split(';').next().unwrap_or_default().trim(),
        "application/x-www-form-urlencoded" | "text/plain"
    );
    let fields = if is_form {
        Ok(Fields::of_form(&answer.body))
    } else {
        serde_json::from_slice(&answer.body)
    };
    let refusal = fields.as_ref().ok().and_then(Fields::refusal);
    if let Some(refusal) = refusal {
        return Err(TokenError::Refused(refusal));
    }
    if !answer.status.is_success() {
        let reason = answer.status.canonical_reason().unwrap_or_default();
        let body = &answer.body[..answer.body.len().min(SHOWN)];
        return Err(TokenError::Refused(format!(
            "oauth2: cannot fetch token: {} {reason}\nResponse: {}",
            answer.status.as_u16(),
            String::from_utf8_lossy(body)
        )));
    }
    let fields = fields?;
    let token = fields.access_token.as_deref().filter(|token| !token.is_empty());
    let value = format!(
        "{} {}",
        name_of(fields.token_type.as_deref().unwrap_or_default()),
        token.ok_or(TokenError::Missing)?
    );
    let mut value = HeaderValue::try_from(value).map_err(|_| TokenError::Unusable)?;
    value.set_sensitive(true);
    Ok(Token {
        value,
        life: fields.life(),
    })
}

/// The type of a token as it stands in front of it.
fn name_of(kind: &str) -> Cow<'_, str> {
    for known in ["Bearer", "MAC", "Basic"] {
        if kind.eq_ignore_ascii_case(known) {
            return known.into();
        }
    }
    if kind.is_empty() {
        "Bearer".into()
    } else {
        kind.into()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn answered(status: u16, kind: &'static str, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.into(),
        }
    }

    #[test]
    fn tokens_in_every_form() {
        const JSON: &str = "application/json";
        for (kind, body, value, life) in [
            (
                JSON,
                r#"{"access_token":"a","token_type":"bearer","expires_in":60}"#,
                "Bearer a",
                Some(60),
            ),
            (
                JSON,
                r#"{"access_token":"a","token_type":"mac","expires_in":"7"}"#,
                "MAC a",
                Some(7),
            ),
            (JSON, r#"{"access_token":"a","token_type":"Own"}"#, "Own a", None),
            (
                JSON,
                r#"{"access_token":"a","expires_in":0,"more":[1]}"#,
                "Bearer a",
                None,
            ),
            (
                JSON,
                r#"{"access_token":"a","expires_in":-5,"error":""}"#,
                "Bearer a",
                Some(60),
            ),
            (
                "",
                r#"{"access_token":"a","expires_in":1e3}"#,
                "Bearer a",
                Some(1000),
            ),
            (
                JSON,
                r#"{"access_token":"a","expires_in":3600.0}"#,
                "Bearer a",
                Some(3600),
            ),
            (
                JSON,
                r#"{"access_token":"a","expires_in":"3600.0"}"#,
                "Bearer a",
                Some(3600),
            ),
            (JSON, r#"{"access_token":"a","expires_in":"0"}"#, "Bearer a", None),
            (
                JSON,
                r#"{"access_token":"a","expires_in":null}"#,
                "Bearer a",
                None,
            ),
            (
                JSON,
                r#"{"access_token":"a","expires_in":"soon"}"#,
                "Bearer a",
                Some(60),
            ),
            (
                JSON,
                r#"{"access_token":"a","expires_in":[1]}"#,
                "Bearer a",
                Some(60),
            ),
            (
                JSON,
                r#"{"access_token":"a","expires_in":"inf"}"#,
                "Bearer a",
                Some(60),
            ),
            (
                JSON,
                r#"{"access_token":"a","expires_in":18446744073709551615}"#,
                "Bearer a",
                Some(u32::MAX.into()),
            ),
            (
                "text/plain; charset=utf-8",
                "access_token=a%20b&token_type=BASIC&expires_in=5",
                "Basic a b",
                Some(5),
            ),
            (
                "application/x-www-form-urlencoded",
                "access_token=a&expires_in=x",
                "Bearer a",
                Some(60),
            ),
        ] {
            let token = token(&answered(200, kind, body)).unwrap();
            assert_eq!(token.value, value, "{body}");
            assert_eq!(token.life, life.map(Duration::from_secs), "{body}");
            assert!(!format!("{token:?}").contains(value), "{token:?}");
        }
    }

    #[test]
    fn what_is_no_token() {
        const JSON: &str = "application/json";
        for (status, kind, body, wanted) in [
            (
                400,
                JSON,
                r#"{"error":"invalid_client"}"#,
                "oauth2: \"invalid_client\"",
            ),
            (
                200,
                JSON,
                r#"{"error":"a","error_description":"b","error_uri":"c","access_token":"d"}"#,
                "oauth2: \"a\" \"b\" \"c\"",
            ),
            (401, "text/plain", "error=denied", "oauth2: \"denied\""),
            (
                502,
                "text/html",
                "<html>",
                "oauth2: cannot fetch token: 502 Bad Gateway\nResponse: <html>",
            ),
            (200, JSON, "{}", "oauth2: server response missing access_token"),
            (
                200,
                JSON,
                r#"{"access_token":""}"#,
                "oauth2: server response missing access_token",
            ),
            (
                200,
                JSON,
                r#"{"access_token":null}"#,
                "oauth2: server response missing access_token",
            ),
            (
                200,
                "text/plain",
                "hello",
                "oauth2: server response missing access_token",
            ),
            (200, JSON, "hello", "oauth2: cannot parse json: "),
            (200, JSON, r#"{"access_token":1}"#, "oauth2: cannot parse json: "),
            (
                200,
                JSON,
                r#"{"access_token":"a\nb"}"#,
                "oauth2: the token cannot stand in a header",
            ),
        ] {
            let said = token(&answered(status, kind, body)).unwrap_err().to_string();
            assert!(said.starts_with(wanted), "{body}: {said}");
        }
    }
}
