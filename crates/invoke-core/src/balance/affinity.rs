//! Which endpoint the calls of one key go to.
//!
//! Rendezvous hashing: key and address together give a number for each endpoint, and the endpoint with the greatest one
//! has the key. An endpoint that leaves takes nothing but its own keys along, since the numbers of the others stay;
//! whoever comes next in the order gets them. There is no ring to be built, kept and searched, and a share is exact: the
//! price is one multiplication or two for each endpoint of the set.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::slots::{Slot, Tried};
use crate::spread;

/// So many endpoints of the order are looked at. When all of them are out the key is of no use, and chance decides.
const PLACES: usize = 8;

/// What the calls have in common that are to go to the same endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity(u64);

impl Affinity {
    /// The same bytes are the same key, in each sidecar.
    pub fn of(key: &[u8]) -> Self {
        Self(spread::of(key))
    }
}

/// The addresses of a set as numbers, by its places: close together, so that no slot is looked at to find the order.
#[derive(Debug)]
pub(super) struct Ranks(Box<[u64]>);

impl Ranks {
    pub(super) fn new(slots: &[Arc<Slot>]) -> Self {
        Self(
            slots
                .iter()
                .map(|slot| spread::of(slot.endpoint.address().as_bytes()))
                .collect(),
        )
    }

    /// The first endpoint in the order of a key that is neither out nor tried.
    pub(super) fn first<'a>(
        &self,
        slots: &'a [Arc<Slot>],
        has_weights: bool,
        affinity: Affinity,
        tried: &[Tried],
    ) -> Option<&'a Arc<Slot>> {
        let mut order = Order::default();
        for (place, hash) in self.0.iter().enumerate() {
            let score = spread::together(*hash, affinity.0);
            order.take(if has_weights {
                (weighted(score, slots[place].endpoint.weight()), place)
            } else {
                (score, place)
            });
        }
        let mut candidates = order.places().map(|place| &slots[place]);
        candidates.find(|slot| !slot.is_among(tried) && !slot.is_out())
    }

    /// The places of so many endpoints, those that come first in the order of a key; in the order of the set.
    pub(super) fn chosen(&self, most: usize, affinity: Affinity) -> Vec<usize> {
        let scores = self.0.iter().map(|hash| spread::together(*hash, affinity.0));
        let mut order: Vec<_> = scores.enumerate().map(|(place, score)| (score, place)).collect();
        if most < order.len() {
            order.select_nth_unstable_by(most, |one, other| other.cmp(one));
            order.truncate(most);
        }
        let mut places: Vec<_> = order.into_iter().map(|(_, place)| place).collect();
        places.sort_unstable();
        places
    }
}

/// The best of the scores that were taken in, the greatest first.
#[derive(Default)]
struct Order {
    best: [(u64, usize); PLACES],
    count: usize,
}

impl Order {
    fn take(&mut self, new: (u64, usize)) {
        if self.count == PLACES && new <= self.best[PLACES - 1] {
            return;
        }
        let place = self.best[..self.count].partition_point(|known| *known > new);
        self.count = (self.count + 1).min(PLACES);
        self.best[place..self.count].rotate_right(1);
        self.best[place] = new;
    }

    fn places(&self) -> impl Iterator<Item = usize> {
        self.best[..self.count].iter().map(|(_, place)| *place)
    }
}

/// A score by which an endpoint of twice the weight has twice the keys: `-weight / ln(u)` for a `u` between 0 and 1
/// that is spread evenly. With equal weights it gives the same order as the number itself.
#[expect(clippy::cast_precision_loss, reason = "53 bits of it are an exact number")]
fn weighted(score: u64, weight: NonZeroU32) -> u64 {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    let part = ((score >> (u64::BITS - BITS)) as f64 + 0.5) / (1_u64 << BITS) as f64;
    // Of floats that are not negative the bits are in the same order as the values.
    (f64::from(weight.get()) / -part.ln()).to_bits()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::Endpoint;
    use super::super::pick::Set;
    use super::super::preferences::Preferences;
    use super::super::slots::Picked;
    use super::*;

    fn set(ports: impl IntoIterator<Item = u32>, weight: impl Fn(u32) -> u32) -> Set {
        let slots = ports.into_iter().map(|port| {
            let endpoint = Endpoint::new(format!("10.0.0.{port}:50002"));
            let endpoint = endpoint.with_weight(NonZeroU32::new(weight(port)).unwrap());
            Slot::new(endpoint, Instant::now(), false, &Arc::default())
        });
        Set::new(slots.collect())
    }

    fn picked(set: &Set, user: usize, tried: &[Tried]) -> Picked {
        let affinity = Affinity::of(user.to_string().as_bytes());
        set.pick(tried, &Preferences::default(), Some(affinity)).unwrap()
    }

    fn address(set: &Set, user: usize) -> String {
        picked(set, user, &[]).endpoint().address().to_string()
    }

    #[test]
    fn keys_are_spread_evenly_and_stay() {
        let set = set(0..10, |_| 1);
        let mut counts = std::collections::HashMap::new();
        for user in 0..10_000 {
            let address = address(&set, user);
            *counts.entry(address).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 10);
        assert!(
            counts.values().all(|count| count.abs_diff(1000) < 150),
            "{counts:?}"
        );
        assert!((0..100).all(|user| (0..10).all(|_| address(&set, user) == address(&set, user))));
    }

    /// Callers that have another set, or the same in another order, have the same idea of who has a key.
    #[test]
    fn who_leaves_takes_its_own_keys_along_and_no_others() {
        for weight in [|_| 1, |port| 1 + port % 3] {
            let before = set(0..10, weight);
            let after = set((0..10).rev().filter(|port| *port != 4), weight);
            let gone = "10.0.0.4:50002";
            let mut moved = 0;
            for user in 0..2000 {
                let (old, new) = (address(&before, user), address(&after, user));
                if old == gone {
                    moved += 1;
                    let tried = [picked(&before, user, &[]).tried()];
                    let next = picked(&before, user, &tried);
                    assert_eq!(*next.endpoint().address().as_ref(), new, "the next in the order");
                } else {
                    assert_eq!(old, new);
                }
            }
            assert!((100..400).contains(&moved), "{moved}");
        }
    }

    #[test]
    fn keys_are_spread_by_weight() {
        let set = set([0, 1], |port| 1 + 2 * port);
        let light = (0..4000)
            .filter(|user| address(&set, *user) == "10.0.0.0:50002")
            .count();
        assert!((850..1150).contains(&light), "{light} of 4000");
        let equal = [1, 7].map(|weight| self::set(0..9, move |_| weight));
        let mixed = Ranks::new(&equal[0].slots);
        for user in 0..500 {
            let affinity = Affinity::of(&user.to_string().into_bytes());
            let one = mixed.first(&equal[0].slots, false, affinity, &[]).unwrap();
            let other = mixed.first(&equal[1].slots, true, affinity, &[]).unwrap();
            assert_eq!(one.endpoint.address(), other.endpoint.address());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_out_is_passed_by_until_it_is_back() {
        let set = set(0..5, |_| 1);
        for user in 0..50 {
            let mut first = picked(&set, user, &[]);
            let second = picked(&set, user, &[first.tried()]);
            first.failed();
            assert_eq!(picked(&set, user, &[]).endpoint(), second.endpoint());
            let first = first.endpoint().clone();
            drop(second.succeeded(true));
            tokio::time::advance(Duration::from_secs(31)).await;
            let again = picked(&set, user, &[]);
            assert_eq!(*again.endpoint(), first);
            drop(again.succeeded(true));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_of_the_first_are_out_chance_decides() {
        let set = set(0..20, |_| 1);
        let mut tried = Vec::new();
        for _ in 0..PLACES {
            let mut first = picked(&set, 7, &tried);
            first.failed();
            tried.push(first.tried());
        }
        let others = (0..200).map(|_| picked(&set, 7, &[]));
        let others: std::collections::HashSet<_> =
            others.map(|picked| picked.endpoint().address().clone()).collect();
        assert_eq!(others.len(), 12, "all of those that are well");
    }

    #[test]
    fn the_best_are_kept_in_order() {
        let mut order = Order::default();
        for score in [5, 1, 9, 3, 7, 2, 8, 6, 4, 0, 10] {
            order.take((score, score as usize));
        }
        assert_eq!(order.places().collect::<Vec<_>>(), [10, 9, 8, 7, 6, 5, 4, 3]);
    }
}
