//! `middleware.http.bearer`: only callers with a token of an issuer go on (`OpenID` Connect).
//!
//! The keys of the issuer are read when the component is set up; without them there is no component. They are read again
//! in the background, when a call comes and they are old, or when a token names a key that is not among them. Meanwhile,
//! and when the issuer does not answer, those that are there go on.

mod keys;
mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use hashlink::LruCache;
use http::{HeaderMap, StatusCode, header};
use ring::digest;
use serde::Deserialize;
use thiserror::Error;
use tokio::time::Instant;

use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::properties::{Duplicate, Properties};
use crate::web::{Web, WebError};
use keys::{Keys, KeysError};
use token::{Times, Token, Wanted};

/// When keys are read again.
#[derive(Clone, Copy, Debug)]
struct Ages {
    /// Keys that are older are read again.
    old: Duration,
    /// Nobody is asked sooner after somebody was, whatever tokens say.
    young: Duration,
}

const AGES: Ages = Ages {
    old: Duration::from_secs(600),
    young: Duration::from_secs(60),
};
/// As many verified tokens are remembered.
const REMEMBERED: usize = 4096;

/// Why there is nobody to trust.
#[derive(Debug, Error)]
pub(crate) enum BearerError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error("metadata property '{0}' is required")]
    Required(&'static str),
    #[error("failed to retrieve OpenID Configuration document: {0}")]
    Discovery(#[from] DiscoveryError),
    #[error("failed to fetch JWKS: failed to fetch {url:?}: {source}")]
    Keys { url: String, source: FetchError },
}

#[derive(Debug, Error)]
pub(crate) enum DiscoveryError {
    #[error("failed to create request: parse {0:?}: missing protocol scheme")]
    NoScheme(String),
    #[error("failed to execute request: {0}")]
    Web(#[from] WebError),
    #[error("invalid response status code: {0}")]
    Status(u16),
    #[error("failed to decode JSON response: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the OpenID Configuration document does not contain a 'jwks_uri'")]
    NoKeys,
    #[error(
        "the issuer found in the OpenID Configuration document ('{found}') doesn't match the one provided in the \
         component's metadata ('{wanted}')"
    )]
    Issuer { found: String, wanted: String },
}

/// Why keys cannot be read.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    #[error("failed to fetch {url:?}: {source}")]
    Web { url: String, source: WebError },
    #[error(
        "failed to transform HTTP response for {url:?}: failed to process response: non-200 response code {status:?}"
    )]
    Status { url: String, status: String },
    #[error("failed to transform HTTP response for {url:?}: failed to parse JWK set at {url:?}: {source}")]
    Keys { url: String, source: KeysError },
}

/// What an issuer says of itself.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

/// An issuer who is trusted.
#[derive(Debug)]
pub(crate) struct Bearer {
    wanted: Wanted,
    issuer: Arc<Issuer>,
}

#[derive(Debug)]
struct Issuer {
    web: Web,
    url: String,
    known: ArcSwap<Known>,
    reading: Mutex<Reading>,
    ages: Ages,
}

/// Whether keys are being read.
#[derive(Debug)]
struct Reading {
    is_on: bool,
    /// When that was begun last.
    begun: Instant,
}

/// Keys, and what they have verified.
#[derive(Debug)]
struct Known {
    keys: Keys,
    read: Instant,
    verified: Mutex<LruCache<[u8; 32], Times>>,
}

impl Known {
    fn new(keys: Keys) -> Self {
        Self {
            keys,
            read: Instant::now(),
            verified: Mutex::new(LruCache::new(REMEMBERED)),
        }
    }
}

/// Whether the metadata say all that must be said.
pub(crate) fn check(properties: &Properties) -> Result<(), BearerError> {
    wanted(properties).map(|_| ())
}

/// What tokens must say.
fn wanted(properties: &Properties) -> Result<Wanted, BearerError> {
    properties.check()?;
    let either = |name, alias| properties.get(name).or_else(|| properties.get(alias));
    let required = |name, alias| {
        let value = either(name, alias).filter(|value| !value.is_empty());
        value.map(str::to_owned).ok_or(BearerError::Required(name))
    };
    Ok(Wanted {
        issuer: required("issuer", "issuerURL")?,
        audience: required("audience", "clientID")?,
    })
}

impl Bearer {
    /// `issuer` and `audience` are those of tokens; `jwksURL` is where the keys are, unless the issuer says it.
    pub(crate) async fn new(properties: &Properties, web: &Web) -> Result<Self, BearerError> {
        Self::with(properties, web, AGES).await
    }

    async fn with(properties: &Properties, web: &Web, ages: Ages) -> Result<Self, BearerError> {
        let wanted = wanted(properties)?;
        let url = match properties.get("jwksURL").filter(|url| !url.is_empty()) {
            Some(url) => {
                tracing::debug!(target: "dapr.contrib", "Using JWKS URL from metadata: {url}");
                url.to_owned()
            }
            None => discover(web, &wanted.issuer).await?,
        };
        let keys = match fetch(web, &url).await {
            Ok(keys) => keys,
            Err(source) => return Err(BearerError::Keys { url, source }),
        };
        let issuer = Arc::new(Issuer {
            web: web.clone(),
            url,
            known: ArcSwap::from_pointee(Known::new(keys)),
            reading: Mutex::new(Reading {
                is_on: false,
                begun: Instant::now(),
            }),
            ages,
        });
        Ok(Self { wanted, issuer })
    }

    pub(crate) fn handle(&self, call: &mut Call) -> Verdict {
        if !token_in(call.request.headers()).is_some_and(|token| self.is_good(token)) {
            return Err(Box::new(refused(StatusCode::UNAUTHORIZED, "Unauthorized")));
        }
        #[cfg(feature = "claims")]
        call.request.extensions_mut().insert(crate::claims::Verified);
        Ok(After::Nothing)
    }

    fn is_good(&self, token: &str) -> bool {
        let known = self.issuer.known.load();
        if known.read.elapsed() > self.issuer.ages.old {
            self.issuer.read_again();
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let verified = || known.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = verified().get(&digest).copied() {
            return times.hold_at(now);
        }
        let Some(token) = Token::parse(token) else {
            return false;
        };
        if !known.keys.have(token.key()) {
            self.issuer.read_again();
            return false;
        }
        let Some(times) = token
            .verify(&known.keys, &self.wanted)
            .filter(|times| times.hold_at(now))
        else {
            return false;
        };
        verified().insert(digest, times);
        true
    }
}

impl Issuer {
    /// Reads the keys in the background, unless somebody does, or did just now.
    fn read_again(self: &Arc<Self>) {
        let mut reading = self.reading();
        if reading.is_on || reading.begun.elapsed() < self.ages.young {
            return;
        }
        *reading = Reading {
            is_on: true,
            begun: Instant::now(),
        };
        drop(reading);
        let issuer = Arc::clone(self);
        self.web.tasks().spawn(async move {
            match fetch(&issuer.web, &issuer.url).await {
                Ok(keys) => issuer.known.store(Arc::new(Known::new(keys))),
                Err(error) => {
                    tracing::warn!(target: "dapr.contrib", "Error while refreshing JWKS cache: {error}");
                }
            }
            issuer.reading().is_on = false;
        });
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token of a request.
fn token_in(headers: &HeaderMap) -> Option<&str> {
    token_of(headers.get(header::AUTHORIZATION)?.as_bytes())
}

/// What a token claims. Whether somebody verified it is not looked at.
#[cfg(feature = "claims")]
pub(crate) fn claims(headers: &HeaderMap) -> Option<serde_json::Map<String, serde_json::Value>> {
    token::claims(token_in(headers)?)
}

/// The token of an `Authorization`.
fn token_of(value: &[u8]) -> Option<&str> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let token = std::str::from_utf8(token).ok()?;
    (scheme.eq_ignore_ascii_case(SCHEME) && token.len() >= 10).then(|| token.trim_matches(' '))
}

/// Where an issuer has its keys.
async fn discover(web: &Web, issuer: &str) -> Result<String, DiscoveryError> {
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    let url = format!("{base}/.well-known/openid-configuration");
    if !url.contains("://") {
        return Err(DiscoveryError::NoScheme(url));
    }
    tracing::debug!(target: "dapr.contrib", "Fetching OpenID Configuration: {url}");
    let answer = web.get(&url).await?;
    if answer.status != StatusCode::OK {
        return Err(DiscoveryError::Status(answer.status.as_u16()));
    }
    let document: Document = serde_json::from_slice(&answer.body)?;
    if document.jwks_uri.is_empty() {
        return Err(DiscoveryError::NoKeys);
    }
    if document.issuer != issuer {
        return Err(DiscoveryError::Issuer {
            found: document.issuer,
            wanted: issuer.to_owned(),
        });
    }
    tracing::debug!(target: "dapr.contrib", "Found JWKS URL: {}", document.jwks_uri);
    Ok(document.jwks_uri)
}

async fn fetch(web: &Web, url: &str) -> Result<Keys, FetchError> {
    let answer = web.get(url).await.map_err(|source| FetchError::Web {
        url: url.to_owned(),
        source,
    })?;
    if answer.status != StatusCode::OK {
        let reason = answer.status.canonical_reason().unwrap_or_default();
        return Err(FetchError::Status {
            url: url.to_owned(),
            status: format!("{} {reason}", answer.status.as_u16()),
        });
    }
    Keys::parse(&answer.body).map_err(|source| FetchError::Keys {
        url: url.to_owned(),
        source,
    })
}

/// Doors for the fuzz targets.
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz {
    use super::keys::Keys;
    use super::token::{Token, Wanted};

    pub(crate) fn accepts(keys: &[u8], token: &str, [issuer, audience]: [&str; 2], now: f64) -> bool {
        let wanted = Wanted {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        };
        let (Ok(keys), Some(token)) = (Keys::parse(keys), Token::parse(token)) else {
            return false;
        };
        token
            .verify(&keys, &wanted)
            .is_some_and(|times| times.hold_at(now))
    }

    pub(crate) fn keys(set: &[u8], names: &[&str]) -> Option<usize> {
        let keys = Keys::parse(set).ok()?;
        Some(names.iter().filter(|name| keys.have(name)).count())
    }
}

#[cfg(test)]
mod tests;
