//! The choice among the endpoints of a set: by key, of a part, or the less loaded of two that chance draws (`chance`).

mod chance;

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use super::affinity::{Affinity, Ranks};
use super::preferences::Preferences;
use super::slots::{Picked, Slot, Tried};
use chance::is_freer;

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
}

#[cfg(test)]
mod tests;
