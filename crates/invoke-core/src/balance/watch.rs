//! What a resolver knows of an app, between the resolver and the calls.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::Endpoint;
use super::affinity::Affinity;
use super::ejections::{EjectionCounts, Ejections};
use super::pick::Set;
use super::preferences::Preferences;
use super::slots::{EndpointState, Picked, Slot, Tried};
use crate::error::ResolveError;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{ArcSwap, Mutex};

/// What a resolver knows of an app at the moment.
#[derive(Clone, Debug, Default)]
pub enum Resolution {
    /// Nothing yet.
    #[default]
    Pending,
    /// The endpoints; never none.
    Endpoints(Endpoints),
    /// The app was not found, or nobody could tell. The next call asks anew.
    Failed(ResolveError),
}

/// The endpoints that an app has at one time. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Endpoints(Arc<Set>);

impl Endpoints {
    /// One after the other, as the resolver gave them.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.0.slots.iter().map(|slot| &slot.endpoint)
    }

    /// How each of them is at the moment.
    pub fn states(&self) -> impl Iterator<Item = EndpointState> {
        self.0.slots.iter().map(|slot| slot.now())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.slots.is_empty()
    }
}

/// A resolver's view of one app, kept up to date. Cloning shares it.
#[derive(Clone, Debug)]
pub struct EndpointWatch {
    known: Arc<Known>,
    preferences: Preferences,
    told: watch::Receiver<()>,
}

/// The resolver's end of an [`EndpointWatch`]. When it is dropped nobody keeps the view up to date any more, and the
/// next call asks anew, unless the last word was [final](Self::publish_final).
#[derive(Debug)]
pub struct Publisher {
    known: Arc<Known>,
    telling: watch::Sender<()>,
    epoch: Instant,
    /// The set before the current one. It is kept so that the publisher frees it, and not a call that picks from it at
    /// the moment when it is replaced.
    previous: Mutex<Option<Arc<Resolution>>>,
}

#[derive(Debug)]
struct Known {
    resolution: ArcSwap<Resolution>,
    is_final: AtomicBool,
    ejections: Arc<Ejections>,
}

/// The two ends of a view of one app of which nothing is known yet.
pub fn watched() -> (Publisher, EndpointWatch) {
    let known = Arc::new(Known {
        resolution: ArcSwap::default(),
        is_final: AtomicBool::new(false),
        ejections: Arc::default(),
    });
    let (telling, told) = watch::channel(());
    let publisher = Publisher {
        known: Arc::clone(&known),
        telling,
        epoch: Instant::now(),
        previous: Mutex::default(),
    };
    let watch = EndpointWatch {
        known,
        preferences: Preferences::default(),
        told,
    };
    (publisher, watch)
}

impl Publisher {
    /// Tells which endpoints the app has. Of an address that it had before, load and failures go on. Nobody is woken
    /// when these are known already.
    pub fn publish(&self, endpoints: impl IntoIterator<Item = Endpoint>) {
        // Held while the next set is made, so that two who publish do so one after the other. Picks do not take it.
        let mut previous = self.previous.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.known.resolution.load_full();
        let known: &[Arc<Slot>] = match &*current {
            Resolution::Endpoints(Endpoints(set)) => &set.slots,
            Resolution::Pending | Resolution::Failed(_) => &[],
        };
        if let Some(slots) = self.next_slots(known, endpoints) {
            let set = Endpoints(Arc::new(Set::new(slots)));
            self.known.resolution.store(Arc::new(Resolution::Endpoints(set)));
            *previous = Some(current);
            self.telling.send_replace(());
        }
    }

    /// The next set: of each address that is known the slot, or what it knows; `None` when nothing changes. A set that is
    /// told in the same order as before is compared place by place; a map is made when the first place differs.
    fn next_slots(
        &self,
        known: &[Arc<Slot>],
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Option<Box<[Arc<Slot>]>> {
        let mut by_address = None;
        let mut is_changed = false;
        let slots = endpoints.into_iter().enumerate().map(|(place, endpoint)| {
            if let Some(slot) = known.get(place).filter(|slot| slot.endpoint == endpoint) {
                return Arc::clone(slot);
            }
            is_changed = true;
            let by_address = by_address.get_or_insert_with(|| {
                let slots = known.iter().map(|slot| (&**slot.endpoint.address(), slot));
                slots.collect::<HashMap<&str, &Arc<Slot>>>()
            });
            match by_address.get(&**endpoint.address()) {
                Some(slot) if slot.endpoint == endpoint => Arc::clone(slot),
                Some(slot) => slot.renewed(endpoint),
                None => Slot::new(endpoint, self.epoch, !known.is_empty(), &self.known.ejections),
            }
        });
        let slots: Box<[_]> = slots.collect();
        (is_changed || slots.len() != known.len()).then_some(slots)
    }

    /// Tells which endpoints the app has and always will have: nothing needs to keep this end.
    pub fn publish_final(self, endpoints: impl IntoIterator<Item = Endpoint>) {
        self.known.is_final.store(true, Ordering::Release);
        self.publish(endpoints);
    }

    /// Tells that the app was not found, or that nobody could tell.
    pub fn fail(&self, error: ResolveError) {
        self.known.resolution.store(Arc::new(Resolution::Failed(error)));
        self.telling.send_replace(());
    }

    /// What was told last.
    pub fn now(&self) -> Resolution {
        Resolution::clone(&self.known.resolution.load())
    }

    /// Whether nobody looks any more.
    pub fn is_closed(&self) -> bool {
        self.telling.is_closed()
    }

    /// Waits until nobody looks any more.
    pub async fn closed(&self) {
        self.telling.closed().await;
    }
}

impl EndpointWatch {
    /// The same view; picks from it prefer something.
    #[must_use]
    pub fn preferring(self, preferences: Preferences) -> Self {
        Self { preferences, ..self }
    }

    /// What is known at the moment.
    pub fn now(&self) -> Resolution {
        Resolution::clone(&self.known.resolution.load())
    }

    /// Waits until something that fits is known. A view that nobody keeps up to date any more fails.
    pub async fn wait_for(&self, mut fits: impl FnMut(&Resolution) -> bool) -> Resolution {
        let mut told = self.told.clone();
        loop {
            told.mark_unchanged();
            let now = self.now();
            if fits(&now) {
                return now;
            }
            if told.changed().await.is_err() {
                let last = self.now();
                if fits(&last) {
                    return last;
                }
                return Resolution::Failed(ResolveError::new("name resolver was closed"));
            }
        }
    }

    /// Waits for the first answer.
    pub async fn first(&self) -> Resolution {
        self.wait_for(|resolution| !matches!(resolution, Resolution::Pending))
            .await
    }

    /// Waits for news. `false` when there can be none: nobody keeps the view up to date any more.
    pub async fn changed(&mut self) -> bool {
        self.told.changed().await.is_ok()
    }

    /// How often endpoints of it were left out.
    pub(crate) fn ejections(&self) -> EjectionCounts {
        self.known.ejections.counts()
    }

    /// Whether the resolver has not answered yet.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(&**self.known.resolution.load(), Resolution::Pending)
    }

    /// Whether what is known can be relied on to be up to date.
    pub fn is_alive(&self) -> bool {
        self.told.has_changed().is_ok() || self.known.is_final.load(Ordering::Acquire)
    }

    /// Picks from the endpoints that are known the less loaded of two at random, leaving out those that were tried and,
    /// as long as others are found, those that failed lately. Costs the same however many there are.
    pub fn pick(&self, tried: &[Tried]) -> Option<Picked> {
        self.pick_for(None, tried)
    }

    /// The same for a call that has something in common with others: it goes where they go, as long as the endpoint that
    /// has their key is neither out nor tried, and to the next in the order otherwise. Costs a few instructions for each
    /// endpoint.
    pub fn pick_for(&self, affinity: Option<Affinity>, tried: &[Tried]) -> Option<Picked> {
        match &**self.known.resolution.load() {
            Resolution::Endpoints(Endpoints(set)) => set.pick(tried, &self.preferences, affinity),
            Resolution::Pending | Resolution::Failed(_) => None,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;

#[cfg(test)]
pub(super) mod tests {
    use std::num::NonZeroU32;

    use super::*;

    pub(super) fn endpoint(port: u32) -> Endpoint {
        Endpoint::new(format!("127.0.0.1:{port}"))
    }

    pub(super) fn slots(watch: &EndpointWatch) -> Vec<Arc<Slot>> {
        match watch.now() {
            Resolution::Endpoints(Endpoints(set)) => set.slots.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_stays_is_the_same_slot() {
        let (publisher, watch) = watched();
        publisher.publish([1, 2, 3].map(endpoint));
        let before = slots(&watch);
        publisher.publish([3, 4, 1].map(endpoint));
        let after = slots(&watch);
        assert!(Arc::ptr_eq(&before[2], &after[0]));
        assert!(Arc::ptr_eq(&before[0], &after[2]));
        assert_eq!(after[1].endpoint, endpoint(4));
    }

    #[test]
    fn a_new_weight_keeps_what_is_known() {
        let (publisher, watch) = watched();
        publisher.publish([endpoint(1)]);
        let before = slots(&watch);
        before[0].state().fail(false);
        assert_eq!(before[0].endpoint.longest_message(), None);
        before[0].endpoint.clone().set_longest_message(Some(2048));
        publisher.publish([endpoint(1).with_weight(NonZeroU32::new(7).unwrap()).in_zone("a")]);
        let after = &slots(&watch)[0];
        assert!(after.is_out());
        assert_eq!(
            (after.endpoint.weight().get(), after.endpoint.zone()),
            (7, Some("a"))
        );
        assert_eq!(after.endpoint.longest_message(), Some(2048));
    }

    #[test]
    fn nobody_is_woken_by_what_is_known() {
        let (publisher, mut watch) = watched();
        publisher.publish([1, 2].map(endpoint));
        watch.told.mark_unchanged();
        publisher.publish([1, 2].map(endpoint));
        assert!(!watch.told.has_changed().unwrap());
        publisher.publish([endpoint(1)]);
        assert!(watch.told.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_final_answer_needs_nobody() {
        let (publisher, watch) = watched();
        publisher.publish_final([endpoint(1)]);
        assert!(watch.is_alive());
        assert!(matches!(watch.first().await, Resolution::Endpoints(_)));
        let (publisher, watch) = watched();
        drop(publisher);
        assert!(!watch.is_alive());
        assert!(matches!(watch.first().await, Resolution::Failed(_)));
    }

    /// However large the set: an unchanged place costs no look-up, and a changed one a single one.
    #[test]
    fn a_large_set_is_compared_by_place_and_map() {
        let (publisher, watch) = watched();
        publisher.publish((0..10_000).map(endpoint));
        let before = slots(&watch);
        // Everything moves by one place, and one comes and one goes.
        publisher.publish((1..=10_000).map(endpoint));
        let after = slots(&watch);
        let kept = before[1..]
            .iter()
            .zip(&after)
            .filter(|(old, new)| Arc::ptr_eq(old, new));
        assert_eq!(kept.count(), 9_999);
    }
}
