//! What the balancer knows of each endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Endpoint;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One endpoint with its load and its recent failures. All of it is atomic: picking takes no lock.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) endpoint: Endpoint,
    epoch: Instant,
    in_flight: AtomicUsize,
    failures: AtomicU32,
    /// Milliseconds after `epoch` until which the endpoint is left out.
    out_until: AtomicU64,
}

impl Slot {
    pub(super) fn new(endpoint: Endpoint) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            epoch: Instant::now(),
            in_flight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
        })
    }

    pub(super) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether the endpoint failed lately. Costs no look at the clock for one that never did.
    pub(super) fn is_out(&self) -> bool {
        let until = self.out_until.load(Ordering::Relaxed);
        until != 0 && (self.epoch.elapsed().as_millis() as u64) < until
    }

    /// Leaves the endpoint out for a while that doubles with each failure in a row.
    pub(super) fn fail(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(5);
        let pause = FIRST_PAUSE.saturating_mul(1 << failures).min(LONGEST_PAUSE);
        let until = (self.epoch.elapsed() + pause).as_millis() as u64;
        self.out_until.store(until, Ordering::Relaxed);
    }

    pub(super) fn succeed(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.out_until.store(0, Ordering::Relaxed);
        }
    }
}

/// A call in flight to an endpoint. The endpoint's count goes down when this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Slot>);

impl InFlight {
    pub(super) fn new(slot: &Arc<Slot>) -> Self {
        slot.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(slot))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Picks the less loaded of two endpoints taken at random, leaving out those that `skip` names and, as long as
/// others remain, those that failed lately.
pub(super) fn pick<'a>(slots: &'a [Arc<Slot>], skip: &[Endpoint]) -> Option<&'a Arc<Slot>> {
    if let [only] = slots {
        return (!skip.contains(&only.endpoint)).then_some(only);
    }
    let allowed = |slot: &&Arc<Slot>| !skip.contains(&slot.endpoint);
    let healthy = |slot: &&Arc<Slot>| allowed(slot) && !slot.is_out();
    let count = slots.iter().filter(healthy).count();
    if count > 0 {
        return two_choices(&slots.iter().filter(healthy), count);
    }
    let count = slots.iter().filter(allowed).count();
    two_choices(&slots.iter().filter(allowed), count)
}

fn two_choices<'a>(
    candidates: &(impl Iterator<Item = &'a Arc<Slot>> + Clone),
    count: usize,
) -> Option<&'a Arc<Slot>> {
    if count <= 1 {
        return candidates.clone().next();
    }
    let first = fastrand::usize(..count);
    let second = (first + fastrand::usize(1..count)) % count;
    let nth = |index| candidates.clone().nth(index);
    match (nth(first), nth(second)) {
        (Some(a), Some(b)) => Some(if b.load() < a.load() { b } else { a }),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: usize) -> Vec<Arc<Slot>> {
        (0..count)
            .map(|port| Slot::new(Endpoint::new(format!("127.0.0.1:{port}"))))
            .collect()
    }

    #[test]
    fn the_less_loaded_of_two_is_picked() {
        let slots = slots(2);
        let _load = InFlight::new(&slots[0]);
        for _ in 0..20 {
            assert_eq!(pick(&slots, &[]).unwrap().endpoint, slots[1].endpoint);
        }
    }

    #[test]
    fn load_spreads() {
        let slots = slots(3);
        let held: Vec<_> = (0..300)
            .map(|_| InFlight::new(pick(&slots, &[]).unwrap()))
            .collect();
        assert!(
            slots.iter().all(|slot| slot.load() > 80),
            "{:?}",
            slots.iter().map(|s| s.load()).collect::<Vec<_>>()
        );
        drop(held);
        assert!(slots.iter().all(|slot| slot.load() == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_endpoint_is_left_out_for_a_while() {
        let slots = slots(2);
        slots[0].fail();
        for _ in 0..20 {
            assert_eq!(pick(&slots, &[]).unwrap().endpoint, slots[1].endpoint);
        }
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert!(!slots[0].is_out());
        slots[0].fail();
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert!(slots[0].is_out(), "the second failure in a row counts double");
        slots[0].succeed();
        assert!(!slots[0].is_out());
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_failed_any_is_better_than_none() {
        let slots = slots(2);
        slots[0].fail();
        slots[1].fail();
        assert!(pick(&slots, &[]).is_some());
        assert!(pick(&slots, &[slots[0].endpoint.clone(), slots[1].endpoint.clone()]).is_none());
        assert!(pick(&slots[..1], &[slots[0].endpoint.clone()]).is_none());
    }
}
