//! Time as rules count it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A moment, in nanoseconds since 1970. Windows begin at multiples of their length, counted from then, as in Sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    /// In milliseconds.
    pub(super) fn millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// A clock that never goes back: what the clock of the system does after the start does not count.
#[derive(Debug)]
pub(super) struct Clock {
    begun: Instant,
    since_1970: u64,
    /// A clock that is moved by hand.
    #[cfg(test)]
    hand: Option<std::sync::atomic::AtomicU64>,
}

impl Clock {
    pub(super) fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            begun: Instant::now(),
            since_1970: u64::try_from(since_1970.as_nanos()).unwrap_or(0),
            #[cfg(test)]
            hand: None,
        }
    }

    pub(super) fn now(&self) -> Moment {
        #[cfg(test)]
        if let Some(hand) = &self.hand {
            return Moment(hand.load(std::sync::atomic::Ordering::Relaxed));
        }
        let elapsed = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Moment(self.since_1970.saturating_add(elapsed))
    }

    pub(super) async fn sleep(&self, wait: Duration) {
        #[cfg(test)]
        if self.hand.is_some() {
            return self.advance(wait);
        }
        tokio::time::sleep(wait).await;
    }

    #[cfg(test)]
    pub(super) fn by_hand(at: Moment) -> Self {
        Self {
            hand: Some(at.0.into()),
            ..Self::new()
        }
    }

    #[cfg(test)]
    pub(super) fn advance(&self, by: Duration) {
        if let Some(hand) = &self.hand {
            let by = u64::try_from(by.as_nanos()).unwrap();
            hand.fetch_add(by, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
