//! External endpoints: whole URLs, and endpoints that resources name.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::Response;
use invoke_core::{
    AppChannel, Body, Cause, ExternalEndpoints, Fault, Head, InvokeError, Pipeline, ProxiedHead, Reply,
};
use lifecycle::Tasks;
use transport::client::Proxies;

use crate::cache::{Channels, SystemTls, Way, WayError};
use crate::channel::{ChannelError, HttpChannel};
use crate::endpoint::{EndpointError, EndpointSettings, NamedEndpoint};
use crate::limit::{Limit, Place};
use crate::watched::Watched;

/// How many URLs are known at once.
const CAPACITY: usize = 256;

/// How external endpoints are called.
#[derive(Debug, Default)]
pub struct ExternalSettings {
    /// Status line and headers of an answer of a URL together, in bytes.
    pub max_header_bytes: usize,
    /// How many calls all URLs together get at once, and how many each endpoint; `None` for any number.
    pub max_concurrency: Option<usize>,
    /// The endpoints that have a name.
    pub endpoints: Vec<EndpointSettings>,
    /// What stands between this host and the web.
    pub proxies: Proxies,
    /// Whoever is told of calls.
    pub watched: Watched,
    /// What every call goes through (`spec.appHttpPipeline`).
    pub pipeline: Option<Arc<dyn Pipeline>>,
}

/// Channels to the `http://…` and `https://…` addresses that callers name, and to endpoints that have a name. They
/// share nothing with the channel to the app: no token of the app is ever sent to a third party.
#[derive(Debug)]
pub struct External {
    urls: Channels,
    limit: Option<Limit>,
    tls: SystemTls,
    named: HashMap<String, NamedEndpoint>,
    watched: Watched,
    pipeline: Option<Arc<dyn Pipeline>>,
}

impl External {
    /// No connections; calls make them. `tasks` owns them. An endpoint that cannot be set up is told, and fails each
    /// call by itself; the others are as good as ever.
    pub fn new(settings: ExternalSettings, tasks: &Tasks) -> (Self, Vec<EndpointError>) {
        let tls = SystemTls::default();
        let way = Way::new(settings.proxies, tls.clone());
        let (mut named, mut errors) = (HashMap::new(), Vec::new());
        for endpoint in settings.endpoints {
            let name = endpoint.name.clone();
            let limit = settings.max_concurrency.map(Limit::new);
            let endpoint =
                NamedEndpoint::new(endpoint, limit, (&tls, &way), settings.pipeline.as_ref(), tasks);
            errors.extend(endpoint.broken().cloned());
            named.insert(name, endpoint);
        }
        let external = Self {
            urls: Channels::new(CAPACITY, settings.max_header_bytes, way, tasks.clone()),
            limit: settings.max_concurrency.map(Limit::new),
            tls,
            named,
            watched: settings.watched,
            pipeline: settings.pipeline,
        };
        (external, errors)
    }

    /// The endpoints that have a name.
    pub fn endpoints(&self) -> impl Iterator<Item = &NamedEndpoint> {
        self.named.values()
    }
}

impl ExternalEndpoints for External {
    type Channel = ExternalChannel;

    fn named(&self, name: &str) -> Option<ExternalChannel> {
        let endpoint = self.named.get(name)?.clone();
        Some(ExternalChannel::Named(endpoint, self.watched.clone()))
    }

    fn url(&self, url: &str) -> Result<ExternalChannel, InvokeError> {
        // Addresses on the web are verified, whatever the app speaks.
        let tls = || {
            if !url.starts_with("https://") {
                return Ok(None);
            }
            let tls = self.tls.get();
            tls.map(Some).map_err(|error| Unusable(format!("{url}: {error}")))
        };
        match self.urls.get(url, tls) {
            Ok(channel) => Ok(ExternalChannel::Url(
                channel.piped(self.pipeline.clone()),
                self.limit.clone(),
                self.watched.clone(),
            )),
            Err(Unusable(text)) => Err(unusable(text)),
        }
    }
}

/// An address that cannot be called.
struct Unusable(String);

impl From<ChannelError> for Unusable {
    fn from(error: ChannelError) -> Self {
        Self(error.to_string())
    }
}

impl From<WayError> for Unusable {
    fn from(error: WayError) -> Self {
        Self(error.to_string())
    }
}

/// A call that cannot be made, to an address that the caller named.
pub(crate) fn unusable(text: String) -> InvokeError {
    InvokeError::unsent(Fault::Caller, Cause::App { text, source: None })
}

/// The channel to an external endpoint. Cloning shares it.
#[derive(Clone, Debug)]
pub enum ExternalChannel {
    /// An address.
    Url(HttpChannel, Option<Limit>, Watched),
    /// An endpoint that has a name.
    Named(NamedEndpoint, Watched),
}

impl AppChannel for ExternalChannel {
    async fn invoke(&self, head: Cow<'_, Head>, body: Body) -> Result<Reply, InvokeError> {
        match self {
            Self::Url(channel, limit, watched) => {
                let place = Limit::place(limit.as_ref()).await?;
                let watch = watched.begin(&head, &body);
                let reply = watch.end(channel.invoke(head, body).await)?;
                Ok(Place::until_end_of(place, reply))
            }
            Self::Named(endpoint, watched) => endpoint.invoke(head, body, watched).await,
        }
    }

    async fn proxy(&self, _: Cow<'_, ProxiedHead>, _: Body) -> Result<Response<Body>, InvokeError> {
        Err(unusable(
            "an external endpoint is called with HTTP, not with gRPC".to_owned(),
        ))
    }
}
