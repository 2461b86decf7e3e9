//! What a sidecar prefers among the endpoints of an app.

use std::sync::Arc;
use std::time::Duration;

use super::affinity::Affinity;
use super::slots::Slot;

/// A call leaves the zone when the endpoint there has more than so many times the calls in flight that another has.
const FAR: u64 = 4;
/// A new endpoint gets this part of its share from the beginning: nobody gets warm without calls.
const LEAST: u32 = 10;

/// What a sidecar prefers among the endpoints of an app. Nothing, unless it is said; then a pick looks no further than
/// before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    zone: Option<Arc<str>>,
    slow_start: Option<Duration>,
    part: Option<Part>,
}

/// A part of the endpoints of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Sets that are larger are called in part.
    pub(super) most: usize,
    /// Which part that is.
    pub(super) of: Affinity,
}

impl Preferences {
    /// Prefers endpoints of this zone, as long as they are not much busier than others.
    #[must_use]
    pub fn in_zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Lets the share of an endpoint that comes to others grow for so long, from a tenth to the whole.
    #[must_use]
    pub fn with_slow_start(mut self, time: Duration) -> Self {
        self.slow_start = Some(time).filter(|time| !time.is_zero());
        self
    }

    /// Calls no more than so many endpoints of an app. Which of them depends on `caller`, which must be another one for
    /// each sidecar: then each endpoint has nearly the same number of callers. An endpoint that leaves is replaced by
    /// one other, and nobody else.
    #[must_use]
    pub fn within(mut self, most: usize, caller: &str) -> Self {
        let of = Affinity::of(caller.as_bytes());
        self.part = Some(Part {
            most: most.max(1),
            of,
        });
        self
    }

    /// The part of the endpoints that is called, if there are more than that.
    pub(super) fn part(&self, count: usize) -> Option<Part> {
        self.part.filter(|part| part.most < count)
    }

    /// Whether there is a zone to be preferred.
    pub(super) fn has_zone(&self) -> bool {
        self.zone.is_some()
    }

    /// Whether an endpoint is where it is preferred to be; all of them are when nothing is preferred.
    pub(super) fn is_near(&self, slot: &Slot) -> bool {
        self.zone.is_none() || slot.endpoint.zone() == self.zone.as_deref()
    }

    /// Whether an endpoint is warm enough to be drawn now. One of half the time is, every other time.
    pub(super) fn is_warm(&self, slot: &Slot) -> bool {
        let Some(time) = self.slow_start else { return true };
        let Some(age) = slot.age() else { return true };
        age >= time || {
            let least = time / LEAST;
            time.mul_f64(fastrand::f64()) < age.max(least)
        }
    }

    /// How many times the load of the first one counts beside that of the second.
    pub(super) fn handicaps(&self, one: &Slot, other: &Slot) -> (u64, u64) {
        match (self.is_near(one), self.is_near(other)) {
            (true, false) => (1, FAR),
            (false, true) => (FAR, 1),
            _ => (1, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::super::Endpoint;
    use super::super::pick::Set;
    use super::*;

    fn set(ports: impl Iterator<Item = usize>) -> Set {
        let slot = |port| {
            Slot::new(
                Endpoint::new(format!("10.0.0.1:{port}")),
                Instant::now(),
                false,
                &Arc::default(),
            )
        };
        Set::new(ports.map(slot).collect())
    }

    /// The addresses that a sidecar calls.
    fn called(set: &Set, most: usize, caller: usize) -> Vec<Arc<str>> {
        let preferences = Preferences::default().within(most, &format!("10.1.{caller}.1:50002"));
        let part = set.part(&preferences).unwrap_or(set);
        part.slots
            .iter()
            .map(|slot| Arc::clone(slot.endpoint.address()))
            .collect()
    }

    #[test]
    fn callers_are_spread_evenly_over_the_endpoints_of_a_large_set() {
        let mut callers = std::collections::HashMap::new();
        for caller in 0..400 {
            // Each sidecar has a set of its own, with a part of its own.
            let called = called(&set(0..400), 80, caller);
            assert_eq!(called.len(), 80);
            for address in called {
                *callers.entry(address).or_insert(0_u32) += 1;
            }
        }
        assert_eq!(callers.len(), 400);
        let (least, most) = (callers.values().min().unwrap(), callers.values().max().unwrap());
        // Eighty, give or take some three times the square root.
        assert!(*least > 50 && *most < 110, "{least} to {most}");
    }

    #[test]
    fn one_that_leaves_is_replaced_by_one_other_and_small_sets_are_called_whole() {
        for caller in 0..50 {
            let before = called(&set(0..300), 20, caller);
            for gone in [7, 150] {
                let after = called(&set((0..300).filter(|port| *port != gone)), 20, caller);
                let stayed = before.iter().filter(|address| after.contains(address)).count();
                let was_called = before.contains(&format!("10.0.0.1:{gone}").into());
                assert_eq!(stayed, if was_called { 19 } else { 20 });
            }
            assert_eq!(called(&set(0..20), 20, caller).len(), 20);
        }
    }

    /// A pick goes to one of the part, and beyond it when all of those were tried.
    #[test]
    fn picks_stay_in_the_part() {
        let set = set(0..100);
        let preferences = Preferences::default().within(3, "me:1");
        let mut tried = Vec::new();
        let mut addresses = std::collections::HashSet::new();
        for _ in 0..200 {
            let picked = set.pick(&[], &preferences, None).unwrap();
            if addresses.insert(Arc::clone(picked.endpoint().address())) {
                tried.push(picked.tried());
            }
        }
        assert_eq!(addresses.len(), 3);
        let other = set.pick(&tried, &preferences, None).unwrap();
        assert!(!addresses.contains(other.endpoint().address()));
    }
}
