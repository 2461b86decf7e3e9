//! The use case of the caller's side: where a call goes, and how hard to try.

mod attempt;
mod messages;
mod mirror;
mod search;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Response};

use crate::attempts::{Attempts, BuiltInRetry, CallFacts, Named, Road, Run};
use crate::balance::Affinity;
use crate::body::{Body, Replay};
use crate::error::{Cause, Fault, InvokeError};
use crate::headers::Identity;
use crate::id::{AppRef, Target};
use crate::inbound::Inbound;
use crate::invocation::{Head, Invocation, Origin};
use crate::observe::Observe;
use crate::ports::{AppChannel, Authorize, ExternalEndpoints, Invoke, Peers, Resolver};
use crate::proxied::{Proxied, ProxiedHead};
use crate::reply::{Reply, Route};
use crate::routing::{Routed, Routes};
use crate::targets::{App, Bound, Peer, ResolvedTarget, Targets};
use attempt::{Judged, ProxyToSelf, ProxyToSelfAgain, ToChannel, ToChannelAgain, ToPeer, ToSelf, attempts};
use messages::Messages;
use mirror::Original;

/// By this a caller says that a proxied call lasts.
const DAPR_STREAM: &str = "dapr-stream";

/// Sends calls to the app itself, to other sidecars and to external endpoints.
///
/// One of these is one generation of the configuration; what outlives it (the [`Targets`], the connections of the
/// peers) is handed from one to the next.
pub struct Outbound<A, P, S, X: ExternalEndpoints, T: Attempts = BuiltInRetry, O: Observe = ()> {
    identity: Arc<Identity>,
    inbound: Arc<Inbound<A, P, O>>,
    /// Shared with copies of calls, which go on when the generation has gone.
    peers: Arc<S>,
    external: X,
    /// `None` when no name resolver could be set up.
    resolver: Option<Arc<dyn Resolver>>,
    targets: Arc<Targets<X::Channel, T::Policy, O::Meters>>,
    policies: T,
    /// What is done with calls to some apps.
    routes: Routes,
    generation: u64,
}

/// A target as these ports know it.
type FoundBy<X, T, O> =
    ResolvedTarget<<X as ExternalEndpoints>::Channel, <T as Attempts>::Policy, <O as Observe>::Meters>;

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
            peers: Arc::new(peers),
            external,
            resolver,
            targets,
            policies,
            routes: Routes::default(),
        }
    }

    /// Does with calls to some apps what these say.
    #[must_use]
    pub fn routed(self, routes: Routes) -> Self {
        Self { routes, ..self }
    }

    /// What the caller's text names. This is the one look-up of a call, unless the app has versions: one of them is
    /// looked up then, and is taken as it is.
    fn find(&self, text: &str, headers: &HeaderMap) -> Result<Going<FoundBy<X, T, O>>, InvokeError> {
        let found = self.find_one(text)?;
        let Some(routed) = found.routed.clone() else {
            return Ok(Going {
                found,
                routed: None,
                affinity: None,
            });
        };
        let affinity = routed.affinity(headers);
        let found = match routed.version(headers) {
            None => found,
            Some(version) => {
                let found = self.find_one(version)?;
                if found.external.is_some() {
                    let text = format!(
                        "{version:?}, a version of {text:?}, is the name of an endpoint, not of an app"
                    );
                    return Err(InvokeError::unsent(Fault::Us, Cause::App { text, source: None }));
                }
                found
            }
        };
        Ok(Going {
            found,
            routed: Some(routed),
            affinity,
        })
    }

    fn find_one(&self, text: &str) -> Result<Arc<FoundBy<X, T, O>>, InvokeError> {
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
                    policy: self.policies.policy(Named::External(url), text),
                    meters: self.inbound.observer().meters(Named::External(url), text),
                    routed: None,
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
        let routed = external
            .is_none()
            .then(|| self.routes.of(id, namespace))
            .flatten();
        Ok(Bound {
            is_url: false,
            policy: self.policies.policy(name, text),
            meters: self.inbound.observer().meters(name, text),
            routed,
            external,
            app: Some(app),
        })
    }

    /// An invocation under the target's policy.
    fn begin(&self, found: &FoundBy<X, T, O>, head: &Head, body: Body) -> Judged<T::Run> {
        let road = match head.origin {
            Origin::Http => Road::Http,
            Origin::Grpc => Road::Grpc,
        };
        let mut call = CallFacts::new(road, head.method.as_bytes());
        call.verb = head.verb;
        self.judged(found, call, head.deadline, body)
    }

    /// The same for a call that is passed on.
    fn begin_proxied(&self, found: &FoundBy<X, T, O>, head: &ProxiedHead, body: Body) -> Judged<T::Run> {
        let stream = head.headers.get(DAPR_STREAM);
        let road = Road::Proxied {
            is_long: stream.is_some_and(|value| is_truthy(value.as_bytes())),
        };
        let call = CallFacts::new(road, head.path.path().as_bytes());
        self.judged(found, call, head.deadline, body)
    }

    /// The call under the target's policy, and its body as that needs it.
    fn judged(
        &self,
        found: &FoundBy<X, T, O>,
        mut call: CallFacts<'_>,
        deadline: Option<Instant>,
        body: Body,
    ) -> Judged<T::Run> {
        call.is_streaming = !body.has_known_length();
        let policy = found.policy.as_ref();
        let run = policy.and_then(|policy| self.policies.begin(policy, call));
        let bound = run.as_ref().map_or(0, Run::keeps);
        let is_one = call.road.is_proxied() && run.as_ref().is_some_and(Run::wants_one_message);
        let (body, messages) = if is_one {
            let (body, messages) = Messages::watch(body);
            (body, Some(messages))
        } else {
            (body, None)
        };
        Judged {
            run,
            replay: Replay::new(body, bound),
            messages,
            end: deadline.map(Into::into),
        }
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
            let call = self.begin(found, &head, body);
            attempts(call, &ToChannelAgain { way, head: &head }).await?
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
            let call = self.begin(found, &head, body);
            attempts(call, &ToSelf { inbound, head: &head }).await?
        };
        reply.route = Route::Local;
        Ok(reply)
    }

    async fn to_peer(
        &self,
        found: &FoundBy<X, T, O>,
        peer: &Peer,
        affinity: Option<Affinity>,
        mut call: Invocation,
    ) -> Result<Reply, InvokeError> {
        let resolver = self.resolver()?;
        self.identity.stamp_remote(&mut call.head.headers, peer.callee());
        let way = ToPeer {
            peers: &*self.peers,
            resolver,
            peer,
            head: &call.head,
            affinity,
            observer: self.inbound.observer(),
            meters: &found.meters,
        };
        let judged = self.begin(found, &call.head, call.body);
        let mut reply = attempts(judged, &way).await?;
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
    async fn invoke(&self, target: &str, mut call: Invocation) -> Result<Reply, InvokeError> {
        let Going {
            found,
            routed,
            affinity,
        } = self.find(target, &call.head.headers)?;
        // Before the identity is stamped: a copy is stamped for the app that gets it.
        if let Some(routed) = routed {
            call.body = self.mirrored(&routed, Original::Invoked(&call.head), call.body);
        }
        match (&found.external, &found.app) {
            // These ways are in boxes: most calls go another way, and need not make room for them.
            (Some(channel), _) => Box::pin(self.to_external(&found, channel, target, call)).await,
            (None, Some(App::Peer(peer))) => self.to_peer(&found, peer, affinity, call).await,
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
        let Going {
            found,
            routed,
            affinity,
        } = self.find(target, &call.head.headers)?;
        let Proxied { mut head, mut body } = call;
        if let Some(routed) = routed {
            body = self.mirrored(&routed, Original::Proxied(&head), body);
        }
        let headers = &mut head.headers;
        match &found.app {
            Some(App::Peer(peer)) => {
                let resolver = self.resolver()?;
                self.identity.stamp_proxied(headers, peer.callee());
                let way = ToPeer {
                    peers: &*self.peers,
                    resolver,
                    peer,
                    head: &head,
                    affinity,
                    observer: self.inbound.observer(),
                    meters: &found.meters,
                };
                let call = self.begin_proxied(&found, &head, body);
                attempts(call, &way).await
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
                let call = self.begin_proxied(&found, &head, body);
                Box::pin(attempts(call, &ProxyToSelfAgain { way, head: &head })).await
            }
        }
    }
}

/// Where one call goes.
struct Going<F> {
    found: Arc<F>,
    /// What is done with calls to the app, if anything.
    routed: Option<Arc<Routed>>,
    /// By what it goes where others go.
    affinity: Option<Affinity>,
}

/// Whether a value says yes, as Dapr reads it.
fn is_truthy(value: &[u8]) -> bool {
    const YES: [&[u8]; 6] = [b"y", b"yes", b"true", b"t", b"on", b"1"];
    let value = value.trim_ascii();
    YES.iter().any(|yes| value.eq_ignore_ascii_case(yes))
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
