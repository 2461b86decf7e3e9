//! What the balancer knows of each endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Endpoint;
use super::ejections::Ejections;
use super::pace::{self, Pace};
use super::trouble::{TRIAL, Trouble};

/// One endpoint of a set. What a look at a candidate needs stands first, and shares a line of the cache: with very many
/// endpoints each look fetches one from memory.
#[derive(Debug)]
#[repr(C, align(32))]
pub(super) struct Slot {
    /// The slot that has the state, when this is the same address with something new said of it.
    first: Option<Arc<Slot>>,
    state: State,
    pub(super) endpoint: Endpoint,
}

/// The load and the recent failures of an address, which outlive the set that it is in. All of it is atomic: picking
/// takes no lock.
#[derive(Debug)]
#[repr(C)]
pub(super) struct State {
    in_flight: AtomicUsize,
    trouble: Trouble,
    /// How fast it answers, if there are others.
    pace: Pace,
    epoch: Instant,
    /// How often it was picked.
    picks: AtomicU64,
    /// When it came, if others were there before it, or came back, in milliseconds after `epoch`; [`ALWAYS`] otherwise.
    came: AtomicU64,
    /// Shared by all endpoints of the app.
    ejections: Arc<Ejections>,
}

/// It was there from the beginning.
const ALWAYS: u64 = u64::MAX;

/// An endpoint as the balancer sees it at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// Its address, `host:port`.
    pub address: Arc<str>,
    /// How many calls are in flight to it.
    pub in_flight: usize,
    /// How often it was picked.
    pub picks: u64,
    /// Whether it is left out since it could not be reached lately.
    pub is_out: bool,
}

impl Slot {
    /// `is_new` if others are there already.
    pub(super) fn new(
        endpoint: Endpoint,
        epoch: Instant,
        is_new: bool,
        ejections: &Arc<Ejections>,
    ) -> Arc<Self> {
        Self::with(None, endpoint, epoch, is_new, ejections)
    }

    /// The same address, of which the resolver says something new.
    pub(super) fn renewed(self: &Arc<Self>, endpoint: Endpoint) -> Arc<Self> {
        let first = self.first.as_ref().unwrap_or(self);
        let endpoint = self.endpoint.renewed(endpoint);
        let State { epoch, ejections, .. } = &self.state;
        Self::with(Some(Arc::clone(first)), endpoint, *epoch, false, ejections)
    }

    fn with(
        first: Option<Arc<Self>>,
        endpoint: Endpoint,
        epoch: Instant,
        is_new: bool,
        ejections: &Arc<Ejections>,
    ) -> Arc<Self> {
        let state = State {
            in_flight: AtomicUsize::new(0),
            trouble: Trouble::default(),
            pace: Pace::default(),
            epoch,
            picks: AtomicU64::new(0),
            came: AtomicU64::new(if is_new { millis_since(epoch) } else { ALWAYS }),
            ejections: Arc::clone(ejections),
        };
        Arc::new(Self {
            first,
            state,
            endpoint,
        })
    }

    /// What is known of the address.
    pub(super) fn state(&self) -> &State {
        self.first.as_deref().map_or(&self.state, |first| &first.state)
    }

    /// How it is at the moment.
    pub(super) fn now(&self) -> EndpointState {
        EndpointState {
            address: Arc::clone(self.endpoint.address()),
            in_flight: self.load(),
            picks: self.state().picks.load(Ordering::Relaxed),
            is_out: self.is_out(),
        }
    }

    pub(super) fn load(&self) -> usize {
        self.state().in_flight.load(Ordering::Relaxed)
    }

    /// For how long it has been there, if it came to others, or has been back.
    pub(super) fn age(&self) -> Option<Duration> {
        let state = self.state();
        let came = state.came.load(Ordering::Relaxed);
        (came != ALWAYS).then(|| Duration::from_millis(state.now().saturating_sub(came)))
    }

    /// How long this one and another take, if one of them is much slower.
    pub(super) fn paces(&self, other: &Self) -> Option<(u64, u64)> {
        let (state, other) = (self.state(), other.state());
        state
            .pace
            .compare(&other.pace, || pace::ticks(state.epoch.elapsed()))
    }

    /// Whether the endpoint failed lately. Costs no look at the clock for one that never did.
    pub(super) fn is_out(&self) -> bool {
        #[cfg(test)]
        tests::LOOKS.with(|looks| looks.set(looks.get() + 1));
        let state = self.state();
        state.trouble.is_out(|| state.now())
    }

    pub(super) fn is_among(&self, tried: &[Tried]) -> bool {
        tried
            .iter()
            .any(|tried| std::ptr::eq(tried.0.state(), self.state()))
    }
}

impl State {
    fn now(&self) -> u64 {
        millis_since(self.epoch)
    }

    /// Leaves the endpoint out for a while: it could not be reached.
    pub(super) fn fail(&self, is_trial: bool) {
        if self.trouble.fail(is_trial, self.now()) {
            self.ejections.unreachable();
        }
    }

    /// Nothing came of a call for long. Leaves the endpoint out for a while if it seems to stand still.
    fn stall(&self, is_trial: bool) {
        let now = self.now();
        let is_failure = if is_trial {
            self.trouble.fail(true, now)
        } else {
            self.trouble.stall(now)
        };
        if is_failure {
            self.ejections.stalled();
        }
    }

    /// It answered. If it had failed it is back from now on.
    pub(super) fn succeed(&self) {
        if self.trouble.succeed() {
            self.came.store(self.now(), Ordering::Relaxed);
        }
    }
}

fn millis_since(epoch: Instant) -> u64 {
    epoch.elapsed().as_millis() as u64
}

/// An endpoint picked for one attempt, which counts as one in flight there until this is dropped.
#[derive(Debug)]
pub struct Picked(InFlight);

/// A call in flight to an endpoint. The endpoint's count goes down when this is dropped.
#[derive(Debug)]
pub struct InFlight {
    slot: Arc<Slot>,
    /// When it began, as long as its answer has not and somebody wants to know how long that takes.
    awaited_since: Option<Instant>,
    /// It is the one call that finds out whether an endpoint that failed is well again.
    is_trial: bool,
    /// It goes there although the endpoint is left out, since all others that were found are, too.
    is_last_resort: bool,
}

/// An endpoint that a call goes to or went to. It is no load.
#[derive(Clone, Debug)]
pub struct Tried(Arc<Slot>);

impl Picked {
    /// One of several: how long it takes counts in later choices.
    pub(super) fn new(slot: &Arc<Slot>) -> Self {
        Self::with(slot, Some(Instant::now()))
    }

    /// One of several that are all left out.
    pub(super) fn last_resort(slot: &Arc<Slot>) -> Self {
        let mut picked = Self::new(slot);
        picked.0.is_last_resort = true;
        picked
    }

    /// The only one, which is picked however long it takes.
    pub(super) fn only(slot: &Arc<Slot>) -> Self {
        Self::with(slot, None)
    }

    fn with(slot: &Arc<Slot>, awaited_since: Option<Instant>) -> Self {
        let state = slot.state();
        state.in_flight.fetch_add(1, Ordering::Relaxed);
        state.picks.fetch_add(1, Ordering::Relaxed);
        Self(InFlight {
            slot: Arc::clone(slot),
            awaited_since,
            is_trial: state.trouble.begin_trial(|| state.now()),
            is_last_resort: false,
        })
    }

    /// Where to send the attempt.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.slot.endpoint
    }

    /// The endpoint, so that it is not picked again for the same call.
    pub fn tried(&self) -> Tried {
        Tried(Arc::clone(&self.0.slot))
    }

    /// Whether it was picked although it is left out, since all others that were found are, too.
    pub(crate) fn is_last_resort(&self) -> bool {
        self.0.is_last_resort
    }

    /// The attempt was answered; the count goes on with what is returned. How long it took is taken note of if the answer
    /// is a success: an instance that fails at once must not be taken for a fast one.
    pub fn succeeded(mut self, is_success: bool) -> InFlight {
        let state = self.0.slot.state();
        state.succeed();
        self.0.is_trial = false;
        if let Some(since) = self.0.awaited_since.take()
            && is_success
        {
            let now = Instant::now();
            let ticks = pace::ticks(now.duration_since(state.epoch));
            state.pace.answered(now.duration_since(since), ticks);
        }
        self.0
    }

    /// The endpoint could not be reached: it is left out for a while.
    pub(crate) fn failed(&mut self) {
        let is_trial = std::mem::take(&mut self.0.is_trial);
        self.0.slot.state().fail(is_trial);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let state = self.slot.state();
        state.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(since) = self.awaited_since {
            let waited = since.elapsed();
            state.pace.given_up(waited, pace::ticks(state.epoch.elapsed()));
            // Whoever goes away at once has not seen anything.
            if waited >= TRIAL {
                state.stall(self.is_trial);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;
    use std::mem::{offset_of, size_of};

    use super::*;

    thread_local! {
        /// How often this thread looked at a slot.
        pub(crate) static LOOKS: Cell<usize> = const { Cell::new(0) };
    }

    /// A slot begins at a multiple of 32 bytes, so these never lie on two lines of 64.
    #[test]
    fn what_a_look_needs_is_in_one_line_of_the_cache() {
        let needed = [
            offset_of!(Slot, first) + size_of::<Option<Arc<Slot>>>(),
            offset_of!(Slot, state) + offset_of!(State, in_flight) + size_of::<AtomicUsize>(),
            offset_of!(Slot, state) + offset_of!(State, trouble) + size_of::<Trouble>(),
            offset_of!(Slot, state) + offset_of!(State, pace) + size_of::<Pace>(),
        ];
        assert!(needed.iter().all(|end| *end <= align_of::<Slot>()), "{needed:?}");
    }

    #[test]
    fn what_is_known_goes_on_however_often_the_endpoint_is_told_anew() {
        let endpoint = || Endpoint::new("127.0.0.1:1");
        let first = Slot::new(endpoint(), Instant::now(), false, &Arc::default());
        let second = first.renewed(endpoint().in_zone("a"));
        let third = second.renewed(endpoint().in_zone("b"));
        let mut held = Picked::new(&second);
        assert_eq!([&first, &second, &third].map(|slot| slot.load()), [1; 3]);
        assert!(third.is_among(&[held.tried()]));
        held.failed();
        assert!(first.is_out() && third.is_out());
        drop(held);
        assert_eq!(third.load(), 0);
        let wanted = EndpointState {
            address: "127.0.0.1:1".into(),
            in_flight: 0,
            picks: 1,
            is_out: true,
        };
        assert_eq!(third.now(), wanted);
        // One that is gone is kept for its state alone, and no chain of them grows.
        assert!(Arc::ptr_eq(third.first.as_ref().unwrap(), &first));
    }
}
