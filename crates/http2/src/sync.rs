//! The primitives by which tasks share state: those of `std`, or in a model those of `shuttle`, where each operation is a
//! place at which another task may go on. How models are written stands in `CONTRIBUTING.md`.

#[cfg(feature = "model")]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(feature = "model"))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

/// Runs a model in so many schedules: half of them by chance, half with few changes of tasks, at places that are chosen
/// by chance (PCT). A schedule that fails is printed, and `shuttle::replay` repeats it.
#[cfg(test)]
#[cfg(feature = "model")]
pub(crate) fn explore(schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    // The clock of a runtime that nobody drives stands still: no time limit ends, and a schedule is always the same.
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let _inside = clock.enter();
    let model = std::sync::Arc::new(model);
    let same = std::sync::Arc::clone(&model);
    shuttle::check_random(move || same(), schedules / 2);
    shuttle::check_pct(move || model(), schedules / 2, 3);
}
