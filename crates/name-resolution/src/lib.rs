//! How a sidecar finds the sidecars of other apps: one module per resolver, each a cargo feature.
//!
//! All of them implement [`invoke_core::Resolver`]: for each app that is asked for, a resolver keeps a watched set of
//! endpoints up to date. The balancer of `invoke-core` picks from this set. [`build`] makes the resolver that the
//! configuration names. [`host`] finds the address under which this sidecar is announced, and the internal port that
//! stays the same from start to start.
//!
//! A resolver that registers this sidecar withdraws it in [`Built::close`], before anything else stops.

mod balancing;
#[cfg(feature = "aws-cloudmap")]
mod cloudmap;
#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "dns")]
mod dns;
mod fields;
#[cfg(feature = "static")]
mod fixed;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod host;
#[cfg(any(
    feature = "aws-cloudmap",
    feature = "consul",
    feature = "dns",
    feature = "kubernetes",
    feature = "static"
))]
mod instances;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(feature = "mdns")]
pub mod mdns;
#[cfg(feature = "nameformat")]
mod nameformat;
#[cfg(any(feature = "consul", feature = "kubernetes"))]
mod nullable;
#[cfg(any(feature = "consul", feature = "kubernetes"))]
mod origin;
#[cfg(any(feature = "aws-cloudmap", feature = "dns", feature = "kubernetes"))]
mod refresh;
mod registry;
#[cfg(all(
    test,
    any(feature = "aws-cloudmap", feature = "consul", feature = "kubernetes")
))]
mod scripted;
mod settings;
#[cfg(feature = "simulate")]
#[doc(hidden)]
pub mod simulate;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "consul", feature = "kubernetes"))]
mod trouble;

pub use balancing::{preferences, preferring};
pub use registry::{Built, InitError, Instance, Means, RESOLVERS, build, check};
