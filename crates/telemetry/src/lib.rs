//! What the sidecar shows of itself: its log, its metrics and its traces.
//!
//! Every crate logs with `tracing`; the target of an event is its scope (`dapr.runtime`). [`log`] prints the
//! events exactly as Dapr prints its log lines, as text or as JSON, through one writer thread so that no request
//! waits for a disk. [`traces`] makes spans of calls and exports them. [`metrics`] is the exposition of the metrics port
//! and the place where families of metrics are registered; [`server`] serves it, and [`push`] hands it to a collector.
//! What `traces` and `push` have in common, the collector and the variables of OpenTelemetry, is in `otlp`.
//!
//! This crate knows no routing. Whoever does something observable tells it.

#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod log;
pub mod metrics;
mod otlp;
pub mod push;
pub mod server;
pub mod traces;
