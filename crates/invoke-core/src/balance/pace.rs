//! How fast an endpoint answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Times below this are all the same: there the noise of a machine is larger than what instances differ in.
const FINEST: Duration = Duration::from_millis(1);
/// One answer makes an endpoint slower by this part at most. A single slow method, or a pause of a garbage collector, must
/// not turn all calls away from the instance that happened to have it.
const RISE: u32 = 4;
/// After this time without an answer what is known counts half: a slow endpoint is asked again, and may be well.
const HALF_LIFE: Duration = Duration::from_secs(5);
/// The unit in which the time of the last answer is kept.
const TICK: Duration = Duration::from_millis(100);

/// The time that an endpoint lately took from a call to the head of its answer, at its best: the least of the last
/// answers, which rises by a quarter with each one that took longer.
///
/// The first answer alone says nothing: it may be that of a slow method, or pay for a connection.
///
/// An average would follow the slowest methods of an app. The best of late is the same on all instances that are equally
/// fast, however different their methods are.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

/// What is kept, in one word: it is written as a whole or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Zero as long as there was no answer.
    micros: u32,
    /// When it was so, in ticks.
    at: u32,
    /// There was one answer.
    is_first: bool,
}

/// The bit of a word that is `is_first`: 2³¹ ticks are seven years.
const FIRST: u64 = 1 << 31;

impl Known {
    fn of(word: u64) -> Self {
        Self {
            micros: (word >> 32) as u32,
            at: (word & (FIRST - 1)) as u32,
            is_first: word & FIRST != 0,
        }
    }

    fn word(self) -> u64 {
        let first = if self.is_first { FIRST } else { 0 };
        u64::from(self.micros) << 32 | first | (u64::from(self.at) & (FIRST - 1))
    }

    fn is_sure(self) -> bool {
        self.micros != 0 && !self.is_first
    }

    /// What is left of it now.
    fn faded(self, now: u32) -> u32 {
        let halvings = now.saturating_sub(self.at) / ticks(HALF_LIFE).max(1);
        self.micros.checked_shr(halvings).unwrap_or(0)
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// A time after the beginning, in ticks.
pub(super) fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

impl Pace {
    /// An answer began after so long.
    pub(super) fn answered(&self, took: Duration, now: u32) {
        let took = micros(took).max(micros(FINEST));
        self.put(|known| took.min(risen(known)), took, now);
    }

    /// A call was given up that had waited for so long: it is no faster than that.
    pub(super) fn given_up(&self, waited: Duration, now: u32) {
        let waited = micros(waited);
        self.put(|known| waited.min(risen(known)).max(known), waited, now);
    }

    fn put(&self, next: impl Fn(u32) -> u32, first: u32, now: u32) {
        let known = Known::of(self.0.load(Ordering::Relaxed));
        let first = first.max(micros(FINEST));
        let next = Known {
            micros: match known.micros {
                0 => first,
                micros if known.is_first => micros.min(first),
                micros => next(micros),
            },
            at: now,
            is_first: known.micros == 0,
        };
        // Nearly all calls find what they would write, and the line of the cache stays shared. Of two that write at the
        // same time one is forgotten: the next answer says it again.
        if next != known {
            self.0.store(next.word(), Ordering::Relaxed);
        }
    }

    /// Whether one of two is faster than the other by more than chance. `None` if both are much the same, or one of
    /// them is not known: then the calls in flight decide. Looks at the clock only if it matters.
    pub(super) fn compare(&self, other: &Self, now: impl FnOnce() -> u32) -> Option<(u64, u64)> {
        let (one, other) = (
            Known::of(self.0.load(Ordering::Relaxed)),
            Known::of(other.0.load(Ordering::Relaxed)),
        );
        if !one.is_sure() || !other.is_sure() || are_alike(one.micros, other.micros) {
            return None;
        }
        let now = now();
        // Time makes nobody faster. It only makes it less certain that the slower one still is.
        let (one, other) = if one.micros > other.micros {
            (one.faded(now).max(other.micros), other.micros)
        } else {
            (one.micros, other.faded(now).max(one.micros))
        };
        (!are_alike(one, other)).then_some((one.into(), other.into()))
    }
}

fn risen(micros: u32) -> u32 {
    micros.saturating_add(micros / RISE)
}

fn are_alike(one: u32, other: u32) -> bool {
    one.max(other) / 2 <= one.min(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// After these answers, the first of which came twice.
    fn pace(answers: &[u64]) -> Pace {
        let pace = Pace::default();
        for answer in answers.first().into_iter().chain(answers) {
            pace.answered(millis(*answer), 0);
        }
        pace
    }

    fn known(pace: &Pace) -> u32 {
        Known::of(pace.0.load(Ordering::Relaxed)).micros
    }

    #[test]
    fn the_best_of_late() {
        for (answers, micros) in [
            (&[][..], 0),
            (&[0], 1_000),
            (&[20], 20_000),
            (&[20, 2], 2_000),
            (&[2, 5_000], 2_500),
            (&[2, 5_000, 2], 2_000),
            (&[2, 3, 3], 3_000),
        ] {
            assert_eq!(known(&pace(answers)), micros, "{answers:?}");
        }
        let first = Pace::default();
        first.answered(millis(5_000), 0);
        assert_eq!(first.compare(&pace(&[2]), || 0), None, "one answer says nothing");
        first.answered(millis(2), 0);
        assert_eq!(known(&first), 2_000);
        let endless = Pace::default();
        for at in [0, 0, u32::MAX] {
            endless.answered(Duration::MAX, at);
        }
        assert_eq!(known(&endless), u32::MAX);
    }

    #[test]
    fn calls_that_were_given_up_make_slower_and_never_faster() {
        let two = pace(&[2]);
        two.given_up(millis(0), 0);
        assert_eq!(known(&two), 2_000);
        two.given_up(millis(1_000), 0);
        assert_eq!(known(&two), 2_500);
        let none = Pace::default();
        none.given_up(millis(1_000), 0);
        assert_eq!(known(&none), 1_000_000);
    }

    #[test]
    fn what_is_alike_or_unknown_is_not_compared() {
        for (one, other, wanted) in [
            (&[2][..], &[20][..], Some((2_000, 20_000))),
            (&[20], &[2], Some((20_000, 2_000))),
            (&[2], &[4], None),
            (&[0], &[1], None),
            (&[], &[20], None),
            (&[20], &[], None),
            // One slow method, of an app whose others are fast.
            (&[2], &[2, 5_000], None),
        ] {
            assert_eq!(pace(one).compare(&pace(other), || 0), wanted, "{one:?} {other:?}");
        }
        pace(&[2]).compare(&pace(&[3]), || panic!("the clock does not matter"));
    }

    #[test]
    fn what_was_slow_long_ago_is_asked_again() {
        let (fast, slow) = (pace(&[2]), pace(&[200]));
        let after = |time: Duration| {
            fast.answered(millis(2), ticks(time));
            fast.compare(&slow, || ticks(time))
        };
        assert_eq!(after(millis(4_900)), Some((2_000, 200_000)));
        assert_eq!(after(millis(5_000)), Some((2_000, 100_000)));
        assert_eq!(after(millis(25_000)), Some((2_000, 6_250)));
        assert_eq!(after(millis(30_000)), None);
        assert_eq!(after(Duration::from_secs(1 << 30)), None);
    }
}
