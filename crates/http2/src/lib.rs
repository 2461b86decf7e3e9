//! HTTP/2 for the hops between sidecars, for gRPC from and to apps, and for callers of the HTTP port.
//!
//! A connection here is one task that owns the socket, and a state that calls share with it. What calls send goes
//! into one buffer, so that everything that is ready (the head and the only message of a call, the answers of many
//! calls with their trailers) leaves in one write. Calls of one message need no task and no channel of their own.
//!
//! It knows of HTTP/2 (RFC 9113) what these need, and nothing of gRPC itself: [`client`] sends requests, [`server`]
//! answers them, [`RecvBody`] is what comes in, and anything that is an [`http_body::Body`] goes out. Pushes are
//! refused, priorities are ignored, and interim answers are skipped; a server asks those clients for their bodies that
//! wait for that. `transport` gives it sockets and limits and is the only crate that knows it.

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
mod kept;
#[cfg(test)]
#[cfg(feature = "model")]
mod model;
mod output;
mod pump;
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
