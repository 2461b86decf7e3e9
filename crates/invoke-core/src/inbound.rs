//! The use case of the callee's side: a call reaches the app of this sidecar.

use std::borrow::Cow;
use std::sync::Arc;

use http::Response;

use crate::body::Body;
use crate::error::{Cause, Fault, InvokeError, ResolveError, RpcStatus, code};
use crate::headers::Identity;
use crate::id::Target;
use crate::invocation::{Head, Invocation};
use crate::method::MethodPath;
use crate::observe::{Call, Exchange, Observe, OpenExchange};
use crate::ports::{AllowAll, AppChannel, Authorize, Decision, Manner, NoChannel, Receive};
use crate::proxied::{Proxied, ProxiedHead};
use crate::reply::Reply;

/// Who sent a call to this sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The SPIFFE id that the connection proved; `None` on a connection without mTLS.
    pub spiffe_id: Option<Arc<str>>,
    /// Whether its sidecar sent the call as one message, as those do that know no streams.
    pub is_unary: bool,
}

/// Gives calls to the app of this sidecar: those of other sidecars after the access control policy allowed
/// them, the app's own ones unasked. Proxied calls are always judged.
#[derive(Debug)]
pub struct Inbound<A, P, O = ()> {
    identity: Arc<Identity>,
    app: Option<A>,
    policy: P,
    observer: Arc<O>,
}

impl Inbound<NoChannel, AllowAll> {
    /// Nothing behind it: a program that calls others and is called by nobody.
    pub fn without_app(identity: Arc<Identity>) -> Self {
        Self::new(identity, None, AllowAll)
    }
}

impl<A: AppChannel, P: Authorize> Inbound<A, P> {
    /// `app` is `None` when the sidecar has no app port. Nobody is told of calls.
    pub fn new(identity: Arc<Identity>, app: Option<A>, policy: P) -> Self {
        Self::observed(identity, app, policy, Arc::new(()))
    }
}

impl<A: AppChannel, P: Authorize, O: Observe> Inbound<A, P, O> {
    /// The same, with somebody who is told of calls.
    pub fn observed(identity: Arc<Identity>, app: Option<A>, policy: P, observer: Arc<O>) -> Self {
        Self {
            identity,
            app,
            policy,
            observer,
        }
    }

    /// Who is told of calls.
    pub(crate) fn observer(&self) -> &O {
        &self.observer
    }

    /// Passes a call of the app to itself; no policy is asked.
    pub(crate) async fn invoke_for_self(
        &self,
        head: Cow<'_, Head>,
        body: Body,
    ) -> Result<Reply, InvokeError> {
        match &self.app {
            Some(app) => self.invoke(app, head, body).await,
            None => Err(InvokeError::unsent(Fault::Us, Cause::NoLocalApp)),
        }
    }

    /// Passes a proxied call of the app to itself. It proves no identity, so the policy's default decides.
    pub(crate) async fn proxy_for_self(
        &self,
        head: Cow<'_, ProxiedHead>,
        body: Body,
    ) -> Result<Response<Body>, InvokeError> {
        self.proxy(&Caller::default(), head, body).await
    }

    async fn invoke(&self, app: &A, head: Cow<'_, Head>, body: Body) -> Result<Reply, InvokeError> {
        let exchange = Exchange::App(Call::Invoked(&head));
        let open = OpenExchange::new(self.observer.begin(exchange, None));
        open.replied(app.invoke(head, body).await)
    }

    async fn proxy(
        &self,
        caller: &Caller,
        head: Cow<'_, ProxiedHead>,
        body: Body,
    ) -> Result<Response<Body>, InvokeError> {
        let path = head.path.path();
        let method = MethodPath::parse(path.to_owned())?;
        if method.as_bytes() != path.as_bytes() {
            // What the policy judges must be what the app sees.
            let text = format!("path is not in its normal form: {path:?}");
            let status = RpcStatus::new(code::INVALID_ARGUMENT, format!("invalid method: {text}"));
            return Err(InvokeError::unsent(Fault::Caller, status));
        }
        self.judge(caller, &method, Manner::Proxied)?;
        match &self.app {
            Some(app) => {
                let exchange = Exchange::App(Call::Proxied(&head));
                let open = OpenExchange::new(self.observer.begin(exchange, None));
                open.relayed(app.proxy(head, body).await)
            }
            None => Err(InvokeError::unsent(Fault::Us, Cause::NoApp)),
        }
    }

    fn judge(&self, caller: &Caller, method: &MethodPath, manner: Manner) -> Result<(), InvokeError> {
        match self.policy.authorize(caller, method, manner) {
            Decision::Allow => Ok(()),
            Decision::Deny(denied) => Err(InvokeError::unsent(Fault::Caller, denied)),
        }
    }

    /// Whether a target is the app of this sidecar.
    pub(crate) fn is_own(&self, id: &str, namespace: Option<&str>) -> bool {
        id == self.identity.app_id().as_str()
            && namespace.is_none_or(|namespace| namespace == self.identity.namespace().as_str())
    }
}

impl<A: AppChannel, P: Authorize, O: Observe> Receive for Inbound<A, P, O> {
    fn has_app(&self) -> Result<(), InvokeError> {
        match self.app {
            Some(_) => Ok(()),
            None => Err(InvokeError::unsent(Fault::Us, Cause::NoApp)),
        }
    }

    async fn receive(&self, caller: &Caller, call: Invocation) -> Result<Reply, InvokeError> {
        let Some(app) = &self.app else {
            return Err(InvokeError::unsent(Fault::Us, Cause::NoApp));
        };
        let Invocation { mut head, body } = call;
        let exchange = Exchange::Received {
            caller,
            call: Call::Invoked(&head),
        };
        let mut open = OpenExchange::new(self.observer.begin(exchange, None));
        if let Some(trace) = open.trace(head.traced(caller.is_unary)) {
            head.trace = Some(trace);
        }
        if let Err(denied) = self.judge(caller, &head.method, Manner::Invoked(head.verb)) {
            open.failed(&denied);
            return Err(denied);
        }
        open.taken();
        open.replied(self.invoke(app, Cow::Owned(head), body).await)
    }

    async fn receive_proxied(
        &self,
        caller: &Caller,
        target: &str,
        call: Proxied,
    ) -> Result<Response<Body>, InvokeError> {
        match Target::parse(target)? {
            Target::App { id, namespace } if self.is_own(id, namespace) => {
                let Proxied { mut head, body } = call;
                let exchange = Exchange::Received {
                    caller,
                    call: Call::Proxied(&head),
                };
                let mut open = OpenExchange::new(self.observer.begin(exchange, None));
                if let Some(trace) = open.trace(head.traced()) {
                    head.emit(trace);
                }
                open.relayed(self.proxy(caller, Cow::Owned(head), body).await)
            }
            // A peer must not reach others under the identity of this sidecar.
            _ => {
                let unknown = ResolveError::new(format!("couldn't find service: {target}"));
                Err(InvokeError::unsent(Fault::Caller, unknown))
            }
        }
    }
}
