//! A limit that a resource grows into: after a while without calls fewer pass, and more from second to second.
//!
//! There is a store of tokens that time fills and calls empty. The fuller it is, the colder is the resource.

use std::sync::{Mutex, PoisonError};

use super::clock::Moment;

/// The factor of a rule that has none.
const COLD_FACTOR: u32 = 3;

/// A limit with a cold start.
#[derive(Debug)]
pub(super) struct WarmUp {
    threshold: f64,
    factor: u32,
    /// With more tokens the resource is cold.
    warning: i64,
    most: i64,
    slope: f64,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    tokens: i64,
    /// The second that it was filled last, in milliseconds.
    filled: u64,
}

impl WarmUp {
    /// A limit that is reached in `period` seconds, from `1 / factor` of it on.
    pub(super) fn new(threshold: f64, period: u32, factor: u32) -> Self {
        let factor = if factor <= 1 { COLD_FACTOR } else { factor };
        let (period, cold) = (f64::from(period), f64::from(factor));
        let warning = (period * threshold / (cold - 1.0)) as i64;
        let most = warning.saturating_add((2.0 * period * threshold / (1.0 + cold)) as i64);
        Self {
            threshold,
            factor,
            warning,
            most,
            slope: (cold - 1.0) / threshold / (most - warning) as f64,
            store: Mutex::default(),
        }
    }

    /// How many may pass in an interval; `before` says how many passed in a second just now.
    pub(super) fn allowed(&self, now: Moment, before: impl FnOnce() -> f64) -> f64 {
        let second = now.millis() - now.millis() % 1000;
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if second > store.filled {
            let passed = before();
            let tokens = self.filled(&store, second, passed);
            store.tokens = tokens.saturating_sub(passed as i64).max(0);
            store.filled = second;
        }
        let tokens = store.tokens;
        drop(store);
        if tokens < self.warning {
            return self.threshold;
        }
        let above = (tokens - self.warning) as f64;
        let allowed = (1.0 / (above * self.slope + 1.0 / self.threshold)).next_up();
        // A limit that is too low to have a cold start is itself.
        if allowed.is_nan() { self.threshold } else { allowed }
    }

    fn filled(&self, store: &Store, second: u64, passed: f64) -> i64 {
        let cold = f64::from(self.threshold as u32 / self.factor);
        let is_filled = store.tokens < self.warning || (store.tokens > self.warning && passed < cold);
        if !is_filled {
            return store.tokens.min(self.most);
        }
        let more = (second - store.filled) as f64 * self.threshold / 1000.0;
        ((store.tokens as f64 + more) as i64).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_cold_to_warm() {
        let warm_up = WarmUp::new(10.0, 2, 3);
        let allowed = |second: u64, passed: f64| {
            let allowed = warm_up.allowed(Moment((1000 + second) * 1_000_000_000), || passed);
            (allowed * 10.0).round() as i64
        };
        for (second, passed, wanted) in [
            (0, 0.0, 33),
            (0, 9.0, 33),
            (1, 3.0, 42),
            (2, 4.0, 63),
            (3, 6.0, 100),
            (4, 10.0, 100),
            (60, 0.0, 33),
        ] {
            assert_eq!(allowed(second, passed), wanted, "{second}");
        }
    }

    #[test]
    fn limits_that_have_no_cold_start() {
        for (threshold, period, wanted) in [(0.0, 5, 0.0), (1.0, 1, 1.0), (0.5, 1, 0.5)] {
            let warm_up = WarmUp::new(threshold, period, 0);
            let allowed = warm_up.allowed(Moment(5_000_000_000), || 0.0);
            assert!((allowed - wanted).abs() < 1e-9, "{threshold}: {allowed}");
        }
    }
}
