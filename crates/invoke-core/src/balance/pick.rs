//! The choice among the endpoints of a set.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use super::affinity::{Affinity, Ranks};
use super::preferences::Preferences;
use super::slots::{Picked, Slot, Tried};

/// How often an endpoint is drawn before the choice goes on without chance.
const DRAWS: usize = 8;
/// How many endpoints are then looked at one after the other. Sets up to this size are searched to the last one, and
/// in larger ones a choice never costs more than this.
const WINDOW: usize = 64;

/// The endpoints that an app has at one time.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub(super) slots: Box<[Arc<Slot>]>,
    /// The greatest weight, or `None` when all weigh the same.
    heaviest: Option<NonZeroU32>,
    /// Made when the first call has a key.
    ranks: OnceLock<Ranks>,
    /// The part that this sidecar calls of a set that is too large; made by the first call. All who pick from a set are
    /// one sidecar and have the same preferences.
    part: OnceLock<Box<Set>>,
}

impl Set {
    pub(super) fn new(slots: Box<[Arc<Slot>]>) -> Self {
        let weights = || slots.iter().map(|slot| slot.endpoint.weight());
        let heaviest = weights()
            .max()
            .filter(|most| weights().any(|weight| weight != *most));
        Self {
            slots,
            heaviest,
            ranks: OnceLock::new(),
            part: OnceLock::new(),
        }
    }

    /// Picks an endpoint, leaving out those that were tried and, as long as others are found, those that failed lately:
    /// for a call with a key the one that has the key, for others the less loaded of two drawn at random. That costs the
    /// same whatever the size of the set.
    pub(super) fn pick(
        &self,
        tried: &[Tried],
        preferences: &Preferences,
        affinity: Option<Affinity>,
    ) -> Option<Picked> {
        if let Some(affinity) = affinity
            && let Some(picked) = self.of_key(affinity, tried)
        {
            return Some(picked);
        }
        let part = self.part(preferences);
        let picked = part.and_then(|part| part.pick_one(tried, preferences));
        picked.or_else(|| self.pick_one(tried, preferences))
    }

    /// The endpoint that has a key, of all there are: each sidecar must find the same.
    fn of_key(&self, affinity: Affinity, tried: &[Tried]) -> Option<Picked> {
        if self.slots.len() < 2 {
            return None;
        }
        let first = self
            .ranks()
            .first(&self.slots, self.heaviest.is_some(), affinity, tried);
        first.map(Picked::new)
    }

    fn ranks(&self) -> &Ranks {
        self.ranks.get_or_init(|| Ranks::new(&self.slots))
    }

    /// The part that is called, if it is not all.
    pub(super) fn part(&self, preferences: &Preferences) -> Option<&Self> {
        let part = preferences.part(self.slots.len())?;
        Some(self.part.get_or_init(|| {
            let chosen = Ranks::new(&self.slots).chosen(part.most, part.of);
            let slots = chosen.into_iter().map(|place| Arc::clone(&self.slots[place]));
            Box::new(Self::new(slots.collect()))
        }))
    }

    fn pick_one(&self, tried: &[Tried], preferences: &Preferences) -> Option<Picked> {
        let first = match &*self.slots {
            [] => return None,
            [only] => return (!only.is_among(tried)).then(|| Picked::only(only)),
            _ => match self.first(tried, preferences) {
                Some(first) => first,
                None => return self.search(tried),
            },
        };
        let second = self.draw(Some(first), tried, |slot| preferences.is_near(slot));
        let second = second.or_else(|| self.draw_far(Some(first), tried, preferences));
        let second = second.map(|place| &self.slots[place]);
        let first = &self.slots[first];
        Some(Picked::new(match second {
            // One that is not warm is not drawn again, or the other draws would bring it all the same.
            Some(second) if preferences.is_warm(second) && is_freer(second, first, preferences) => second,
            _ => first,
        }))
    }

    fn first(&self, tried: &[Tried], preferences: &Preferences) -> Option<usize> {
        let near = self.draw(None, tried, |slot| {
            preferences.is_near(slot) && preferences.is_warm(slot)
        });
        near.or_else(|| self.draw_far(None, tried, preferences))
    }

    /// Draws from all zones, if draws from one of them alone brought nothing.
    fn draw_far(&self, before: Option<usize>, tried: &[Tried], preferences: &Preferences) -> Option<usize> {
        if !preferences.has_zone() {
            return None;
        }
        self.draw(before, tried, |_| true)
    }

    /// The place of an endpoint at random, by weight, that is neither out nor tried nor the one drawn before.
    fn draw(
        &self,
        before: Option<usize>,
        tried: &[Tried],
        is_wanted: impl Fn(&Slot) -> bool,
    ) -> Option<usize> {
        let count = self.slots.len();
        (0..DRAWS).find_map(|_| {
            let place = match before {
                None => fastrand::usize(..count),
                Some(before) => (before + fastrand::usize(1..count)) % count,
            };
            let slot = &self.slots[place];
            let can_be = self.has_luck(slot) && !slot.is_out() && !slot.is_among(tried);
            (can_be && is_wanted(slot)).then_some(place)
        })
    }

    /// The heaviest is always taken, one of half its weight every other time.
    fn has_luck(&self, slot: &Slot) -> bool {
        self.heaviest
            .is_none_or(|most| fastrand::u32(..most.get()) < slot.endpoint.weight().get())
    }

    /// The next endpoint from anywhere on that was not tried, one that is not out if there is one.
    fn search(&self, tried: &[Tried]) -> Option<Picked> {
        let start = fastrand::usize(..self.slots.len());
        let (before, after) = self.slots.split_at(start);
        let candidates = || {
            let window = after.iter().chain(before).take(WINDOW);
            window.filter(|slot| !slot.is_among(tried))
        };
        match candidates().find(|slot| !slot.is_out()) {
            Some(slot) => Some(Picked::new(slot)),
            None => candidates().next().map(Picked::last_resort),
        }
    }
}

/// Whether one endpoint has fewer calls in flight than the other, for its weight; if one of them is much slower, whether
/// a call is likely to be answered sooner. One that is far counts as busier than it is.
fn is_freer(one: &Slot, other: &Slot, preferences: &Preferences) -> bool {
    let share = |slot: &Slot| u64::from(slot.endpoint.weight().get());
    let (one_times, other_times) = preferences.handicaps(one, other);
    let is_equal = one_times == other_times;
    let (of_one, of_other) = match one.paces(other) {
        None if is_equal => (one.load() as u64, other.load() as u64),
        // Even one without a call counts for something, or the first call would leave the zone.
        None => (one.load() as u64 + 1, other.load() as u64 + 1),
        Some((pace, other_pace)) => (
            pace.saturating_mul(one.load() as u64 + 1),
            other_pace.saturating_mul(other.load() as u64 + 1),
        ),
    };
    let of_one = of_one.saturating_mul(one_times).saturating_mul(share(other));
    of_one < of_other.saturating_mul(other_times).saturating_mul(share(one))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::Endpoint;
    use super::*;

    fn set(weights: &[u32]) -> Set {
        let endpoints = weights.iter().enumerate().map(|(port, weight)| {
            let endpoint = Endpoint::new(format!("127.0.0.1:{port}"));
            let weight = NonZeroU32::new(*weight).unwrap();
            Slot::new(
                endpoint.with_weight(weight),
                Instant::now(),
                false,
                &Arc::default(),
            )
        });
        Set::new(endpoints.collect())
    }

    fn picked(set: &Set, tried: &[Tried]) -> Option<Picked> {
        set.pick(tried, &Preferences::default(), None)
    }

    fn fail(set: &Set, slot: usize) {
        set.slots[slot].state().fail(false);
    }

    fn address(picked: &Picked) -> &str {
        picked.endpoint().address()
    }

    #[test]
    fn the_less_loaded_of_two_is_picked() {
        let set = set(&[1, 1]);
        let _load = Picked::new(&set.slots[0]);
        for _ in 0..20 {
            assert_eq!(address(&picked(&set, &[]).unwrap()), "127.0.0.1:1");
        }
    }

    #[test]
    fn load_spreads() {
        let set = set(&[1; 3]);
        let held: Vec<_> = (0..300).map(|_| picked(&set, &[]).unwrap()).collect();
        let loads: Vec<_> = set.slots.iter().map(|slot| slot.load()).collect();
        assert!(loads.iter().all(|load| *load > 80), "{loads:?}");
        drop(held);
        assert!(set.slots.iter().all(|slot| slot.load() == 0));
    }

    #[test]
    fn load_spreads_by_weight() {
        let set = set(&[1, 3]);
        let _held: Vec<_> = (0..400).map(|_| picked(&set, &[]).unwrap()).collect();
        let light = set.slots[0].load();
        assert!((80..=120).contains(&light), "{light} of 400");
    }

    #[test]
    fn calls_that_end_at_once_spread_by_weight_too() {
        let set = set(&[1, 3]);
        let is_light = |_: &usize| address(&picked(&set, &[]).unwrap()) == "127.0.0.1:0";
        let light = (0..4000).filter(is_light).count();
        assert!((700..=1300).contains(&light), "{light} of 4000");
    }

    /// A thousand calls, one after the other, each of which takes as long as its endpoint needs.
    async fn thousand(set: &Set, millis: impl Fn(usize, u32) -> u64) -> Vec<u32> {
        let mut calls = vec![0; set.slots.len()];
        for call in 0..1000 {
            let picked = picked(set, &[]).unwrap();
            let place = set.slots.iter().position(|slot| slot.is_among(&[picked.tried()]));
            let place = place.unwrap();
            tokio::time::advance(Duration::from_millis(millis(place, call))).await;
            drop(picked.succeeded(true));
            calls[place] += 1;
        }
        calls
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_gets_little_until_it_is_well() {
        let set = set(&[1; 3]);
        let calls = thousand(&set, |place, _| if place == 0 { 20 } else { 2 }).await;
        assert!((1..=20).contains(&calls[0]), "{calls:?}");
        tokio::time::advance(Duration::from_secs(60)).await;
        let calls = thousand(&set, |_, _| 2).await;
        assert!(calls.iter().all(|calls| calls.abs_diff(333) < 84), "{calls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn equal_ones_have_equal_shares_whatever_their_methods_take() {
        let set = set(&[1; 3]);
        // Every fiftieth call takes five seconds, and others differ by half.
        let millis = |_, call| {
            if call % 50 == 7 {
                5_000
            } else {
                4 + u64::from(call % 3)
            }
        };
        let calls = thousand(&set, millis).await;
        assert!(calls.iter().all(|calls| calls.abs_diff(333) < 84), "{calls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_at_once_is_not_fast() {
        let set = set(&[1; 2]);
        let mut calls = [0; 2];
        for _ in 0..1000 {
            let picked = picked(&set, &[]).unwrap();
            let is_good = address(&picked) == "127.0.0.1:0";
            if is_good {
                tokio::time::advance(Duration::from_millis(50)).await;
            }
            drop(picked.succeeded(is_good));
            calls[usize::from(is_good)] += 1;
        }
        assert!(calls[0] < 600, "{calls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_endpoint_is_left_out_for_a_while() {
        let set = set(&[1, 1]);
        fail(&set, 0);
        for _ in 0..20 {
            assert_eq!(address(&picked(&set, &[]).unwrap()), "127.0.0.1:1");
        }
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert!(!set.slots[0].is_out());
        fail(&set, 0);
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert!(set.slots[0].is_out(), "the second failure in a row counts double");
        set.slots[0].state().succeed();
        assert!(!set.slots[0].is_out());
    }

    /// Where connecting takes long to fail, whoever goes there waits for it: one call does, and not all.
    #[tokio::test(start_paused = true)]
    async fn one_call_finds_out_whether_it_is_well_again() {
        let set = set(&[1, 1]);
        let to_first = |held: &[Picked]| held.iter().filter(|one| address(one) == "127.0.0.1:0").count();
        let held = |count: usize| (0..count).map(|_| picked(&set, &[]).unwrap()).collect::<Vec<_>>();
        let together = held(40);
        assert!(to_first(&together) > 1);
        for mut one in together {
            if address(&one) == "127.0.0.1:0" {
                one.failed();
            }
        }
        assert_eq!(to_first(&held(40)), 0);
        tokio::time::advance(Duration::from_millis(1001)).await;
        let trial = held(40);
        assert_eq!(
            to_first(&trial),
            1,
            "they failed together, so it was out for a second"
        );
        tokio::time::advance(Duration::from_millis(1001)).await;
        for one in trial {
            if address(&one) != "127.0.0.1:0" {
                drop(one.succeeded(true));
            }
        }
        assert_eq!(
            to_first(&held(40)),
            0,
            "a trial that nothing came of is a failure"
        );
        tokio::time::advance(Duration::from_millis(2001)).await;
        for one in held(40) {
            drop(one.succeeded(true));
        }
        assert!(to_first(&held(40)) > 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stands_still_is_left_out() {
        let set = set(&[1, 1]);
        let stalled = |waited: u64| async move { tokio::time::advance(Duration::from_millis(waited)).await };
        for (waited, is_answered, wanted) in [(999, false, false), (1000, true, false), (1000, false, true)] {
            let held: Vec<_> = (0..5).map(|_| Picked::new(&set.slots[0])).collect();
            stalled(waited).await;
            for (place, one) in held.into_iter().enumerate() {
                if is_answered && place == 4 {
                    drop(one.succeeded(false));
                }
            }
            assert_eq!(set.slots[0].is_out(), wanted, "{waited} {is_answered}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_back_begins_slowly_if_new_ones_do() {
        let set = set(&[1, 1, 1]);
        let slowly = Preferences::default().with_slow_start(Duration::from_secs(30));
        let share = |preferences: &Preferences| {
            let is_back = |_: &usize| address(&set.pick(&[], preferences, None).unwrap()) == "127.0.0.1:2";
            (0..3000).filter(is_back).count()
        };
        fail(&set, 2);
        tokio::time::advance(Duration::from_millis(1001)).await;
        set.slots[2].state().succeed();
        let at_first = share(&slowly);
        assert!((1..300).contains(&at_first), "{at_first} of 3000");
        assert!((850..1150).contains(&share(&Preferences::default())));
        tokio::time::advance(Duration::from_secs(30)).await;
        let whole = share(&slowly);
        assert!((850..1150).contains(&whole), "{whole} of 3000");
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_failed_any_is_better_than_none() {
        let two = set(&[1, 1]);
        fail(&two, 0);
        fail(&two, 1);
        let first = picked(&two, &[]).unwrap();
        let second = picked(&two, &[first.tried()]).unwrap();
        assert_ne!(address(&first), address(&second));
        assert!(picked(&two, &[first.tried(), second.tried()]).is_none());
        let one = set(&[1]);
        let only = picked(&one, &[]).unwrap();
        assert!(picked(&one, &[only.tried()]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_left_is_found() {
        let set = set(&[1; WINDOW]);
        for slot in 1..WINDOW {
            fail(&set, slot);
        }
        for _ in 0..20 {
            assert_eq!(address(&picked(&set, &[]).unwrap()), "127.0.0.1:0");
        }
    }

    /// However many there are, and however many of them are out.
    #[tokio::test(start_paused = true)]
    async fn a_pick_looks_at_few() {
        use super::super::slots::tests::LOOKS;

        let near = Preferences::default().in_zone("nowhere");
        for count in [10, 1_000, 100_000] {
            let set = set(&vec![1; count]);
            for out in [0, count / 2, count] {
                (0..out).for_each(|slot| fail(&set, slot));
                for preferences in [&Preferences::default(), &near] {
                    let looks = (0..100).map(|_| {
                        LOOKS.set(0);
                        assert!(set.pick(&[], preferences, None).is_some());
                        LOOKS.get()
                    });
                    let most = looks.max().unwrap();
                    assert!(most <= 4 * DRAWS + WINDOW, "{most} of {count}, {out} of them out");
                }
            }
        }
    }

    /// A set of endpoints in zones.
    fn zoned(zones: &[&str]) -> Set {
        let endpoints = zones.iter().enumerate().map(|(port, zone)| {
            let endpoint = Endpoint::new(format!("127.0.0.1:{port}")).in_zone(*zone);
            Slot::new(endpoint, Instant::now(), false, &Arc::default())
        });
        Set::new(endpoints.collect())
    }

    #[test]
    fn calls_stay_in_their_zone() {
        let set = zoned(&["a", "b", "b", "a", "b", "b"]);
        let near = Preferences::default().in_zone("a");
        let is_near = |_: &usize| set.pick(&[], &near, None).unwrap().endpoint().zone() == Some("a");
        let stayed = (0..1000).filter(is_near).count();
        assert!(stayed > 900, "{stayed} of 1000");
        let none = Preferences::default().in_zone("c");
        assert!(
            set.pick(&[], &none, None).is_some(),
            "a zone without endpoints is no reason not to call"
        );
    }

    #[test]
    fn calls_leave_a_zone_that_is_busy_or_out() {
        let set = zoned(&["a", "b"]);
        let near = Preferences::default().in_zone("a");
        let held: Vec<_> = (0..4).map(|_| set.pick(&[], &near, None).unwrap()).collect();
        assert!(held.iter().all(|picked| picked.endpoint().zone() == Some("a")));
        assert!((0..100).any(|_| set.pick(&[], &near, None).unwrap().endpoint().zone() == Some("b")));
        drop(held);
        fail(&set, 0);
        for _ in 0..20 {
            assert_eq!(set.pick(&[], &near, None).unwrap().endpoint().zone(), Some("b"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_one_gets_its_share_little_by_little() {
        let slot = |port: u32, is_new| {
            let endpoint = Endpoint::new(format!("127.0.0.1:{port}"));
            Slot::new(endpoint, Instant::now(), is_new, &Arc::default())
        };
        let set = Set::new([slot(0, false), slot(1, false), slot(2, true)].into());
        let slowly = Preferences::default().with_slow_start(Duration::from_secs(30));
        let share = || {
            let is_new = |_: &usize| address(&set.pick(&[], &slowly, None).unwrap()) == "127.0.0.1:2";
            (0..3000).filter(is_new).count()
        };
        let at_first = share();
        assert!((1..300).contains(&at_first), "{at_first} of 3000");
        tokio::time::advance(Duration::from_secs(15)).await;
        let half = share();
        assert!(half > at_first && half < 900, "{half} of 3000");
        tokio::time::advance(Duration::from_secs(15)).await;
        let whole = share();
        assert!((850..1150).contains(&whole), "{whole} of 3000");
    }
}
