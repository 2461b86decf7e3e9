//! For how long a connection is used again.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How many calls a connection serves, and until which age. Cloning shares the bounds, which may change at any time:
/// connections that are there are held to the new ones from their next call on.
///
/// Without bounds, which is the default, connections are kept for as long as they are of use. Whatever shares
/// connections out, and not calls, in front of an origin (a service of Kubernetes, a mesh, a load balancer of TCP) needs
/// some.
#[derive(Clone, Debug, Default)]
pub struct Reuse(Arc<Bounds>);

/// 0 is no bound.
#[derive(Debug, Default)]
struct Bounds {
    most_calls: AtomicU32,
    /// In milliseconds.
    max_age: AtomicU64,
}

impl Reuse {
    /// Sets the bounds; `None` is none. An age is taken in whole milliseconds, one at least.
    pub fn set(&self, most_calls: Option<NonZeroU32>, max_age: Option<Duration>) {
        let millis = max_age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1));
        let calls = most_calls.map_or(0, NonZeroU32::get);
        self.0.most_calls.store(calls, Ordering::Relaxed);
        self.0.max_age.store(millis, Ordering::Relaxed);
    }

    /// How many calls a connection serves.
    pub(super) fn most_calls(&self) -> u32 {
        match self.0.most_calls.load(Ordering::Relaxed) {
            0 => u32::MAX,
            most => most,
        }
    }

    /// The age after which a connection takes no more calls.
    pub(super) fn max_age(&self) -> Option<Duration> {
        let millis = self.0.max_age.load(Ordering::Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// Whether there is any bound.
    pub(super) fn is_bounded(&self) -> bool {
        self.most_calls() < u32::MAX || self.max_age().is_some()
    }

    /// Whether a connection that was made then and has got so many calls takes no more. The clock is not asked unless
    /// it matters.
    pub(super) fn is_over(&self, made: Instant, calls: u32) -> bool {
        calls >= self.most_calls() || self.max_age().is_some_and(|age| made.elapsed() >= age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_over() {
        let (second, ten) = (Duration::from_secs(1), NonZeroU32::new(10));
        // Bounds, calls, age, whether that is all.
        let cases = [
            (None, None, u32::MAX - 1, 1_000_000 * second, false),
            (ten, None, 9, 1_000_000 * second, false),
            (ten, None, 10, Duration::ZERO, true),
            (ten, None, 11, Duration::ZERO, true),
            (None, Some(second), 1_000_000, second / 2, false),
            (None, Some(second), 0, second, true),
            (ten, Some(second), 9, second / 2, false),
            (ten, Some(second), 9, second, true),
            (None, Some(Duration::from_micros(1)), 0, Duration::ZERO, false),
            (
                None,
                Some(Duration::from_micros(1)),
                0,
                Duration::from_millis(1),
                true,
            ),
        ];
        let reuse = Reuse::default();
        let shared = reuse.clone();
        for (most_calls, max_age, calls, age, wanted) in cases {
            reuse.set(most_calls, max_age);
            let made = Instant::now();
            tokio::time::advance(age).await;
            let case = format!("{most_calls:?} {max_age:?} {calls} {age:?}");
            assert_eq!(shared.is_over(made, calls), wanted, "{case}");
            assert_eq!(
                shared.is_bounded(),
                most_calls.is_some() || max_age.is_some(),
                "{case}"
            );
        }
    }
}
