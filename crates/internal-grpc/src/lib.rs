//! The protocol between sidecars: both ends of `dapr.proto.internals.v1.ServiceInvocation`.
//!
//! In the caller's sidecar [`Client`] sends a call to another one (it implements [`invoke_core::Peers`]). In the
//! callee's sidecar [`Server`] receives it (it calls [`invoke_core::ports::Receive`]). Messages of `CallLocalStream`
//! travel between the two: a head with the caller's metadata, then the body in numbered pieces, in both directions at
//! once.
//!
//! The messages are encoded and decoded by hand: a payload stays the `Bytes` it came in, and the metadata goes
//! straight between the header map and the wire. Tests hold this codec against the generated messages. This crate
//! knows framing, the casing of metadata keys, and which error becomes which gRPC status; it knows no access control,
//! no retries and no app protocol.

mod client;
mod codec;
mod frames;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod limit;
mod purge;
mod server;
mod unseen;

pub use client::{Client, ClientConfig};
pub use purge::{PurgeConfig, purge_idle};
pub use server::{Server, ServerConfig};

/// The services of the server, as reflection names them.
pub const SERVICES: &[&str] = &["dapr.proto.internals.v1.ServiceInvocation"];

const SERVICE: &str = "/dapr.proto.internals.v1.ServiceInvocation/";
const CALL_LOCAL: &str = "/dapr.proto.internals.v1.ServiceInvocation/CallLocal";
const CALL_LOCAL_STREAM: &str = "/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream";
