//! The life of the process as values that one holds: drain signals, owners of tasks, readiness.
//!
//! Every server and every background task takes a [`Shutdown`], and belongs to a [`Tasks`] owner that waits for it.
//! Whoever blocks readiness holds a [`Latch`], which has a name in the [`Readiness`] list behind `/v1.0/healthz`. An
//! API that is asked to stop the process sends a [`ShutdownRequest`]. A start that waits for somebody says so in
//! [`StartupWait`]. A [`Current`] holds a value that is replaced as a whole while others use it. The composition
//! holds the other ends.
//!
//! This crate knows `tokio` and nothing of Dapr, sockets or protocols.

mod current;
mod readiness;
mod requests;
mod shutdown;
mod tasks;
mod waiting;

pub use current::Current;
pub use readiness::{Latch, Readiness};
pub use requests::{ShutdownReceiver, ShutdownRequest, ShutdownRequests, shutdown_requests};
pub use shutdown::{Shutdown, ShutdownTrigger};
pub use tasks::Tasks;
pub use waiting::StartupWait;
