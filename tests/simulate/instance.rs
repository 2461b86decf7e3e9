//! An instance of the app that is called, with its sidecar.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use app_channel::ConcurrencyLimit;
use invoke_core::balance::Endpoint;

use crate::signal::Signal;

/// What an instance takes for a call, on average, in milliseconds.
pub(crate) const SERVICE: u64 = 20;
/// How many calls an instance works at.
pub(crate) const PLACES: usize = 256;

/// One instance. It is there from its beginning on, whether it listens or not.
pub(crate) struct Instance {
    pub(crate) id: usize,
    /// Where it is, as resolvers tell it.
    pub(crate) endpoint: Endpoint,
    /// The queue before the app, as a sidecar has it with `--app-max-concurrency`.
    pub(crate) limit: ConcurrencyLimit,
    listens: AtomicBool,
    service: AtomicU64,
    /// Counts its deaths. Whoever waits for an answer sees that it changes.
    deaths: Signal<u64>,
    /// Since when nothing is wrong with it, in milliseconds; `u64::MAX` while something is.
    well_since: AtomicU64,
}

impl Instance {
    pub(crate) fn new(id: usize, places: usize) -> Self {
        Self {
            id,
            endpoint: Endpoint::new(format!("{id}:50002")),
            limit: ConcurrencyLimit::new(places),
            listens: AtomicBool::new(true),
            service: AtomicU64::new(SERVICE),
            deaths: Signal::new(0),
            well_since: AtomicU64::new(0),
        }
    }

    pub(crate) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// From now on connections are refused. Those that are there are closed when no call is on them.
    pub(crate) fn refuse(&self) {
        self.listens.store(false, Ordering::Relaxed);
        self.ail();
    }

    /// The same, and all calls that it has break.
    pub(crate) fn die(&self) {
        self.refuse();
        self.deaths.change(|deaths| *deaths += 1);
    }

    /// It listens, in a new process.
    pub(crate) fn rise(&self, now: u64) {
        self.deaths.change(|deaths| *deaths += 1);
        self.listens.store(true, Ordering::Relaxed);
        self.heal(now);
    }

    pub(crate) fn slow_down(&self, times: u64) {
        self.service.store(SERVICE * times, Ordering::Relaxed);
    }

    /// Something is wrong with it from now on.
    pub(crate) fn ail(&self) {
        self.well_since.store(u64::MAX, Ordering::Relaxed);
    }

    /// Nothing is wrong with it from now on.
    pub(crate) fn heal(&self, now: u64) {
        self.service.store(SERVICE, Ordering::Relaxed);
        self.well_since.store(now, Ordering::Relaxed);
    }

    pub(crate) fn well_since(&self) -> Option<u64> {
        Some(self.well_since.load(Ordering::Relaxed)).filter(|since| *since != u64::MAX)
    }

    pub(crate) fn deaths(&self) -> &Signal<u64> {
        &self.deaths
    }

    /// What this call takes: anything from half the average to one and a half of it.
    pub(crate) fn service(&self) -> Duration {
        let average = self.service.load(Ordering::Relaxed);
        Duration::from_millis(average / 2 + fastrand::u64(..=average))
    }
}
