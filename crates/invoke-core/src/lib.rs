//! The domain of the sidecar: what a service invocation *is* and where it goes.
//!
//! A call is an [`Invocation`] (head and body) for a target. It enters through an API door, which calls
//! [`Invoke`]; [`Outbound`] decides where it goes: to the app of this sidecar ([`Inbound`], then an
//! [`AppChannel`]), to another sidecar ([`Peers`], at an endpoint picked
//! from what a [`Resolver`] knows), or to an external endpoint ([`ExternalEndpoints`]). The answer is a
//! [`Reply`] whose body streams.
//!
//! Adapters (HTTP API, internal gRPC, app channel, resolvers) implement or call the traits of [`ports`];
//! they know this crate and never each other. This crate opens no socket and reads no file: it depends on
//! `http`, `http-body`, `bytes` and the parts of `tokio` for synchronisation, time and tasks.

pub mod attempts;
pub mod balance;
pub mod body;
pub mod error;
pub mod headers;
pub mod id;
mod inbound;
mod invocation;
mod method;
pub mod observe;
mod outbound;
pub mod pipeline;
pub mod ports;
mod proxied;
mod pushback;
mod reply;
pub mod routing;
mod spread;
mod sync;
pub mod targets;
pub mod trace;
mod verb;

pub use attempts::{Attempts, BuiltInRetry};
pub use body::{Body, BodyError, BoxError, End};
pub use error::{Cause, Delivery, Denied, Fault, InvokeError, RpcStatus, StatusDetail};
pub use id::{AppId, AppRef, Namespace, Target, TargetError};
pub use inbound::{Caller, Inbound};
pub use invocation::{Head, Invocation, Origin};
pub use method::{MethodError, MethodPath, clean_path};
pub use observe::{Observe, Ticket};
pub use outbound::Outbound;
pub use pipeline::{Entered, Leave, Pipeline};
pub use ports::{
    AllowAll, AppChannel, Authorize, Decision, ExternalEndpoints, Invoke, Manner, NoExternalEndpoints, Peers,
    Receive, Resolver,
};
pub use proxied::{Proxied, ProxiedHead, Unseen};
pub use pushback::{Pushback, retry_after};
pub use reply::{Reply, Route, WireStatus};
pub use routing::Routes;
pub use targets::Targets;
pub use verb::Verb;
