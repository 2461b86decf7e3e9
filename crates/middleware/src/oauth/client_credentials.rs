//! `middleware.http.oauth2clientcredentials`: the sidecar proves who it is, with a token in a header (RFC 6749,
//! section 4.4).
//!
//! One token serves all calls until it ends. Calls that come while there is none wait for one exchange together, and
//! share its failure.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::endpoint::{AuthStyle, Endpoint, Form, set};
use super::{PathFilter, scope};
use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::properties::{Duplicate, Properties};
use crate::request;
use crate::web::Web;

/// A token is replaced so long before it ends, or a tenth of its life before: what is on its way must still be good.
const EARLY: Duration = Duration::from_secs(10);

/// Why the component cannot be used.
#[derive(Debug, Error)]
pub(crate) enum CredentialsError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    /// All that is wrong with the metadata, in one text.
    #[error("metadata errors: {0}")]
    Metadata(String),
}

#[derive(Debug)]
pub(crate) struct ClientCredentials {
    endpoint: Endpoint,
    grant: Form,
    header: HeaderName,
    filter: PathFilter,
    held: ArcSwapOption<Held>,
    /// When the last exchange failed. Locked during one.
    failed: Mutex<Option<Instant>>,
}

/// The token that calls get.
#[derive(Debug)]
struct Held {
    value: HeaderValue,
    until: Option<Instant>,
}

impl Held {
    fn is_good(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl ClientCredentials {
    pub(crate) fn new(properties: &Properties, web: &Web) -> Result<Self, CredentialsError> {
        properties.check()?;
        let made = Self::made(properties, web);
        made.map_err(|wrong| {
            let error = CredentialsError::Metadata(wrong);
            tracing::error!(target: "dapr.contrib", "getNativeMetadata error: {error}");
            error
        })
    }

    fn made(properties: &Properties, web: &Web) -> Result<Self, String> {
        let text = |name| properties.get(name).unwrap_or_default();
        let style = style(text("authStyle"))?;
        let mut wrong = Vec::new();
        for name in ["headerName", "clientID", "clientSecret", "scopes", "tokenURL"] {
            if text(name).is_empty() {
                wrong.push(format!("Parameter '{name}' needs to be set."));
            }
        }
        let filter = PathFilter::new(text("pathFilter"));
        if let Err(error) = &filter {
            wrong.push(format!("Parameter 'pathFilter' is not a valid regex: {error}."));
        }
        if AuthStyle::new(style).is_none() {
            wrong.push(format!(
                "Parameter 'authStyle' can only have the values 0,1,2. Received: '{style}'."
            ));
        }
        let header = HeaderName::try_from(text("headerName"));
        if header.is_err() && !text("headerName").is_empty() {
            wrong.push(format!(
                "Parameter 'headerName' is no name of a header: {:?}.",
                text("headerName")
            ));
        }
        let grant = grant(text("scopes"), text("endpointParamsQuery"));
        if let Err(error) = &grant {
            wrong.push(format!("Parameter 'endpointParamsQuery': {error}."));
        }
        match (filter, AuthStyle::new(style), header, grant) {
            (Ok(filter), Some(style), Ok(header), Ok(grant)) if wrong.is_empty() => Ok(Self {
                endpoint: Endpoint::new(
                    web,
                    text("tokenURL"),
                    text("clientID"),
                    text("clientSecret"),
                    style,
                ),
                grant,
                header,
                filter,
                held: ArcSwapOption::empty(),
                failed: Mutex::default(),
            }),
            _ => Err(wrong.join(" ") + " "),
        }
    }

    pub(crate) async fn handle(&self, call: &mut Call) -> Verdict {
        if !self.filter.takes(&call.request) {
            return Ok(After::Nothing);
        }
        let held = self.held.load();
        let value = match &*held {
            Some(held) if held.is_good() => Some(held.value.clone()),
            _ => Box::pin(self.get()).await,
        };
        match value {
            Some(value) => {
                call.request.headers_mut().append(self.header.clone(), value);
                Ok(After::Nothing)
            }
            None => Err(Box::new(refused(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Server Error",
            ))),
        }
    }

    /// A new token, or the one that somebody else just got. Nothing if there is none to be had.
    async fn get(&self) -> Option<HeaderValue> {
        let came = Instant::now();
        let mut failed = self.failed.lock().await;
        if let Some(held) = self.held.load_full().filter(|held| held.is_good()) {
            return Some(held.value.clone());
        }
        if failed.is_some_and(|failed| failed >= came) {
            return None;
        }
        tracing::info!(
            target: "dapr.contrib",
            "Cached token not found, attempting to retrieve a new one"
        );
        match self.endpoint.exchange(&self.grant).await {
            Ok(token) => {
                let life = token.life.map(|life| life.saturating_sub(EARLY.min(life / 10)));
                self.held.store(Some(Arc::new(Held {
                    value: token.value.clone(),
                    until: life.map(|life| Instant::now() + life),
                })));
                match token.life {
                    Some(life) => {
                        tracing::info!(target: "dapr.contrib", "Token expires {} s from now", life.as_secs());
                    }
                    None => tracing::info!(target: "dapr.contrib", "Token does not say when it expires"),
                }
                Some(token.value)
            }
            Err(error) => {
                *failed = Some(Instant::now());
                tracing::error!(target: "dapr.contrib", "Error acquiring token: {error}");
                None
            }
        }
    }
}

fn style(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        format!(
            "1 error(s) decoding:\n\n* cannot parse 'authStyle' as int: strconv.ParseInt: parsing {text:?}: invalid syntax"
        )
    })
}

/// What is asked for: parameters of the endpoint may replace the kind of grant, and nothing else.
fn grant(scopes: &str, more: &str) -> Result<Form, String> {
    let mut form = Form::new();
    set(&mut form, "grant_type", "client_credentials");
    set(&mut form, "scope", &scope(scopes));
    let Some(more) = request::all_pairs(more.as_bytes()) else {
        tracing::warn!(
            target: "dapr.contrib",
            "Error parsing endpoint parameters: {more:?} is no query, none of it is sent"
        );
        return Ok(form);
    };
    if more.iter().any(|(name, _)| name == b"scope") {
        return Err("oauth2: cannot overwrite parameter \"scope\"".to_owned());
    }
    if more.iter().any(|(name, _)| name == b"grant_type") {
        form.retain(|(name, _)| name != b"grant_type");
    }
    form.extend(more);
    Ok(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let asked = |scopes, more| grant(scopes, more).map(request::query_of);
        for (scopes, more, wanted) in [
            ("a,b", "", "grant_type=client_credentials&scope=a+b"),
            (
                "a",
                "x=1&x=2&b=",
                "b=&grant_type=client_credentials&scope=a&x=1&x=2",
            ),
            ("a", "grant_type=own", "grant_type=own&scope=a"),
            ("a", "x=%zz&y=1", "grant_type=client_credentials&scope=a"),
            ("a", "x;y", "grant_type=client_credentials&scope=a"),
        ] {
            assert_eq!(asked(scopes, more).unwrap(), wanted, "{more}");
        }
        assert!(asked("a", "scope=b").is_err());
    }

    #[tokio::test]
    async fn all_that_is_wrong_is_said() {
        let web = Web::new(transport::client::Proxies::default(), lifecycle::Tasks::new());
        let said = |items: &[(&str, &str)]| {
            let owned = items
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            ClientCredentials::new(&Properties::new(owned), &web)
                .unwrap_err()
                .to_string()
        };
        let all = "metadata errors: Parameter 'headerName' needs to be set. Parameter 'clientID' needs to be set. \
                   Parameter 'clientSecret' needs to be set. Parameter 'scopes' needs to be set. Parameter 'tokenURL' \
                   needs to be set. ";
        assert_eq!(said(&[]), all);
        assert_eq!(
            said(&[("authStyle", "7"), ("pathFilter", "[")]),
            format!(
                "{all}Parameter 'pathFilter' is not a valid regex: error parsing regexp: unclosed character class: `[`. \
                 Parameter 'authStyle' can only have the values 0,1,2. Received: '7'. "
            )
        );
        let good = [
            ("clientID", "id"),
            ("clientSecret", "secret"),
            ("scopes", "a"),
            ("tokenURL", "http://host/token"),
        ];
        let with = |items: &[(&'static str, &'static str)]| said(&[&good, items].concat());
        assert_eq!(
            with(&[("headerName", "X-A"), ("authStyle", "x")]),
            "metadata errors: 1 error(s) decoding:\n\n* cannot parse 'authStyle' as int: strconv.ParseInt: parsing \
             \"x\": invalid syntax"
        );
        assert!(with(&[("headerName", "X A")]).contains("'headerName' is no name of a header"));
        assert!(with(&[("headerName", "X-A"), ("endpointParamsQuery", "scope=b")]).contains("overwrite"));
        assert!(with(&[("headerName", "X-A"), ("HEADERNAME", "b")]).contains("duplicate"));
    }
}
