//! An external endpoint that has a name (`HTTPEndpoint`).

mod settings;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use invoke_core::body::Replay;
use invoke_core::{Body, Cause, Fault, Head, InvokeError, Pipeline, Reply, headers};
use lifecycle::Tasks;
use transport::client::{ConnectError, probe};
use transport::tls::OriginTls;

use crate::cache::{Channels, SystemTls, Way, WayError};
use crate::channel::{ChannelError, HttpChannel, Prepared};
use crate::failure;
use crate::limit::{self, ConcurrencyLimit};
use crate::piped;
use crate::redirect::{Next, Place, next};
use crate::watched::Watched;

pub use settings::{EndpointError, EndpointSettings};

/// Status line and headers of an answer together, in bytes.
const MAX_HEADER_BYTES: usize = 10 << 20;
/// How many addresses redirects may lead to at once.
const REDIRECT_CAPACITY: usize = 16;
/// As many redirects are followed.
const MAX_REDIRECTS: usize = 10;
/// How many bytes of a body of known length are kept for a redirect.
const REPLAY_BOUND: u64 = 64 * 1024;

/// An endpoint that apps call by its name. Cloning shares its connections and its limit.
///
/// Redirects are followed, as Dapr follows them for named endpoints: ten at most. Another origin than that of the
/// resource gets neither the headers that the resource adds nor the credentials of the caller.
#[derive(Clone, Debug)]
pub struct NamedEndpoint {
    ready: Arc<Result<Ready, EndpointError>>,
    pipeline: Option<Arc<dyn Pipeline>>,
}

#[derive(Debug)]
struct Ready {
    name: String,
    channel: HttpChannel,
    origin: Place,
    headers: HeaderMap,
    limit: Option<ConcurrencyLimit>,
    /// What the resource says; otherwise the authorities of the system are trusted.
    own_tls: Option<OriginTls>,
    system: SystemTls,
    way: Way,
    redirects: Channels,
}

impl NamedEndpoint {
    pub(crate) fn new(
        settings: EndpointSettings,
        limit: Option<ConcurrencyLimit>,
        system: &SystemTls,
        way: &Way,
        tasks: &Tasks,
    ) -> Self {
        Self {
            ready: Arc::new(Ready::new(settings, limit, system, way, tasks)),
            pipeline: None,
        }
    }

    /// The same behind this middleware.
    pub(crate) fn piped(&self, pipeline: Option<Arc<dyn Pipeline>>) -> Self {
        Self {
            ready: Arc::clone(&self.ready),
            pipeline,
        }
    }

    /// Why it cannot be called, if it cannot.
    pub fn broken(&self) -> Option<&EndpointError> {
        self.ready.as_ref().as_ref().err()
    }

    /// The name by which apps call it; empty for one that cannot be called.
    pub fn name(&self) -> &str {
        self.ready.as_ref().as_ref().map_or("", |ready| &ready.name)
    }

    /// Whether both share their connections.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ready, &other.ready)
    }

    /// What of its certificates is of no use, for the log.
    pub fn findings(&self) -> Vec<String> {
        let own = self
            .ready
            .as_ref()
            .as_ref()
            .ok()
            .and_then(|ready| ready.own_tls.as_ref());
        own.map_or_else(Vec::new, |tls| tls.findings().to_vec())
    }

    /// Shakes hands with the server once, if it is one of TLS, and asks for nothing: what this sidecar and that server
    /// cannot agree about is known before the first call. A server that cannot be reached now is none of that.
    pub async fn shake_hands(&self, limit: Duration) -> Result<(), String> {
        let Ok(ready) = self.ready.as_ref() else {
            return Ok(());
        };
        let Ok(Some(tls)) = ready.tls_of(&ready.origin) else {
            return Ok(());
        };
        let Ok(proxy) = ready.way.to(&ready.origin.origin()) else {
            return Ok(());
        };
        let address = ready.origin.address();
        match probe(&address, Some(&tls), proxy.as_ref(), limit).await {
            Err(error @ ConnectError::Handshake(_)) => {
                Err(format!("HTTPEndpoint {} at {address}: {error}", ready.name))
            }
            _ => Ok(()),
        }
    }

    /// Calls it and waits for the head of the answer.
    pub(crate) async fn invoke(
        &self,
        head: Cow<'_, Head>,
        body: Body,
        watched: &Watched,
    ) -> Result<Reply, InvokeError> {
        match &*self.ready {
            Ok(ready) => {
                let place = ConcurrencyLimit::place(ready.limit.as_ref(), &head).await?;
                let watch = watched.begin(&head, &body);
                let reply = watch.end(ready.send(self.pipeline.as_deref(), head, body).await)?;
                Ok(limit::Place::until_end_of(place, reply))
            }
            Err(error) => Err(InvokeError::unsent(
                Fault::Us,
                Cause::App {
                    text: error.to_string(),
                    source: Some(error.clone().into()),
                },
            )),
        }
    }
}

impl Ready {
    fn new(
        settings: EndpointSettings,
        limit: Option<ConcurrencyLimit>,
        system: &SystemTls,
        way: &Way,
        tasks: &Tasks,
    ) -> Result<Self, EndpointError> {
        let headers = settings.added_headers()?;
        let own_tls = settings.own_tls()?;
        let name = settings.name;
        let base_url = |reason: String| EndpointError::BaseUrl {
            name: name.clone(),
            reason,
        };
        let origin = Place::parse(&settings.base_url).map_err(|error| base_url(error.to_string()))?;
        let redirects = Channels::new(REDIRECT_CAPACITY, MAX_HEADER_BYTES, way.clone(), tasks.clone());
        let tls = match (origin.is_https, &own_tls) {
            (false, _) => None,
            (true, Some(own)) => Some(own.clone()),
            (true, None) => Some(system.get().map_err(|error| EndpointError::Tls {
                name: name.clone(),
                reason: error.to_string(),
            })?),
        };
        let channel = redirects
            .channel(&settings.base_url, tls)
            .map_err(|error: Redirected| error.of(&name))?;
        Ok(Self {
            name,
            channel,
            origin,
            headers,
            limit,
            own_tls,
            system: system.clone(),
            way: way.clone(),
            redirects,
        })
    }

    async fn send(
        &self,
        pipeline: Option<&dyn Pipeline>,
        head: Cow<'_, Head>,
        body: Body,
    ) -> Result<Reply, InvokeError> {
        let mut prepared = self.channel.prepare(head, body)?;
        for (name, value) in &self.headers {
            prepared.headers.insert(name.clone(), value.clone());
        }
        match pipeline {
            None => self.follow(prepared).await,
            Some(pipeline) => {
                let send = |prepared| self.follow(prepared);
                Box::pin(piped::through(pipeline, prepared, send)).await
            }
        }
    }

    /// Sends a request, and what redirects make of it.
    async fn follow(&self, mut prepared: Prepared) -> Result<Reply, InvokeError> {
        let mut place = self.origin.at(&prepared.target);
        let bound = if prepared.body.has_known_length() {
            REPLAY_BOUND
        } else {
            0
        };
        let first = prepared.method.clone();
        let mut replay = Replay::new(std::mem::take(&mut prepared.body), bound);
        let mut channel = self.channel.clone();
        for followed in 0.. {
            let attempt = Prepared {
                method: prepared.method.clone(),
                target: place.target.clone(),
                // A redirect names its target itself.
                raw: prepared.raw.take(),
                wants_length: prepared.wants_length,
                headers: prepared.headers.clone(),
                body: replay.attempt(),
                declared: prepared.declared,
            };
            let reply = channel.exchange(attempt).await?;
            let status = u16::try_from(reply.status.code)
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok())
                .unwrap_or_default();
            let led = |text: String| failure::of_redirect(&first, &place.url(), &text);
            let location = reply.headers.get(header::LOCATION);
            let next = next(status, location, &prepared.method, replay.is_possible(), &place)
                .map_err(|error| led(error.to_string()))?;
            let Next::Follow { to, as_get } = next else {
                replay.commit();
                return Ok(reply);
            };
            if followed == MAX_REDIRECTS {
                return Err(led(format!("stopped after {MAX_REDIRECTS} redirects")));
            }
            drop(reply);
            if as_get {
                without_body(&mut prepared);
                replay = Replay::new(Body::empty(), 0);
            }
            if !to.is_same_origin(&place) {
                self.forget_secrets(&mut prepared.headers);
                channel = self.channel_to(&to).map_err(|error| led(error.to_string()))?;
            }
            place = to;
        }
        unreachable!("the loop ends by returning")
    }

    /// What another origin must not learn.
    fn forget_secrets(&self, headers: &mut HeaderMap) {
        for name in self.headers.keys() {
            headers.remove(name);
        }
        for name in [
            header::AUTHORIZATION,
            header::COOKIE,
            header::WWW_AUTHENTICATE,
            headers::API_TOKEN,
        ] {
            headers.remove(name);
        }
    }

    fn channel_to(&self, place: &Place) -> Result<HttpChannel, EndpointError> {
        if place.is_same_origin(&self.origin) {
            return Ok(self.channel.clone());
        }
        self.redirects
            .get(&place.origin(), || self.tls_of(place).map_err(Redirected::Tls))
            .map_err(|error: Redirected| error.of(&self.name))
    }

    /// How connections to a place are secured.
    fn tls_of(&self, place: &Place) -> Result<Option<OriginTls>, EndpointError> {
        match (place.is_https, &self.own_tls) {
            (false, _) => Ok(None),
            (true, Some(own)) => Ok(Some(own.clone())),
            (true, None) => self.system.get().map(Some).map_err(|error| EndpointError::Tls {
                name: self.name.clone(),
                reason: error.to_string(),
            }),
        }
    }
}

/// An origin that cannot be called.
enum Redirected {
    Tls(EndpointError),
    Address(ChannelError),
    Way(WayError),
}

impl Redirected {
    /// The error of the endpoint of this name.
    fn of(self, name: &str) -> EndpointError {
        let reason = match self {
            Self::Tls(error) => return error,
            Self::Address(error) => error.to_string(),
            Self::Way(error) => error.to_string(),
        };
        let name = name.to_owned();
        EndpointError::BaseUrl { name, reason }
    }
}

impl From<ChannelError> for Redirected {
    fn from(error: ChannelError) -> Self {
        Self::Address(error)
    }
}

impl From<WayError> for Redirected {
    fn from(error: WayError) -> Self {
        Self::Way(error)
    }
}

/// A redirect that makes a GET of a call leaves behind what belongs to the body.
fn without_body(prepared: &mut Prepared) {
    if prepared.method != Method::HEAD {
        prepared.method = Method::GET;
    }
    prepared.declared = None;
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_LOCATION,
    ] {
        prepared.headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
