//! The gRPC API of the sidecar: the service `dapr.proto.runtime.v1.Dapr`.
//!
//! [`Api`] is the handler of the gRPC port. It asks `access` whether the method is there, checks the token, and finds
//! the method. `InvokeService` becomes a call of [`invoke_core::Invoke`]. `GetMetadata`, `SetMetadata` and `Shutdown`
//! are answered here. This sidecar does not have the other building blocks: their methods answer what a Dapr sidecar
//! answers in which they are not configured. Calls of services that are not Dapr's are proxied: they go to the app
//! that their metadata names, and nobody looks at their messages.
//!
//! Every code and text that a user of this API sees stands in one file each: failures of invocations in
//! `status`, the building blocks in `out_of_scope`. This crate knows no peers, no resolvers and no app protocols.

mod access;
mod answer;
mod api;
mod invoke;
mod metadata;
mod notices;
mod out_of_scope;
mod proxy;
mod status;

pub use access::unknown_apis;
pub use answer::Answer;
pub use api::{Api, ApiSettings, SERVICES};
