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
use crate::endpoint::{EndpointSettings, NamedEndpoint};
use crate::limit::{ConcurrencyLimit, Place};
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
    /// What stands between this host and the web.
    pub proxies: Proxies,
    /// Whoever is told of calls.
    pub watched: Watched,
}

/// Channels to the `http://…` and `https://…` addresses that callers name, and to endpoints that have a name. They
/// share nothing with the channel to the app: no token of the app is ever sent to a third party. Cloning shares them.
#[derive(Clone, Debug)]
pub struct External(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    named: Arc<HashMap<String, (EndpointSettings, NamedEndpoint)>>,
    /// What every call goes through (`spec.appHttpPipeline`).
    pipeline: Option<Arc<dyn Pipeline>>,
}

/// What goes on when endpoints change.
#[derive(Debug)]
struct Shared {
    urls: Channels,
    limit: Option<ConcurrencyLimit>,
    /// How many calls each endpoint gets at once.
    max_concurrency: Option<usize>,
    tls: SystemTls,
    way: Way,
    watched: Watched,
    tasks: Tasks,
}

impl External {
    /// No connections; calls make them. `tasks` owns them.
    pub fn new(settings: ExternalSettings, tasks: &Tasks) -> Self {
        let tls = SystemTls::default();
        let way = Way::new(settings.proxies, tls.clone());
        let urls = Channels::new(CAPACITY, settings.max_header_bytes, way.clone(), tasks.clone());
        let shared = Shared {
            urls,
            limit: settings.max_concurrency.map(ConcurrencyLimit::new),
            max_concurrency: settings.max_concurrency,
            tls,
            way,
            watched: settings.watched,
            tasks: tasks.clone(),
        };
        Self(Arc::new(Inner {
            shared: Arc::new(shared),
            named: Arc::default(),
            pipeline: None,
        }))
    }

    /// The same endpoints, with their connections, behind this middleware.
    #[must_use]
    pub fn piped(&self, pipeline: Option<Arc<dyn Pipeline>>) -> Self {
        Self(Arc::new(Inner {
            shared: Arc::clone(&self.0.shared),
            named: Arc::clone(&self.0.named),
            pipeline,
        }))
    }

    /// The same with these endpoints, and those of them that are new. One that is as it was keeps its connections and
    /// its calls; one that cannot be set up fails each call by itself, and the others are as good as ever.
    #[must_use]
    pub fn with(&self, endpoints: Vec<EndpointSettings>) -> (Self, Vec<NamedEndpoint>) {
        let Inner {
            shared,
            named: before,
            pipeline,
        } = &*self.0;
        let (mut named, mut new) = (HashMap::new(), Vec::new());
        for settings in endpoints {
            let name = settings.name.clone();
            let known = before.get(&name).filter(|(known, _)| *known == settings);
            let endpoint = match known {
                Some((_, endpoint)) => endpoint.clone(),
                None => {
                    let limit = shared.max_concurrency.map(ConcurrencyLimit::new);
                    let (tls, way) = (&shared.tls, &shared.way);
                    let endpoint = NamedEndpoint::new(settings.clone(), limit, tls, way, &shared.tasks);
                    new.push(endpoint.clone());
                    endpoint
                }
            };
            named.insert(name, (settings, endpoint));
        }
        let inner = Inner {
            shared: Arc::clone(shared),
            named: Arc::new(named),
            pipeline: pipeline.clone(),
        };
        (Self(Arc::new(inner)), new)
    }
}

impl ExternalEndpoints for External {
    type Channel = ExternalChannel;

    fn named(&self, name: &str) -> Option<ExternalChannel> {
        let (_, endpoint) = self.0.named.get(name)?;
        Some(ExternalChannel::Named(
            endpoint.piped(self.0.pipeline.clone()),
            self.0.shared.watched.clone(),
        ))
    }

    fn url(&self, url: &str) -> Result<ExternalChannel, InvokeError> {
        let shared = &*self.0.shared;
        // Addresses on the web are verified, whatever the app speaks.
        let tls = || {
            if !url.starts_with("https://") {
                return Ok(None);
            }
            let tls = shared.tls.get();
            tls.map(Some).map_err(|error| Unusable(format!("{url}: {error}")))
        };
        match shared.urls.get(url, tls) {
            Ok(channel) => Ok(ExternalChannel::Url(
                channel.piped(self.0.pipeline.clone()),
                shared.limit.clone(),
                shared.watched.clone(),
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
    Url(HttpChannel, Option<ConcurrencyLimit>, Watched),
    /// An endpoint that has a name.
    Named(NamedEndpoint, Watched),
}

impl AppChannel for ExternalChannel {
    async fn invoke(&self, head: Cow<'_, Head>, body: Body) -> Result<Reply, InvokeError> {
        match self {
            Self::Url(channel, limit, watched) => {
                let place = ConcurrencyLimit::place(limit.as_ref(), &head).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_are_as_they_were_are_not_made_anew() {
        let settings = |name: &str, base_url: &str| EndpointSettings {
            name: name.to_owned(),
            base_url: base_url.to_owned(),
            ..EndpointSettings::default()
        };
        let (a, b) = (settings("a", "http://h:1"), settings("b", "http://h:1"));
        let none = External::new(ExternalSettings::default(), &Tasks::new());
        let (first, new) = none.with(vec![a.clone(), b.clone()]);
        assert_eq!(new.len(), 2);
        let (second, new) = first.with(vec![a.clone(), settings("b", "http://h:2")]);
        let names: Vec<_> = new.iter().map(NamedEndpoint::name).collect();
        assert_eq!(names, ["b"]);
        let is_shared = |name: &str| first.0.named[name].1.is_same(&second.0.named[name].1);
        assert!(is_shared("a") && !is_shared("b"));
        assert!(Arc::ptr_eq(&first.0.shared, &second.0.shared));
        let (third, new) = second.with(vec![a]);
        assert!(new.is_empty() && third.named("b").is_none());
    }
}
