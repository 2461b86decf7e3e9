//! The client of Dapr's operator, from which a sidecar in Kubernetes has its resources.
//!
//! [`Operator::connect`] makes the connection, secured by the configuration of TLS that `identity` gives, and waits for
//! it as long as Dapr's daprd does. The calls return the JSON of resources as it was sent: `resources` makes typed
//! values of it. A call that the operator could not answer is made again, so that a sidecar that starts together with
//! its operator starts.
//!
//! [`Operator::watch`] gives what the operator pushes when resources change, for ever: a stream that breaks is opened
//! again, and whoever listens is told that changes may have been missed.

mod client;
mod error;
mod watch;

pub use client::{Operator, Settings};
pub use error::OperatorError;
pub use watch::{Change, Event, Kind};

/// The scope of the log lines.
const SCOPE: &str = "dapr.runtime.operator";
