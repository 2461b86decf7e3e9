//! The app, whatever it speaks.

use std::borrow::Cow;
use std::sync::Arc;

use http::Response;
use invoke_core::{AppChannel, Body, Cause, Fault, Head, InvokeError, Pipeline, ProxiedHead, Reply};
use transport::client::Reuse;

use crate::channel::HttpChannel;
use crate::grpc::GrpcChannel;
use crate::health::AppHealth;
use crate::limit::{ConcurrencyLimit, Place};
use crate::watched::Watched;

/// The app of a sidecar. Cloning shares connections and limits.
///
/// Invocations are made in the app's protocol, while the app is healthy, and no more at once than the limit allows.
/// Proxied calls are gRPC, so they go to the same port over HTTP/2 whatever the protocol (an h2c app may speak gRPC,
/// too). Neither health nor limit holds them up, as in Dapr: a stream may last as long as the app.
#[derive(Clone, Debug)]
pub struct App {
    /// `None` for an app that is invoked with gRPC.
    http: Option<HttpChannel>,
    grpc: GrpcChannel,
    limit: Option<ConcurrencyLimit>,
    health: AppHealth,
    watched: Watched,
}

impl App {
    /// An app that is invoked with HTTP.
    pub fn http(http: HttpChannel, grpc: GrpcChannel) -> Self {
        Self {
            http: Some(http),
            grpc,
            limit: None,
            health: AppHealth::default(),
            watched: Watched::default(),
        }
    }

    /// An app that is invoked with gRPC.
    pub fn grpc(grpc: GrpcChannel) -> Self {
        Self {
            http: None,
            grpc,
            limit: None,
            health: AppHealth::default(),
            watched: Watched::default(),
        }
    }

    /// Lets no more than so many invocations in at once.
    #[must_use]
    pub fn limited(mut self, limit: Option<ConcurrencyLimit>) -> Self {
        self.limit = limit;
        self
    }

    /// Calls are told.
    #[must_use]
    pub fn watched(mut self, watched: Watched) -> Self {
        self.grpc = self.grpc.watched(watched.clone());
        self.watched = watched;
        self
    }

    /// The same app, with middleware in front of its invocations (`spec.appHttpPipeline`). A gRPC app has none.
    #[must_use]
    pub fn piped(&self, pipeline: Option<&Arc<dyn Pipeline>>) -> Self {
        Self {
            http: self.http.as_ref().map(|http| http.piped(pipeline.cloned())),
            ..self.clone()
        }
    }

    /// What limits how many invocations it gets at once.
    pub fn limit(&self) -> Option<&ConcurrencyLimit> {
        self.limit.as_ref()
    }

    /// For how long connections to it are used again, which may be changed at any time.
    pub fn reuse(&self) -> &Reuse {
        self.grpc.reuse()
    }

    /// Whoever is told of calls.
    pub(crate) fn watch(&self) -> &Watched {
        &self.watched
    }

    /// The health of the app. While probes say that it is not well, invocations fail at once.
    pub fn health(&self) -> &AppHealth {
        &self.health
    }

    /// The channel of an HTTP app.
    pub fn as_http(&self) -> Option<&HttpChannel> {
        self.http.as_ref()
    }
}

impl AppChannel for App {
    async fn invoke(&self, head: Cow<'_, Head>, body: Body) -> Result<Reply, InvokeError> {
        if !self.health.admits() {
            return Err(InvokeError::unsent(Fault::App, Cause::Unhealthy));
        }
        // The app is at work until its answer has ended.
        let place = ConcurrencyLimit::place(self.limit.as_ref(), &head).await?;
        let reply = match &self.http {
            Some(http) => {
                let watch = self.watched.begin(&head, &body);
                watch.end(http.invoke(head, body).await)?
            }
            None => self.grpc.invoke(head, body).await?,
        };
        Ok(Place::until_end_of(place, reply))
    }

    async fn proxy(&self, head: Cow<'_, ProxiedHead>, body: Body) -> Result<Response<Body>, InvokeError> {
        self.grpc.proxy(head, body).await
    }
}
