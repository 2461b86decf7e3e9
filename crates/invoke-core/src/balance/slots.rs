//! What the balancer knows of each endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Endpoint;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One endpoint of a set.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) endpoint: Endpoint,
    pub(super) state: Arc<State>,
}

/// The load and the recent failures of an address, which outlive the set that it is in. All of it is atomic: picking
/// takes no lock.
#[derive(Debug)]
pub(super) struct State {
    epoch: Instant,
    in_flight: AtomicUsize,
    failures: AtomicU32,
    /// Milliseconds after `epoch` until which the endpoint is left out.
    out_until: AtomicU64,
}

impl Slot {
    pub(super) fn new(endpoint: Endpoint, epoch: Instant) -> Arc<Self> {
        let state = Arc::new(State {
            epoch,
            in_flight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
        });
        Arc::new(Self { endpoint, state })
    }

    /// The same address, of which the resolver says something new.
    pub(super) fn renewed(&self, endpoint: Endpoint) -> Arc<Self> {
        Arc::new(Self {
            endpoint: self.endpoint.renewed(endpoint),
            state: Arc::clone(&self.state),
        })
    }

    pub(super) fn load(&self) -> usize {
        self.state.in_flight.load(Ordering::Relaxed)
    }

    /// Whether the endpoint failed lately. Costs no look at the clock for one that never did.
    pub(super) fn is_out(&self) -> bool {
        let until = self.state.out_until.load(Ordering::Relaxed);
        until != 0 && self.state.now() < until
    }

    pub(super) fn is_among(&self, tried: &[Picked]) -> bool {
        tried
            .iter()
            .any(|picked| Arc::ptr_eq(&picked.0.0.state, &self.state))
    }
}

impl State {
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    /// Leaves the endpoint out for a while that doubles with each failure in a row.
    pub(super) fn fail(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(5);
        let pause = FIRST_PAUSE.saturating_mul(1 << failures).min(LONGEST_PAUSE);
        let until = self.now() + pause.as_millis() as u64;
        self.out_until.store(until, Ordering::Relaxed);
    }

    pub(super) fn succeed(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.out_until.store(0, Ordering::Relaxed);
        }
    }
}

/// An endpoint picked for one attempt, which counts as one in flight there until this is dropped.
#[derive(Debug)]
pub struct Picked(InFlight);

/// A call in flight to an endpoint. The endpoint's count goes down when this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Slot>);

impl Picked {
    pub(super) fn new(slot: &Arc<Slot>) -> Self {
        slot.state.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(InFlight(Arc::clone(slot)))
    }

    /// Where to send the attempt.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.0.endpoint
    }

    /// The attempt reached the endpoint; the count goes on with what is returned.
    pub fn succeeded(self) -> InFlight {
        self.0.0.state.succeed();
        self.0
    }

    /// The endpoint could not be reached: it is left out for a while.
    pub(crate) fn failed(&self) {
        self.0.0.state.fail();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
