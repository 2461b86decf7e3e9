//! Numbers of the last moments, in bounded memory and without a lock.
//!
//! Time is cut into buckets of one length. A ring has so many of them; a bucket that is written to in a later round begins
//! anew. A bucket is one word, its number in time and its value, so that both change at once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::clock::Moment;

/// A ring of buckets. What is read is of the buckets that are still those of the time that is asked for.
#[derive(Debug)]
pub(super) struct Ring {
    buckets: Box<[AtomicU64]>,
    /// The length of a bucket, in milliseconds.
    length: u64,
    /// What a bucket begins with.
    empty: u32,
}

/// The number of a bucket, cut to the half of a word. It is the same again after 4 billion lengths.
fn tag(number: u64) -> u64 {
    number << 32
}

fn value(word: u64) -> u32 {
    (word & u64::from(u32::MAX)) as u32
}

impl Ring {
    /// So many buckets, at least one, of so many milliseconds, at least one.
    pub(super) fn new(count: usize, length: u64, empty: u32) -> Self {
        let bucket = || AtomicU64::new(u64::from(empty));
        Self {
            buckets: (0..count.max(1)).map(|_| bucket()).collect(),
            length: length.max(1),
            empty,
        }
    }

    fn bucket(&self, number: u64) -> &AtomicU64 {
        &self.buckets[(number % self.buckets.len() as u64) as usize]
    }

    fn read(&self, number: u64) -> Option<u32> {
        let word = self.bucket(number).load(Ordering::Relaxed);
        (word & tag(u64::MAX) == tag(number)).then(|| value(word))
    }

    /// Changes the bucket of a moment.
    pub(super) fn update(&self, at: Moment, change: impl Fn(u32) -> u32) {
        self.try_update(at, |value| Some(change(value)));
    }

    fn try_update(&self, at: Moment, change: impl Fn(u32) -> Option<u32>) -> bool {
        let number = at.millis() / self.length;
        let changed = |word| {
            let old = if word & tag(u64::MAX) == tag(number) {
                value(word)
            } else {
                self.empty
            };
            change(old).map(|new| tag(number) | u64::from(new))
        };
        let bucket = self.bucket(number);
        bucket
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed)
            .is_ok()
    }

    /// Counts one.
    pub(super) fn count(&self, at: Moment) {
        self.update(at, |value| value.saturating_add(1));
    }

    /// Counts one, unless the last `count` buckets have more than `most` with it.
    pub(super) fn take(&self, at: Moment, count: u64, most: f64) -> bool {
        let number = at.millis() / self.length;
        let others: u64 = (1..count)
            .filter_map(|back| self.read(number.checked_sub(back)?))
            .map(u64::from)
            .sum();
        self.try_update(at, |value| {
            let with_it = others + u64::from(value) + 1;
            (with_it as f64 <= most).then(|| value.saturating_add(1))
        })
    }

    /// Takes back what was counted at that moment, if its bucket is still there.
    pub(super) fn give_back(&self, at: Moment) {
        let number = at.millis() / self.length;
        let changed = |word| {
            let is_there = word & tag(u64::MAX) == tag(number);
            is_there.then(|| tag(number) | u64::from(value(word).saturating_sub(1)))
        };
        // An error says that the bucket belongs to another time.
        let _ = self
            .bucket(number)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }

    /// The values of the last `count` buckets up to that moment.
    pub(super) fn values(&self, at: Moment, count: u64) -> impl Iterator<Item = u32> {
        let number = at.millis() / self.length;
        (0..count).filter_map(move |back| self.read(number.checked_sub(back)?))
    }

    /// Their sum.
    pub(super) fn sum(&self, at: Moment, count: u64) -> u64 {
        self.values(at, count).map(u64::from).sum()
    }

    /// All of it begins anew.
    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            let cleared = |word| Some((word & tag(u64::MAX)) | u64::from(self.empty));
            let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cleared);
        }
    }

    /// The moment of one bucket before.
    pub(super) fn before(&self, at: Moment) -> Moment {
        Moment(at.0.saturating_sub(self.length * 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment((1_700_000_000_000 + millis) * 1_000_000)
    }

    #[test]
    fn what_is_older_does_not_count() {
        let ring = Ring::new(3, 100, 0);
        for millis in [0, 50, 100, 250] {
            ring.count(at(millis));
        }
        for (millis, count, wanted) in [
            (250, 1, 1),
            (250, 2, 2),
            (250, 3, 4),
            (300, 3, 2),
            (399, 3, 2),
            (400, 3, 1),
            (500, 3, 0),
            (199, 2, 3),
        ] {
            assert_eq!(ring.sum(at(millis), count), wanted, "{count} at {millis}");
        }
        ring.count(at(300));
        assert_eq!(ring.sum(at(250), 3), 2, "the first has made room");
        ring.clear();
        assert_eq!(ring.sum(at(300), 3), 0);
    }

    #[test]
    fn no_more_than_that_are_taken_whoever_takes() {
        let ring = Ring::new(2, 500, 0);
        let taken: usize = std::thread::scope(|scope| {
            let takes = || (0..1000).filter(|_| ring.take(at(0), 2, 100.5)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(takes)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
        ring.give_back(at(0));
        assert!(ring.take(at(600), 2, 100.0) && !ring.take(at(600), 2, 100.0));
        ring.give_back(at(5000));
        assert_eq!(ring.sum(at(600), 2), 100, "nothing was taken then");
    }

    #[test]
    fn the_least_of_a_time() {
        let ring = Ring::new(2, 500, 60_000);
        assert_eq!(ring.values(at(0), 2).min(), None);
        for (millis, value) in [(0, 7), (10, 9), (700, 8)] {
            ring.update(at(millis), |least| least.min(value));
        }
        assert_eq!(ring.values(at(700), 2).min(), Some(7));
        assert_eq!(ring.values(at(1000), 2).min(), Some(8));
    }
}
