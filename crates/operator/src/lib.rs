//! The client of Dapr's operator. A sidecar in Kubernetes gets its resources from it.
//!
//! [`Operator::connect`] makes the connection with the TLS configuration of `identity`, and waits for the operator as
//! long as Dapr's daprd does. The calls return the JSON of resources as it was sent; `resources` makes typed values
//! of it. A call that the operator could not answer is made again, so that a sidecar can start together with its
//! operator.
//!
//! [`Operator::watch`] passes on what the operator pushes when resources change, and does not end by itself: a stream
//! that breaks is opened again, and the listener is told that it may have missed changes.

mod client;
mod error;
mod watch;

pub use client::{Operator, Settings};
pub use error::OperatorError;
pub use watch::{Change, Event, Kind};

/// The scope of the log lines.
const SCOPE: &str = "dapr.runtime.operator";
