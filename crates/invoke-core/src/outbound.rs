//! The use case of the caller's side: where a call goes, and how hard to try.

mod attempt;

use std::borrow::Cow;
use std::sync::Arc;

use http::Response;

use crate::attempts::{Attempts, BuiltInRetry, CallFacts, Named};
use crate::body::{Body, Replay};
use crate::error::{Cause, Fault, InvokeError};
use crate::headers::Identity;
use crate::id::{AppRef, Target};
use crate::inbound::Inbound;
use crate::invocation::Invocation;
use crate::observe::Observe;
use crate::ports::{AppChannel, Authorize, ExternalEndpoints, Invoke, Peers, Resolver};
use crate::proxied::Proxied;
use crate::reply::{Reply, Route};
use crate::targets::{App, Bound, Found, Peer, Targets};
use attempt::{ProxyToSelf, ProxyToSelfAgain, ToChannel, ToChannelAgain, ToPeer, ToSelf, attempts};

/// How many bytes of a body of known length are kept for another attempt.
const REPLAY_BOUND: u64 = 64 * 1024;

/// Sends calls to the app itself, to other sidecars and to external endpoints.
///
/// One of these is one generation of the configuration; what outlives it (the [`Targets`], the connections of the
/// peers) is handed from one to the next.
pub struct Outbound<A, P, S, X: ExternalEndpoints, T: Attempts = BuiltInRetry, O: Observe = ()> {
    identity: Arc<Identity>,
    inbound: Arc<Inbound<A, P, O>>,
    peers: S,
    external: X,
    /// `None` when no name resolver could be set up.
    resolver: Option<Arc<dyn Resolver>>,
    targets: Arc<Targets<X::Channel, T::Policy, O::Meters>>,
    policies: T,
    generation: u64,
}

/// A target as these ports know it.
type FoundBy<X, T, O> =
    Found<<X as ExternalEndpoints>::Channel, <T as Attempts>::Policy, <O as Observe>::Meters>;

/// The same before it is kept.
type BoundBy<X, T, O> =
    Bound<<X as ExternalEndpoints>::Channel, <T as Attempts>::Policy, <O as Observe>::Meters>;

impl<A, P, S, X> Outbound<A, P, S, X>
where
    A: AppChannel,
    P: Authorize,
    S: Peers,
    X: ExternalEndpoints,
{
    /// Puts the parts together, with targets of its own and the policy that is built in. Without a resolver every call
    /// to another app fails with [`Cause::NoResolver`]; the app itself and external endpoints need none.
    pub fn new(
        identity: Arc<Identity>,
        inbound: Arc<Inbound<A, P>>,
        peers: S,
        external: X,
        resolver: Option<Arc<dyn Resolver>>,
    ) -> Self {
        let targets = Arc::default();
        Self::with(
            identity,
            inbound,
            peers,
            external,
            resolver,
            targets,
            BuiltInRetry::default(),
        )
    }
}

impl<A, P, S, X, T, O> Outbound<A, P, S, X, T, O>
where
    A: AppChannel,
    P: Authorize,
    S: Peers,
    X: ExternalEndpoints,
    T: Attempts,
    O: Observe,
{
    /// Puts the parts together, with targets that an earlier generation may have used, and with policies.
    pub fn with(
        identity: Arc<Identity>,
        inbound: Arc<Inbound<A, P, O>>,
        peers: S,
        external: X,
        resolver: Option<Arc<dyn Resolver>>,
        targets: Arc<Targets<X::Channel, T::Policy, O::Meters>>,
        policies: T,
    ) -> Self {
        Self {
            generation: targets.next_generation(),
            identity,
            inbound,
            peers,
            external,
            resolver,
            targets,
            policies,
        }
    }

    /// What the caller's text names. This is the one look-up of a call.
    fn find(&self, text: &str) -> Result<Arc<FoundBy<X, T, O>>, InvokeError> {
        self.targets.find(text, self.generation, || self.bind(text))
    }

    fn bind(&self, text: &str) -> Result<BoundBy<X, T, O>, InvokeError> {
        let (id, namespace) = match Target::parse(text)? {
            Target::App { id, namespace } => (id, namespace),
            Target::Url(url) => {
                return Ok(Bound {
                    is_url: true,
                    external: Some(self.external.url(url)?),
                    app: None,
                    policy: self.policies.policy(Named::External(url)),
                    meters: self.inbound.observer().meters(Named::External(url), text),
                });
            }
        };
        let external = self.external.named(id);
        let app = if self.inbound.is_own(id, namespace) {
            App::Own
        } else {
            let namespace = namespace.map_or_else(|| self.identity.namespace().clone(), Into::into);
            App::Peer(self.targets.peer(&AppRef {
                id: id.into(),
                namespace,
            }))
        };
        let name = match (&external, &app) {
            (Some(_), _) => Named::External(id),
            (None, App::Own) => Named::Own(self.identity.app_id()),
            (None, App::Peer(peer)) => Named::Peer(peer.app()),
        };
        Ok(Bound {
            is_url: false,
            policy: self.policies.policy(name),
            meters: self.inbound.observer().meters(name, text),
            external,
            app: Some(app),
        })
    }

    /// The call under the target's policy, and its body as that needs it.
    fn begin(&self, found: &FoundBy<X, T, O>, body: Body, is_proxied: bool) -> (Option<T::Run>, Replay) {
        let is_streaming = !body.has_known_length();
        let run = found.policy.as_ref().map(|policy| {
            let call = CallFacts {
                is_proxied,
                is_streaming,
            };
            self.policies.begin(policy, call)
        });
        let bound = if is_streaming || run.is_none() {
            0
        } else {
            REPLAY_BOUND
        };
        (run, Replay::new(body, bound))
    }

    async fn to_external(
        &self,
        found: &FoundBy<X, T, O>,
        channel: &X::Channel,
        name: &str,
        call: Invocation,
    ) -> Result<Reply, InvokeError> {
        let Invocation { head, body } = call;
        let way = ToChannel {
            channel,
            name,
            observer: self.inbound.observer(),
            meters: &found.meters,
        };
        let mut reply = if found.policy.is_none() {
            way.invoke(Cow::Owned(head), body).await?
        } else {
            let (run, replay) = self.begin(found, body, false);
            attempts(run, replay, &ToChannelAgain { way, head: &head }).await?
        };
        reply.route = Route::External;
        Ok(reply)
    }

    async fn to_self(&self, found: &FoundBy<X, T, O>, mut call: Invocation) -> Result<Reply, InvokeError> {
        self.identity.stamp_local(&mut call.head.headers);
        let Invocation { head, body } = call;
        let inbound = &*self.inbound;
        let mut reply = if found.policy.is_none() {
            inbound.invoke_for_self(Cow::Owned(head), body).await?
        } else {
            let head = &head;
            let (run, replay) = self.begin(found, body, false);
            attempts(run, replay, &ToSelf { inbound, head }).await?
        };
        reply.route = Route::Local;
        Ok(reply)
    }

    async fn to_peer(
        &self,
        found: &FoundBy<X, T, O>,
        peer: &Peer,
        mut call: Invocation,
    ) -> Result<Reply, InvokeError> {
        let resolver = self.resolver()?;
        self.identity.stamp_remote(&mut call.head.headers, peer.callee());
        let way = ToPeer {
            peers: &self.peers,
            resolver,
            peer,
            head: &call.head,
            observer: self.inbound.observer(),
            meters: &found.meters,
        };
        let (run, replay) = self.begin(found, call.body, false);
        let mut reply = attempts(run, replay, &way).await?;
        reply.route = Route::Remote;
        Ok(reply)
    }

    fn resolver(&self) -> Result<&dyn Resolver, InvokeError> {
        self.resolver
            .as_deref()
            .ok_or_else(|| InvokeError::unsent(Fault::Us, Cause::NoResolver))
    }
}

impl<A, P, S, X, T, O> Invoke for Outbound<A, P, S, X, T, O>
where
    A: AppChannel,
    P: Authorize,
    S: Peers,
    X: ExternalEndpoints,
    T: Attempts,
    O: Observe,
{
    async fn invoke(&self, target: &str, call: Invocation) -> Result<Reply, InvokeError> {
        let found = self.find(target)?;
        match (&found.external, &found.app) {
            // These ways are in boxes: most calls go another way, and need not make room for them.
            (Some(channel), _) => Box::pin(self.to_external(&found, channel, target, call)).await,
            (None, Some(App::Peer(peer))) => self.to_peer(&found, peer, call).await,
            (None, _) => Box::pin(self.to_self(&found, call)).await,
        }
    }

    async fn proxy(&self, target: &str, call: Proxied) -> Result<Response<Body>, InvokeError> {
        if let Target::Url(url) = Target::parse(target)? {
            let text = format!("a gRPC call cannot be proxied to the address {url}");
            return Err(InvokeError::unsent(
                Fault::Caller,
                Cause::App { text, source: None },
            ));
        }
        let found = self.find(target)?;
        let Proxied { mut head, body } = call;
        let headers = &mut head.headers;
        match &found.app {
            Some(App::Peer(peer)) => {
                let resolver = self.resolver()?;
                self.identity.stamp_proxied(headers, peer.callee());
                let way = ToPeer {
                    peers: &self.peers,
                    resolver,
                    peer,
                    head: &head,
                    observer: self.inbound.observer(),
                    meters: &found.meters,
                };
                let (run, replay) = self.begin(&found, body, true);
                attempts(run, replay, &way).await
            }
            _ => {
                self.identity.stamp_proxied(headers, self.identity.callee());
                let way = ProxyToSelf {
                    inbound: &self.inbound,
                    app: self.identity.app_id(),
                    meters: &found.meters,
                };
                if found.policy.is_none() {
                    return Box::pin(way.proxy(Cow::Owned(head), body)).await;
                }
                let way = ProxyToSelfAgain { way, head: &head };
                let (run, replay) = self.begin(&found, body, true);
                Box::pin(attempts(run, replay, &way)).await
            }
        }
    }
}

impl<A, P, S, X, T, O> std::fmt::Debug for Outbound<A, P, S, X, T, O>
where
    X: ExternalEndpoints,
    T: Attempts,
    O: Observe,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("identity", &self.identity)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
