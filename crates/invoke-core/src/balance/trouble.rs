//! For how long an endpoint that failed is left out.

use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So long one call has to find out whether an endpoint is well again, before another one may.
pub(super) const TRIAL: Duration = Duration::from_secs(1);
/// After so many failures in a row the pause is the longest.
const MOST_FAILURES: u64 = 6;
/// So many calls in a row that nothing came of for at least [`TRIAL`] are a failure: an instance that stands still refuses
/// nobody, and whoever gives up after two seconds does not wait until connecting or a connection has failed.
const MOST_STALLS: u64 = 5;

/// The failures of an endpoint in a row, and until when it is left out, in one word: a failure and a success that are told
/// at the same moment leave behind one of both, never a pause without a failure, which no success would end.
///
/// After the pause one call goes there, and the others go on to pass it by until they know what came of that: where
/// connecting takes a long time to fail, all of them would wait for it.
#[derive(Debug, Default)]
pub(super) struct Trouble(AtomicU64);

#[derive(Clone, Copy)]
struct Known {
    failures: u64,
    /// Calls in a row, since the last answer or failure, that nothing came of.
    stalls: u64,
    /// In milliseconds.
    until: u64,
}

/// The bits of each of both counts. Those that are left are good for two million years.
const BITS: u32 = 4;
const COUNT: u64 = (1 << BITS) - 1;

impl Known {
    fn of(word: u64) -> Self {
        Self {
            failures: word & COUNT,
            stalls: word >> BITS & COUNT,
            until: word >> (2 * BITS),
        }
    }

    fn word(self) -> u64 {
        self.until << (2 * BITS) | self.stalls << BITS | self.failures
    }

    /// After one more failure.
    fn failed(self, now: u64) -> Self {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures).min(LONGEST_PAUSE);
        Self {
            failures: (self.failures + 1).min(MOST_FAILURES),
            stalls: 0,
            until: now + pause.as_millis() as u64,
        }
    }

    fn tried(self, now: u64) -> Self {
        Self {
            until: now + TRIAL.as_millis() as u64,
            ..self
        }
    }
}

impl Trouble {
    /// Whether the endpoint is to be left out. Asks for the time, in milliseconds, only if it ever failed.
    pub(super) fn is_out(&self, now: impl FnOnce() -> u64) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        word != 0 && now() < Known::of(word).until
    }

    /// The endpoint failed. The pause doubles with each failure in a row. Calls that were in flight together and fail
    /// together count as one failure. A call that was sent during the pause, because no other endpoint was left, counts
    /// for nothing. Returns whether the failure counts.
    pub(super) fn fail(&self, is_trial: bool, now: u64) -> bool {
        let next = |known: Known| (is_trial || now >= known.until).then(|| known.failed(now));
        self.change(next).is_some()
    }

    /// Nothing came of a call for at least [`TRIAL`]. If that is so of some in a row it failed: whether it did now.
    pub(super) fn stall(&self, now: u64) -> bool {
        let before = self.change(|known| {
            let stalls = known.stalls + 1;
            let next = if stalls < MOST_STALLS {
                Known { stalls, ..known }
            } else {
                known.failed(now)
            };
            (now >= known.until).then_some(next)
        });
        before.is_some_and(|known| known.stalls + 1 >= MOST_STALLS)
    }

    /// It is well; whether it had failed before.
    pub(super) fn succeed(&self) -> bool {
        let is_unknown = self.0.load(Ordering::Relaxed) == 0;
        !is_unknown && Known::of(self.0.swap(0, Ordering::Relaxed)).failures > 0
    }

    /// A call goes there; whether it is the one that finds out whether the endpoint is well again.
    pub(super) fn begin_trial(&self, now: impl FnOnce() -> u64) -> bool {
        if self.0.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let now = now();
        self.change(|known| (known.failures > 0 && now >= known.until).then(|| known.tried(now)))
            .is_some()
    }

    /// Changes what is known, unless there is nothing to change; what was known before.
    fn change(&self, next: impl Fn(Known) -> Option<Known>) -> Option<Known> {
        let next = |word| next(Known::of(word)).map(Known::word);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()
            .map(Known::of)
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model {
    //! A failure and a success at the same time.

    use std::sync::Arc;

    use shuttle::thread;

    use super::*;
    use schedules::explore;

    /// Whatever is told at the same time: the next success ends what there is.
    #[test]
    fn no_pause_outlives_a_success() {
        explore(1000, || {
            let trouble = Arc::new(Trouble::default());
            trouble.fail(false, 0);
            let others = [0, 1].map(|which| {
                let trouble = Arc::clone(&trouble);
                thread::spawn(move || {
                    if which == 0 {
                        trouble.fail(trouble.begin_trial(|| 2000), 2000);
                    } else {
                        trouble.succeed();
                    }
                })
            });
            for other in others {
                other.join().unwrap();
            }
            trouble.succeed();
            assert!(!trouble.is_out(|| 2001), "{trouble:?}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_out(trouble: &Trouble, now: u64) -> bool {
        trouble.is_out(|| now)
    }

    #[test]
    fn the_pause_doubles_up_to_half_a_minute() {
        let trouble = Trouble::default();
        assert!(!trouble.is_out(|| panic!("nobody needs the time")));
        let mut now = 0;
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            trouble.fail(false, now);
            assert!(is_out(&trouble, now + seconds * 1000 - 1), "{seconds}");
            now += seconds * 1000;
            assert!(!is_out(&trouble, now), "{seconds}");
        }
        assert!(trouble.succeed());
        assert!(!trouble.succeed());
        trouble.fail(false, now);
        assert!(!is_out(&trouble, now + 1000), "it begins anew");
    }

    #[test]
    fn what_fails_together_is_one_failure() {
        let trouble = Trouble::default();
        let failures = (0..100).filter(|at| trouble.fail(false, *at));
        assert_eq!(failures.count(), 1);
        assert!(is_out(&trouble, 999));
        assert!(!is_out(&trouble, 1000));
    }

    #[test]
    fn who_stands_still_fails() {
        let trouble = Trouble::default();
        assert!((0..4).all(|at| !trouble.stall(at)));
        assert!(!trouble.succeed(), "an answer says that it did not fail");
        assert!((0..4).all(|at| !trouble.stall(at)));
        assert!(!is_out(&trouble, 4));
        assert!(!trouble.begin_trial(|| 4));
        assert_eq!(
            (0..100).filter(|_| trouble.stall(5)).count(),
            1,
            "they failed together"
        );
        assert!(is_out(&trouble, 1004));
        assert!(!is_out(&trouble, 1005));
        assert!(trouble.begin_trial(|| 1005));
    }

    #[test]
    fn one_call_finds_out() {
        let trouble = Trouble::default();
        assert!(!trouble.begin_trial(|| panic!("nobody needs the time")));
        trouble.fail(false, 0);
        assert!(
            !trouble.begin_trial(|| 999),
            "it is there since there was nobody else"
        );
        assert!(trouble.begin_trial(|| 1000));
        assert!(is_out(&trouble, 1001), "the others pass it by");
        assert!(!trouble.begin_trial(|| 1001));
        trouble.fail(false, 1500);
        assert!(
            !is_out(&trouble, 2000),
            "one that had been on its way says nothing new"
        );
        assert!(
            trouble.begin_trial(|| 2000),
            "the first one has been away for long"
        );
        trouble.fail(true, 2500);
        assert!(is_out(&trouble, 4499));
        assert!(trouble.begin_trial(|| 4500));
        assert!(trouble.succeed());
        assert!(!is_out(&trouble, 4501));
    }
}
