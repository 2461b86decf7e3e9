//! A bucket of tokens for each client and path, in bounded memory.
//!
//! A bucket that nobody asked for longest makes room. It is most likely full again by then, which is as good as new; a
//! client that can name itself anew each time has a new bucket anyway. The keys are hashes with a secret of this
//! process, so a long path takes no more room than a short one.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use hashlink::LruCache;
use tokio::time::Instant;

/// As many parts have a lock of their own.
const PARTS: usize = 16;
/// As many buckets are kept in each part: 65,536 in all, in about 5 MB.
const CAPACITY: usize = 4096;

/// Tokens a second; more than none, and an end to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate(f64);

impl Rate {
    pub(super) fn new(per_second: f64) -> Option<Self> {
        (per_second.is_finite() && per_second > 0.0).then_some(Self(per_second))
    }

    pub(super) fn per_second(self) -> f64 {
        self.0
    }

    /// How much a bucket holds.
    fn burst(self) -> f64 {
        self.0.floor().max(1.0)
    }
}

/// What asking for a token gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A token; so many are left.
    Left(u64),
    /// The bucket is empty.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The buckets.
#[derive(Debug)]
pub(super) struct Buckets {
    rate: Rate,
    hasher: RandomState,
    parts: Box<[Mutex<LruCache<u64, Bucket>>]>,
}

impl Buckets {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            hasher: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::new(LruCache::new(CAPACITY))).collect(),
        }
    }

    /// Takes a token out of the bucket of `key`.
    pub(super) fn take(&self, key: impl Hash, now: Instant) -> Taken {
        let hash = self.hasher.hash_one(key);
        let part = &self.parts[hash as usize % PARTS];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let burst = self.rate.burst();
        let bucket = match part.get_mut(&hash) {
            Some(bucket) => {
                let since = now.saturating_duration_since(bucket.at).as_secs_f64();
                bucket.tokens = (bucket.tokens + since * self.rate.0).min(burst);
                bucket.at = bucket.at.max(now);
                bucket
            }
            None => {
                part.insert(
                    hash,
                    Bucket {
                        tokens: burst,
                        at: now,
                    },
                );
                let Some(bucket) = part.get_mut(&hash) else {
                    return Taken::Nothing;
                };
                bucket
            }
        };
        if bucket.tokens < 1.0 {
            return Taken::Nothing;
        }
        bucket.tokens -= 1.0;
        Taken::Left(bucket.tokens as u64)
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.parts.iter().map(|part| part.lock().unwrap().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(rate: f64) -> Buckets {
        Buckets::new(Rate::new(rate).unwrap())
    }

    #[test]
    fn a_bucket_fills_again() {
        let (buckets, begun) = (of(2.0), Instant::now());
        for (milliseconds, wanted) in [
            (0, Taken::Left(1)),
            (0, Taken::Left(0)),
            (0, Taken::Nothing),
            (400, Taken::Nothing),
            (500, Taken::Left(0)),
            (300, Taken::Nothing),
            (1000, Taken::Left(0)),
            (9000, Taken::Left(1)),
        ] {
            let now = begun + Duration::from_millis(milliseconds);
            assert_eq!(buckets.take("a", now), wanted, "at {milliseconds}");
        }
    }

    #[test]
    fn less_than_one_a_second() {
        let (buckets, begun) = (of(0.5), Instant::now());
        assert_eq!(buckets.take("a", begun), Taken::Left(0));
        assert_eq!(
            buckets.take("a", begun + Duration::from_millis(1900)),
            Taken::Nothing
        );
        assert_eq!(buckets.take("a", begun + Duration::from_secs(2)), Taken::Left(0));
    }

    #[test]
    fn ten_thousand_clients_each_have_their_own() {
        let (buckets, now) = (of(1.0), Instant::now());
        for wanted in [Taken::Left(0), Taken::Nothing] {
            for client in 0..10_000 {
                assert_eq!(buckets.take(client, now), wanted);
            }
        }
        for client in 0..200_000 {
            buckets.take(client, now);
        }
        assert!(buckets.count() <= PARTS * CAPACITY);
    }
}
