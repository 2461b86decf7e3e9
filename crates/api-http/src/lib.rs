//! The HTTP API of the sidecar, and the public server with its health and metadata.
//!
//! [`Api`] is the handler of the API port. It finds the route of a request (`routes`; `access` says which of them are
//! open), and checks token and origin. It turns an invocation into a call of [`invoke_core::Invoke`], and the reply
//! (or the failure) into an answer. [`PublicApi`] is the handler of the public port. `transport` serves both.
//!
//! Every text and code that a user of this API sees stands in one file each: failures of invocations in
//! `errors`, the answers of building blocks that are not configured in `out_of_scope`. This crate knows no
//! peers, no resolvers and no app protocols. A request for an invocation goes straight from the handler to the
//! use case, past any router.

mod access;
mod api;
mod cors;
mod details;
mod errors;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod health;
mod invocation;
mod limit;
mod out_of_scope;
mod public;
mod respond;
mod routes;
mod sniff;
mod target;

pub use access::unknown_apis;
pub use api::{Api, ApiSettings};
pub use cors::Cors;
pub use health::Health;
pub use public::PublicApi;
