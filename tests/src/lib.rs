//! The harness of the integration suite: real `daprd` processes, and apps that live in the test.
//!
//! A test makes a [`Mesh`] (a temporary folder and the configuration that its sidecars share), starts apps
//! ([`HttpApp`]) and sidecars ([`Daprd`]), and calls them over real sockets. Everything listens on free
//! ports of the loopback interface, logs are captured and printed when the test fails, and whatever a test
//! started is stopped when it ends, however it ends.
//!
//! The harness knows the binary, never the crates behind it: what it sees is what a user sees. It also runs
//! another binary of the same command line when `DAPRD_BIN` names one.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and shows why"
)]

mod app;
mod binary;
pub mod collector;
mod consul;
mod daprd;
pub mod grpc;
mod h2;
mod instances;
mod mesh;
pub mod operator;
mod otlp;
pub mod pki;
mod ports;
mod raw;
mod raw_app;
mod rpc;
pub mod sentry;
mod tls_app;
mod tools;

pub use app::{BodySender, HttpApp, Protocol, Request, Response, stream, text};
pub use binary::{daprd_binary, example};
pub use consul::ConsulAgent;
pub use daprd::{Daprd, DaprdBuilder, Exit, LogReader, run_daprd};
pub use h2::H2Client;
pub use instances::Instances;
pub use mesh::Mesh;
pub use ports::free_port;
pub use raw::{RawClient, RawResponse};
pub use raw_app::RawApp;
pub use tls_app::{TlsApp, localhost};
pub use tools::Tools;

use std::time::Duration;

/// How long anything that must happen may take. Generous: it bounds hangs, it measures nothing.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `condition` holds, asking every few milliseconds.
///
/// # Panics
/// When it does not hold within [`PATIENCE`]; `what` tells what was waited for.
pub async fn eventually<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "gave up waiting for: {what}"
    );
}
