//! The copies of calls that an app gets, counted and bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Peer;

/// What became of a call that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The copy was answered, with anything but a failure.
    Answered,
    /// It was answered with a failure, not at all, or not in time.
    Failed,
    /// It was not made, since too many were under way.
    Busy,
    /// It was not made, since the body of the call was too long to be kept or did not come whole.
    Unfit,
}

impl Copied {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Failed, Self::Busy, Self::Unfit];
}

/// How the copies fared that an app got, and how many are under way. They outlive a change of the configuration.
#[derive(Debug, Default)]
pub struct Copies {
    counts: [AtomicU64; Copied::ALL.len()],
    under_way: AtomicUsize,
    /// Bytes of bodies that have not come whole.
    kept: AtomicU64,
}

impl Copies {
    /// How many calls fared like that.
    pub fn count(&self, what: Copied) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    /// Whether so many are under way.
    pub(crate) fn are_enough(&self, at_once: usize) -> bool {
        self.under_way.load(Ordering::Relaxed) >= at_once
    }

    pub(crate) fn tell(&self, what: Copied) {
        self.counts[what as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The place of a copy that is under way.
#[derive(Debug)]
pub(crate) struct Place(Arc<Peer>);

impl Place {
    /// A place among so many, if one is free.
    pub(crate) fn take(peer: &Arc<Peer>, at_once: usize) -> Option<Self> {
        let place = Self(Arc::clone(peer));
        let before = peer.copies().under_way.fetch_add(1, Ordering::Relaxed);
        // One too many is given back by the drop.
        (before < at_once).then_some(place)
    }

    /// The app that gets the copy.
    pub(crate) fn peer(&self) -> &Peer {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.copies().under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes of one body that are kept until all of it has come.
#[derive(Debug)]
pub(crate) struct KeptBytes {
    peer: Arc<Peer>,
    count: u64,
}

impl KeptBytes {
    pub(crate) fn none(peer: &Arc<Peer>) -> Self {
        Self {
            peer: Arc::clone(peer),
            count: 0,
        }
    }

    /// Keeps so many more, if one body may have so many, and all of them together.
    pub(crate) fn add(&mut self, more: u64, one: u64, all: u64) -> bool {
        self.count += more;
        let before = self.peer.copies().kept.fetch_add(more, Ordering::Relaxed);
        self.count <= one && before + more <= all
    }
}

impl Drop for KeptBytes {
    fn drop(&mut self) {
        self.peer.copies().kept.fetch_sub(self.count, Ordering::Relaxed);
    }
}
