//! The client of Dapr's operator, from which a sidecar in Kubernetes has its resources.
//!
//! [`Operator::connect`] makes the connection, secured by the configuration of TLS that `identity` gives, and waits for
//! it as long as Dapr's daprd does. The calls return the JSON of resources as it was sent: `resources` makes typed
//! values of it. A call that the operator could not answer is made again, so that a sidecar that starts together with
//! its operator starts.
//!
//! What the operator pushes when resources change has its place here, too: the connection of [`Operator`] is what those
//! streams will be opened on.

mod client;
mod error;

pub use client::{Operator, Settings};
pub use error::OperatorError;

/// The scope of the log lines.
const SCOPE: &str = "dapr.runtime.operator";
