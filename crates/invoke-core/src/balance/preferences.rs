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
