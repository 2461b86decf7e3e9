//! Resiliency: how hard the calls to a target are tried.
//!
//! [`Policies`] are the `Resiliency` resources of a sidecar, compiled once; they implement [`invoke_core::Attempts`],
//! which the loop of attempts asks. A target has a time limit, a retry and a circuit breaker, or some of them: those
//! of its entry in `spec.targets.apps`, or the defaults (`policies`). One call under them is a [`PolicyRun`] (`run`),
//! which nests them and the built-in retry as Dapr's `daprd` does. A breaker opens when an expression over its
//! counters says so (`trip`). Each method of a target has a breaker of its own, in a bounded map. Beyond what Dapr
//! has, retries may have a budget (`budget`), calls may be made to a second endpoint when the first takes long
//! (`hedge`), and some methods of a target may have policies of their own (`methods`).
//!
//! An [`Observer`] is told what becomes of calls; metrics are made of that. This crate sends nothing, holds no body
//! and reads no file: it knows the typed values of `resources` and the port of `invoke-core`.

mod breaker;
mod budget;
pub mod check;
mod codes;
mod compile;
mod duration;
mod hedge;
mod methods;
mod observer;
mod policies;
mod retry;
mod run;
#[cfg(test)]
mod testing;
mod trip;

#[cfg(feature = "fuzz")]
pub mod fuzz;

pub use breaker::{Counts, State};
pub use codes::CodesError;
pub use compile::Mistake;
pub use observer::{Name, Observer, Part, Told, Unobserved};
pub use policies::{Policies, Settings, TargetPolicy};
pub use run::PolicyRun;
pub use trip::{Trip, TripError};

/// The scope of the log lines, as in Dapr.
const SCOPE: &str = "dapr.runtime";
