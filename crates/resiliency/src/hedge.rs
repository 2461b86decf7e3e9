//! When a call is made to a second endpoint beside the first.
//!
//! Only verbs that may be repeated without harm are hedged (RFC 9110, section 9.2.2): GET, HEAD and OPTIONS, and PUT,
//! DELETE and TRACE if the policy names them. The delay is fixed, or that within which a share of the calls of late were
//! answered.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use invoke_core::Verb;

use crate::budget::{Budget, Settings as BudgetSettings};

/// So many answers must have been seen before anything is made of them.
const LEAST: u32 = 100;
/// After so many the counts are halved, so that what was long ago fades.
const FADES: u32 = 2048;
/// Each doubling of the time has so many buckets.
const PARTS: usize = 8;
/// From 64 µs on for 22 doublings: about four and a half minutes.
const BUCKETS: usize = 22 * PARTS;
const SHORTEST: Duration = Duration::from_micros(64);

/// How hedging is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// After which time; with a quantile, as long as too little is known.
    pub(crate) delay: Option<Duration>,
    /// The share of answers, in thousandths, that are waited for.
    pub(crate) quantile: Option<u32>,
    /// The verbs that are hedged besides those that are safe.
    pub(crate) verbs: Vec<Verb>,
    pub(crate) budget: BudgetSettings,
}

/// The hedging of the calls to one target.
#[derive(Debug)]
pub(crate) struct Hedge {
    settings: Settings,
    pub(crate) budget: Budget,
    latencies: Option<Latencies>,
}

impl Hedge {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            budget: Budget::new(settings.budget),
            latencies: settings.quantile.map(|_| Latencies::default()),
            settings: settings.clone(),
        }
    }

    /// Whether calls with this verb may be made twice.
    pub(crate) fn is_for(&self, verb: Option<Verb>) -> bool {
        verb.is_some_and(|verb| {
            matches!(verb, Verb::GET | Verb::HEAD | Verb::OPTIONS) || self.settings.verbs.contains(&verb)
        })
    }

    /// Whether it wants to know how long answers take.
    pub(crate) fn is_timed(&self) -> bool {
        self.latencies.is_some()
    }

    /// An answer came after this time.
    pub(crate) fn answered(&self, after: Duration) {
        if let Some(latencies) = &self.latencies {
            latencies.add(after);
        }
    }

    /// After which time an attempt is hedged, as far as that is known.
    pub(crate) fn delay(&self) -> Option<Duration> {
        let observed = match (&self.latencies, self.settings.quantile) {
            (Some(latencies), Some(quantile)) => latencies.quantile(quantile),
            _ => None,
        };
        observed.or(self.settings.delay)
    }
}

/// How long answers took of late: counts in buckets that grow with the time, without a lock.
#[derive(Debug)]
struct Latencies {
    buckets: [AtomicU32; BUCKETS],
    total: AtomicU32,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            total: AtomicU32::new(0),
        }
    }
}

impl Latencies {
    fn add(&self, after: Duration) {
        self.buckets[bucket(after)].fetch_add(1, Ordering::Relaxed);
        let total = self.total.fetch_add(1, Ordering::Relaxed) + 1;
        // One of the threads halves the counts; what others add meanwhile may be lost, and does not matter.
        if total >= FADES
            && self
                .total
                .compare_exchange(total, total / 2, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            for count in &self.buckets {
                let half = count.load(Ordering::Relaxed).div_ceil(2);
                count.fetch_sub(half, Ordering::Relaxed);
            }
        }
    }

    /// The time within which that many of a thousand were answered.
    fn quantile(&self, thousandths: u32) -> Option<Duration> {
        if self.total.load(Ordering::Relaxed) < LEAST {
            return None;
        }
        let counts = || {
            self.buckets
                .iter()
                .map(|count| u64::from(count.load(Ordering::Relaxed)))
        };
        let wanted = (counts().sum::<u64>() * u64::from(thousandths)).div_ceil(1000);
        let mut seen = 0;
        let place = counts().position(|count| {
            seen += count;
            seen >= wanted
        });
        place.map(upper)
    }
}

/// The bucket of a time: how often the shortest one doubles, and which part of that it is.
fn bucket(after: Duration) -> usize {
    let parts = after.as_nanos() * PARTS as u128 / SHORTEST.as_nanos();
    let parts = u32::try_from(parts).unwrap_or(u32::MAX).max(PARTS as u32);
    let doublings = (parts / PARTS as u32).ilog2();
    let part = (parts >> doublings) as usize - PARTS;
    (doublings as usize * PARTS + part).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn upper(bucket: usize) -> Duration {
    let (doublings, part) = (bucket / PARTS, bucket % PARTS);
    let units = ((PARTS + part + 1) as f64 / PARTS as f64) * f64::from(1u32 << doublings);
    SHORTEST.mul_f64(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_time_is_below_the_end_of_its_bucket_and_not_far_below() {
        for micros in [
            0,
            1,
            63,
            64,
            100,
            999,
            1000,
            12_345,
            1_000_000,
            60_000_000,
            200_000_000,
        ] {
            let time = Duration::from_micros(micros);
            let end = upper(bucket(time));
            assert!(
                end > time && end <= time.mul_f64(1.25).max(SHORTEST * 2),
                "{time:?} {end:?}"
            );
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_follow_what_is_observed() {
        let latencies = Latencies::default();
        for _ in 0..LEAST - 1 {
            latencies.add(millis(10));
        }
        assert_eq!(latencies.quantile(950), None, "too little is known");
        (0..900).for_each(|_| latencies.add(millis(10)));
        (0..100).for_each(|_| latencies.add(millis(500)));
        let (most, tail) = (latencies.quantile(500).unwrap(), latencies.quantile(990).unwrap());
        assert!((millis(10)..millis(13)).contains(&most), "{most:?}");
        assert!((millis(500)..millis(625)).contains(&tail), "{tail:?}");
        (0..20_000).for_each(|_| latencies.add(millis(20)));
        let now = latencies.quantile(990).unwrap();
        assert!(
            (millis(20)..millis(26)).contains(&now),
            "what was long ago fades: {now:?}"
        );
    }
}
