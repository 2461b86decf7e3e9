//! How often endpoints of an app were left out, and why.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counted for all endpoints of an app together, so that one that leaves takes nothing away.
#[derive(Debug, Default)]
pub(crate) struct Ejections {
    unreachable: AtomicU64,
    stalled: AtomicU64,
}

/// How often endpoints were left out for a while. Calls that fail together are one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EjectionCounts {
    /// Since one could not be reached.
    pub unreachable: u64,
    /// Since calls to one were given up without an answer: it stands still.
    pub stalled: u64,
}

impl Ejections {
    pub(super) fn unreachable(&self) {
        self.unreachable.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stalled(&self) {
        self.stalled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> EjectionCounts {
        EjectionCounts {
            unreachable: self.unreachable.load(Ordering::Relaxed),
            stalled: self.stalled.load(Ordering::Relaxed),
        }
    }
}

impl std::ops::Add for EjectionCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            unreachable: self.unreachable + other.unreachable,
            stalled: self.stalled + other.stalled,
        }
    }
}
