//! The orders in which a model is run.
//!
//! A crate whose tasks share state has models of it, see `CONTRIBUTING.md`: with its feature `model` it is built on the
//! primitives of [`shuttle`], and its tests run small programs around the real types with [`explore`]. This crate is in no
//! release: the feature alone brings it.

use std::sync::Arc;

pub use shuttle;
use tokio::runtime::{Builder, Runtime};

/// How many changes of tasks a schedule has that is chosen by their places.
const CHANGES: usize = 3;

/// Runs a model in so many schedules: half of them by chance, half with few changes of tasks, at places that are chosen
/// by chance (PCT). A schedule that fails is printed, and `shuttle::replay` repeats it.
///
/// # Panics
/// When the model does, or when all of its tasks wait for each other.
pub fn explore(schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    let clock = still_clock();
    let _inside = clock.enter();
    let model = Arc::new(model);
    let same = Arc::clone(&model);
    shuttle::check_random(move || same(), schedules / 2);
    shuttle::check_pct(move || model(), schedules / 2, CHANGES);
}

/// A runtime that nobody drives, for its clock: it stands still, so that no time limit ends and a schedule is always the same.
fn still_clock() -> Runtime {
    let clock = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    clock.unwrap_or_else(|error| panic!("a runtime for its clock: {error}"))
}
