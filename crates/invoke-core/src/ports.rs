//! The traits that link the adapters to the domain.
//!
//! They are plain async traits, put together once by the composition as concrete types. Only what
//! configuration chooses is erased: resolvers are `Arc<dyn Resolver>`.

use std::borrow::Cow;
use std::future::Future;
use std::time::Instant;

use http::Response;

use crate::balance::{Endpoint, EndpointWatch};
use crate::body::Body;
use crate::error::{Denied, InvokeError};
use crate::id::AppRef;
use crate::inbound::Caller;
use crate::invocation::{Head, Invocation};
use crate::method::MethodPath;
use crate::proxied::{Proxied, ProxiedHead};
use crate::reply::Reply;
use crate::verb::Verb;

/// What an API door calls. [`crate::Outbound`] implements it.
///
/// Dropping the future cancels the call everywhere; after the reply is there, dropping its body does.
pub trait Invoke: Send + Sync + 'static {
    /// Invokes a method of `target`, which is the caller's text (`app`, `app.namespace`, a URL, or the name of
    /// an external endpoint).
    fn invoke(
        &self,
        target: &str,
        call: Invocation,
    ) -> impl Future<Output = Result<Reply, InvokeError>> + Send;

    /// Passes a gRPC call of some other service on to `target`, which is the caller's text (`app` or
    /// `app.namespace`).
    fn proxy(
        &self,
        target: &str,
        call: Proxied,
    ) -> impl Future<Output = Result<Response<Body>, InvokeError>> + Send;
}

/// What the internal gRPC server calls. [`crate::Inbound`] implements it.
pub trait Receive: Send + Sync + 'static {
    /// Whether there is an app at all; asked before a call is read.
    fn has_app(&self) -> Result<(), InvokeError>;

    /// Passes a call that another sidecar sent to the app, if the access control policy allows it.
    fn receive(
        &self,
        caller: &Caller,
        call: Invocation,
    ) -> impl Future<Output = Result<Reply, InvokeError>> + Send;

    /// Passes a gRPC call of some other service, which another sidecar sent for `target`, to the app, if the
    /// access control policy allows it.
    fn receive_proxied(
        &self,
        caller: &Caller,
        target: &str,
        call: Proxied,
    ) -> impl Future<Output = Result<Response<Body>, InvokeError>> + Send;
}

/// Gives a call to an app, or to an external endpoint.
pub trait AppChannel: Send + Sync + 'static {
    /// Sends the call and waits for the head of the answer; the bodies stream.
    ///
    /// An answer with an error status is a reply, not an error.
    ///
    /// The head is borrowed when another attempt may follow, and given away when none will: then nothing of it is
    /// copied.
    fn invoke(
        &self,
        head: Cow<'_, Head>,
        body: Body,
    ) -> impl Future<Output = Result<Reply, InvokeError>> + Send;

    /// Passes a gRPC call on and waits for the head of the answer.
    ///
    /// An answer with an error status is an answer, not an error. The body of the answer always ends in a status.
    fn proxy(
        &self,
        head: Cow<'_, ProxiedHead>,
        body: Body,
    ) -> impl Future<Output = Result<Response<Body>, InvokeError>> + Send;
}

/// Gives a call to another sidecar.
pub trait Peers: Send + Sync + 'static {
    /// Sends the call to the sidecar of `app` at `endpoint` and waits for the head of the answer. The other side is told
    /// that nobody waits after `until`, or after the caller's own deadline; whoever calls this ends the attempt then.
    fn invoke(
        &self,
        app: &AppRef,
        endpoint: &Endpoint,
        head: &Head,
        until: Option<Instant>,
        body: Body,
    ) -> impl Future<Output = Result<Reply, InvokeError>> + Send;

    /// Passes a gRPC call on to the sidecar of `app` at `endpoint` and waits for the head of the answer, whose
    /// body always ends in a status. `until` is that of [`Peers::invoke`].
    fn proxy(
        &self,
        app: &AppRef,
        endpoint: &Endpoint,
        head: &ProxiedHead,
        until: Option<Instant>,
        body: Body,
    ) -> impl Future<Output = Result<Response<Body>, InvokeError>> + Send;
}

/// Finds the endpoints of an app: the internal gRPC addresses of its sidecars.
pub trait Resolver: Send + Sync + 'static {
    /// Starts to watch an app. The first answer (endpoints or a failure) is awaited by the caller, later ones
    /// are read without waiting. The resolver stops when the receiver is dropped.
    fn watch(&self, app: &AppRef) -> EndpointWatch;

    /// Tells that an endpoint could not be reached, so that a resolver with stale knowledge may drop it.
    fn unreachable(&self, app: &AppRef, endpoint: &Endpoint) {
        let _ = (app, endpoint);
    }
}

/// What a policy says to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The app may be called.
    Allow,
    /// It may not.
    Deny(Denied),
}

/// How a call asks for its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It is invoked, with the verb that the caller named.
    Invoked(Option<Verb>),
    /// A gRPC call is passed on as it is. It has no verb, whatever else the app speaks.
    Proxied,
}

/// The access control policy of the callee's sidecar.
pub trait Authorize: Send + Sync + 'static {
    /// Judges a call by who calls, the normalised method and how it is asked for.
    fn authorize(&self, caller: &Caller, method: &MethodPath, manner: Manner) -> Decision;
}

/// No access control is configured: every call is allowed, as in Dapr.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorize for AllowAll {
    fn authorize(&self, _: &Caller, _: &MethodPath, _: Manner) -> Decision {
        Decision::Allow
    }
}

/// External endpoints, by the name of their resource or by a whole URL.
pub trait ExternalEndpoints: Send + Sync + 'static {
    /// The channel to such an endpoint.
    type Channel: AppChannel;

    /// The channel of an endpoint resource of this name, if there is one.
    fn named(&self, name: &str) -> Option<Self::Channel>;

    /// The channel to a whole `http://…` or `https://…` address.
    fn url(&self, url: &str) -> Result<Self::Channel, InvokeError>;
}

/// There are no external endpoints: a library user that calls apps only.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExternalEndpoints;

/// A channel that nobody can have.
#[derive(Clone, Copy, Debug)]
pub enum NoChannel {}

impl AppChannel for NoChannel {
    async fn invoke(&self, _: Cow<'_, Head>, _: Body) -> Result<Reply, InvokeError> {
        match *self {}
    }

    async fn proxy(&self, _: Cow<'_, ProxiedHead>, _: Body) -> Result<Response<Body>, InvokeError> {
        match *self {}
    }
}

impl ExternalEndpoints for NoExternalEndpoints {
    type Channel = NoChannel;

    fn named(&self, _: &str) -> Option<NoChannel> {
        None
    }

    fn url(&self, url: &str) -> Result<NoChannel, InvokeError> {
        Err(InvokeError::unsent(
            crate::Fault::Caller,
            crate::Cause::App {
                text: format!("external endpoints are not available: {url}"),
                source: None,
            },
        ))
    }
}
