//! Streams that were reset here.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

/// How many streams a client may begin and reset a second before they are answered, and how many at once after it was
/// quiet. As many more as are answered: who gives up every other call is not slowed down.
const RESETS_PER_SECOND: u32 = 2000;

/// How many are remembered one by one.
const REMEMBERED: usize = 64;

/// The streams of the peer that were reset here lately. The peer may have sent more on them before it heard of that
/// (RFC 9113, section 5.1), while on others nothing may come after their end.
#[derive(Debug, Default)]
pub(crate) struct Resets {
    latest: VecDeque<u32>,
    /// Any stream up to this one may have been reset.
    forgotten: u32,
}

impl Resets {
    pub(super) fn remember(&mut self, id: u32) {
        if self.latest.len() >= REMEMBERED
            && let Some(oldest) = self.latest.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.latest.push_back(id);
    }

    /// Whether more may come on a stream.
    pub(super) fn may_have(&self, id: u32) -> bool {
        id <= self.forgotten || self.latest.contains(&id)
    }
}

/// How fast a client may give up what it has begun. Each such stream is work, and none of it counts towards the limit
/// of streams that are open: so a client that does nothing else is read more slowly (CVE-2023-44487).
#[derive(Debug)]
pub(crate) struct Churn {
    /// How many more streams it may reset. Below zero it must wait.
    left: i64,
    since: Instant,
}

impl Churn {
    pub(super) fn new() -> Self {
        Self {
            left: RESETS_PER_SECOND.into(),
            since: Instant::now(),
        }
    }

    /// The client reset a stream that was not answered.
    pub(super) fn resets(&mut self) {
        self.left -= 1;
    }

    /// A stream was answered.
    pub(super) fn answers(&mut self) {
        self.left = (self.left + 1).min(RESETS_PER_SECOND.into());
    }

    /// How long nothing more is to be read; nothing if that is not so.
    pub(crate) fn pause(&mut self) -> Option<Duration> {
        if self.left >= 0 {
            return None;
        }
        let now = Instant::now();
        let rate = i64::from(RESETS_PER_SECOND);
        let earned = (now - self.since).as_millis() as i64 * rate / 1000;
        if earned > 0 {
            self.left = (self.left + earned).min(rate);
            self.since = now;
        }
        (self.left < 0).then(|| Duration::from_millis((-self.left * 1000 / rate).max(1) as u64))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn resets_have_a_rate() {
        let mut churn = Churn::new();
        for _ in 0..RESETS_PER_SECOND {
            churn.resets();
        }
        assert_eq!(churn.pause(), None);
        for _ in 0..1000 {
            churn.resets();
        }
        advance(Duration::from_millis(100)).await;
        assert_eq!(churn.pause(), Some(Duration::from_millis(400)));
        assert_eq!(
            churn.pause(),
            Some(Duration::from_millis(400)),
            "time counts once"
        );
        advance(Duration::from_millis(400)).await;
        assert_eq!(churn.pause(), None);
        for _ in 0..10 * RESETS_PER_SECOND {
            churn.answers();
            churn.resets();
        }
        assert_eq!(churn.pause(), None, "half of the calls are given up");
    }

    #[test]
    fn what_is_forgotten_counts_as_reset() {
        let mut resets = Resets::default();
        for n in 1..=REMEMBERED as u32 {
            resets.remember(n * 4 + 1);
        }
        assert!(resets.may_have(5) && !resets.may_have(7) && !resets.may_have(3));
        resets.remember(1001);
        assert!(resets.may_have(5) && resets.may_have(3) && !resets.may_have(7));
        assert!(resets.may_have(1001) && !resets.may_have(1003));
        assert_eq!(resets.latest.len(), REMEMBERED);
    }
}
