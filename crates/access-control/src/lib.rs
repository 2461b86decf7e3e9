//! Access control: which calls of other apps reach the app of this sidecar.
//!
//! [`Policy`] is `spec.accessControl` of a `Configuration`, compiled once; it implements [`invoke_core::Authorize`],
//! which the inbound side asks before the app sees a call. A decision goes from the caller ([`SpiffeId`], proven by
//! its certificate) to the policy for it, from there to the operation that the method matches (`operations`, a tree
//! over the segments of paths, with patterns judged by `glob`), and falls back to the defaults on the way.
//! For HTTP apps a method is judged in every form in which an app may read it (`readings`).
//!
//! What looks like a mistake in a policy is told at start (`findings`); decisions are counted by an [`Observer`].
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
