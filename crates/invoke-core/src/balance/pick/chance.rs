//! What chance draws from a set, what is looked at when draws bring nothing, and which of two is the better one.

use super::super::preferences::Preferences;
use super::super::slots::{Picked, Slot, Tried};
use super::Set;

/// How often an endpoint is drawn before the choice goes on without chance.
pub(super) const DRAWS: usize = 8;
/// How many endpoints are then looked at one after the other. Sets up to this size are searched to the last one, and
/// in larger ones a choice never costs more than this.
pub(super) const WINDOW: usize = 64;

impl Set {
    pub(super) fn first(&self, tried: &[Tried], preferences: &Preferences) -> Option<usize> {
        let near = self.draw(None, tried, |slot| {
            preferences.is_near(slot) && preferences.is_warm(slot)
        });
        near.or_else(|| self.draw_far(None, tried, preferences))
    }

    /// Draws from all zones, if draws from one of them alone brought nothing.
    pub(super) fn draw_far(
        &self,
        before: Option<usize>,
        tried: &[Tried],
        preferences: &Preferences,
    ) -> Option<usize> {
        if !preferences.has_zone() {
            return None;
        }
        self.draw(before, tried, |_| true)
    }

    /// The place of an endpoint at random, by weight, that is neither out nor tried nor the one drawn before.
    pub(super) fn draw(
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
    pub(super) fn search(&self, tried: &[Tried]) -> Option<Picked> {
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
pub(super) fn is_freer(one: &Slot, other: &Slot, preferences: &Preferences) -> bool {
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
