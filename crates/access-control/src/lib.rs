//! Access control: which calls of other apps reach the app of this sidecar.
//!
//! [`Policy`] is `spec.accessControl` of a `Configuration`, compiled once; it implements [`invoke_core::Authorize`],
//! which the inbound side asks before the app sees a call. A decision begins with the caller ([`SpiffeId`], proven by
//! its certificate). It looks for the policy of this caller, and there for the operation that the method matches
//! (`operations`, a tree over the segments of paths; `glob` judges patterns). Where nothing is found, the defaults
//! decide. For HTTP apps a method is judged in every form in which an app may read it (`readings`).
//!
//! At the start `findings` tells what looks like a mistake in a policy. An [`Observer`] counts the decisions.
//!
//! This crate knows the typed values of `resources` and no transport: it never learns how a caller proved who it is.

mod compile;
mod findings;
mod glob;
mod observer;
mod operations;
mod policy;
mod readings;
mod spiffe;

pub use compile::BrokenPolicies;
pub use findings::Finding;
pub use observer::{Judged, Observer, Source, Unobserved};
pub use policy::{AppKind, Policy};
pub use spiffe::{Malformed, SpiffeId};
