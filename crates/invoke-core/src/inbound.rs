//! The use case of the callee's side: a call reaches the app of this sidecar.

use std::sync::Arc;

use crate::error::{Cause, Fault, InvokeError};
use crate::invocation::Invocation;
use crate::ports::{AppChannel, Authorize, Decision, Receive};
use crate::reply::Reply;

/// Who sent a call to this sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The SPIFFE id that the connection proved; `None` on a connection without mTLS.
    pub spiffe_id: Option<Arc<str>>,
}

/// Gives calls to the app of this sidecar: those of other sidecars after the access control policy allowed
/// them, the app's own ones unasked.
#[derive(Debug)]
pub struct Inbound<A, P> {
    app: Option<A>,
    policy: P,
}

impl<A: AppChannel, P: Authorize> Inbound<A, P> {
    /// `app` is `None` when the sidecar has no app port.
    pub fn new(app: Option<A>, policy: P) -> Self {
        Self { app, policy }
    }

    /// Passes a call of the app to itself; no policy is asked.
    pub async fn from_self(&self, call: Invocation) -> Result<Reply, InvokeError> {
        match &self.app {
            Some(app) => app.invoke(call).await,
            None => Err(InvokeError::unsent(Fault::Us, Cause::NoLocalApp)),
        }
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
        match self.policy.authorize(caller, &call.head.method, call.head.verb) {
            Decision::Allow => app.invoke(call).await,
            Decision::Deny(denied) => Err(InvokeError::unsent(Fault::Caller, denied)),
        }
    }
}
