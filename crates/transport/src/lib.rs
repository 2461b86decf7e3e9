//! Sockets and HTTP, without a word of Dapr: listeners, servers and pooled clients.
//!
//! [`server`] serves a [`Handler`](server::Handler) over HTTP/1 and cleartext HTTP/2 on one port, or over HTTP/2
//! alone for gRPC, with limits, header time-outs and a drain. [`client`] has a pool of HTTP/2 connections to many
//! peers and the pools of one HTTP origin. When a call breaks, both sides say precisely what happened:
//! [`client::ClientError`] tells whether the other side may have seen the call, and errors of bodies keep their
//! source, so that codes of resets are not lost.
//!
//! This is the only crate that knows `hyper` and our `http2`: the first speaks HTTP/1, the second HTTP/2. What gRPC
//! puts into HTTP/2 is the matter of `grpc-wire`. [`tls`] secures connections with configurations that others make:
//! it does not know what an identity is. Bodies stream, are never copied and never collected without a bound.

pub mod client;
mod counted;
mod descriptors;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod listen;
pub mod server;
mod socket;
mod sync;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
pub mod tls;
mod writes;

pub use counted::{Counted, Side, SocketCounts};
pub use descriptors::Descriptors;
pub use socket::Socket;

/// Any error of a body or a handler.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
