//! The use case of the callee's side: a call reaches the app of this sidecar.

use std::sync::Arc;

use http::Response;

use crate::body::Body;
use crate::error::{Cause, Fault, InvokeError, ResolveError, RpcStatus, code};
use crate::headers::Identity;
use crate::id::Target;
use crate::invocation::Invocation;
use crate::method::MethodPath;
use crate::ports::{AppChannel, Authorize, Decision, Manner, Receive};
use crate::proxied::Proxied;
use crate::reply::Reply;

/// Who sent a call to this sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The SPIFFE id that the connection proved; `None` on a connection without mTLS.
    pub spiffe_id: Option<Arc<str>>,
}

/// Gives calls to the app of this sidecar: those of other sidecars after the access control policy allowed
/// them, the app's own ones unasked. Proxied calls are always judged.
#[derive(Debug)]
pub struct Inbound<A, P> {
    identity: Arc<Identity>,
    app: Option<A>,
    policy: P,
}

impl<A: AppChannel, P: Authorize> Inbound<A, P> {
    /// `app` is `None` when the sidecar has no app port.
    pub fn new(identity: Arc<Identity>, app: Option<A>, policy: P) -> Self {
        Self {
            identity,
            app,
            policy,
        }
    }

    /// Passes a call of the app to itself; no policy is asked.
    pub async fn from_self(&self, call: Invocation) -> Result<Reply, InvokeError> {
        match &self.app {
            Some(app) => app.invoke(call).await,
            None => Err(InvokeError::unsent(Fault::Us, Cause::NoLocalApp)),
        }
    }

    /// Passes a proxied call of the app to itself. It proves no identity, so the policy's default decides.
    pub async fn proxy_from_self(&self, call: Proxied) -> Result<Response<Body>, InvokeError> {
        self.proxy(&Caller::default(), call).await
    }

    async fn proxy(&self, caller: &Caller, call: Proxied) -> Result<Response<Body>, InvokeError> {
        let path = call.head.path.path();
        let method = MethodPath::parse(path.to_owned())?;
        if method.as_bytes() != path.as_bytes() {
            // What the policy judges must be what the app sees.
            let text = format!("path is not in its normal form: {path:?}");
            let status = RpcStatus::new(code::INVALID_ARGUMENT, format!("invalid method: {text}"));
            return Err(InvokeError::unsent(Fault::Caller, status));
        }
        self.judge(caller, &method, Manner::Proxied)?;
        match &self.app {
            Some(app) => app.proxy(call).await,
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

impl<A: AppChannel, P: Authorize> Receive for Inbound<A, P> {
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
        self.judge(caller, &call.head.method, Manner::Invoked(call.head.verb))?;
        app.invoke(call).await
    }

    async fn receive_proxied(
        &self,
        caller: &Caller,
        target: &str,
        call: Proxied,
    ) -> Result<Response<Body>, InvokeError> {
        match Target::parse(target)? {
            Target::App { id, namespace } if self.is_own(id, namespace) => self.proxy(caller, call).await,
            // A peer must not reach others under the identity of this sidecar.
            _ => {
                let unknown = ResolveError::new(format!("couldn't find service: {target}"));
                Err(InvokeError::unsent(Fault::Caller, unknown))
            }
        }
    }
}
