//! The integration suite: real `daprd` processes, real apps, real sockets.
//!
//! One file per subject. Nothing here knows the crates behind the binary.
#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and shows why"
)]

mod access_control;
mod access_log;
mod api;
mod app_connections;
mod app_faults;
mod check;
mod command_line;
mod configuration;
mod dapr_peers;
mod descriptors;
mod doors;
mod early;
mod endpoints;
mod examples;
mod grpc;
mod injected;
mod kubernetes;
mod lifecycle;
mod logs;
mod memory;
mod metrics;
mod middleware;
mod mtls;
mod names;
mod noise;
mod odd_apps;
mod odd_requests;
mod peers;
mod protocols;
mod proxies;
mod readers;
mod recorded;
mod reload;
mod requests;
mod resiliency;
mod stage;
mod streaming;
mod targets;
mod traces;
mod unread_logs;
