//! HTTP/2 for the hops between sidecars, for gRPC from and to apps, and for callers of the HTTP port.
//!
//! A connection is one task that owns the socket, and a state that the task shares with the calls. All calls write into
//! one buffer. So everything that is ready leaves in one write: the head and the only message of a call, or the answers
//! of many calls with their trailers. A call of one message needs no task and no channel of its own.
//!
//! This crate has the parts of HTTP/2 (RFC 9113) that these need, and knows nothing of gRPC: [`client`] sends
//! requests, [`server`] answers them, [`RecvBody`] is what comes in, and anything that is an [`http_body::Body`] goes
//! out. Pushes are refused, priorities are ignored, and interim answers are skipped. A server asks a client for its
//! body when the client waits to be asked (`Expect: 100-continue`). `transport` gives this crate sockets and limits.
//! No other crate serves or makes connections with it.

pub mod client;
pub mod server;

mod body;
mod budget;
mod config;
mod driver;
mod error;
mod fields;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod handle;
mod hpack;
#[cfg(test)]
#[cfg(feature = "model")]
mod model;
mod output;
mod pump;
mod resend;
mod state;
mod stream;
mod sync;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use body::RecvBody;
pub use budget::Budget;
pub use config::{Config, KeepAlive, Linger};
pub use error::{Error, Reason, Side};
pub use fields::RawQuery;

/// An error of a body that goes out.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
