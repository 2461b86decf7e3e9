//! What the streams of many connections hold together.

use std::fmt;
use std::sync::{Arc, Weak};

use tokio::time::{Duration, Instant};

use crate::state::Shared;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The limit of a [`Budget`] that nobody chose.
const LIMIT: usize = 128 << 20;
/// What a stream counts for besides what it holds: its place here, and the task that serves it.
pub(crate) const STREAM: usize = 4 * 1024;
/// Connections tell the budget of changes in steps of so many bytes: calls that come and go touch nothing that
/// connections share.
const STEP: usize = 64 * 1024;
/// What a connection may hold, whatever the others do.
const ALLOWANCE: usize = 256 * 1024;
/// Relief is looked for so often at most.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound on what the streams of many connections hold together, such as all of a port.
///
/// A stream counts for what of it is unread here, for what waits to be sent on it, for its heads, and for a few
/// kilobytes of its own. The more of the budget is used, the smaller are the windows of streams, so that those that
/// nobody reads cost little and the others go on. When all of it is used, a server refuses further calls
/// (`REFUSED_STREAM`) and the streams on which nothing has moved for longest are reset (`ENHANCE_YOUR_CALM`).
/// Twice the limit is never exceeded, apart from 256 KiB for each connection. One connection gets three quarters of it.
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    connections: Vec<Weak<Shared>>,
    /// How many there may be before those that are gone are looked for.
    enough: usize,
    relieved: Option<Instant>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("limit", &self.limit)
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

impl Default for Budget {
    /// 128 MiB.
    fn default() -> Self {
        Self::of(LIMIT)
    }
}

impl Budget {
    /// So many bytes, for the connections whose [`Config`](crate::Config) has it.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self::of(limit))
    }

    fn of(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            used: AtomicUsize::new(0),
            members: Mutex::default(),
        }
    }

    /// How many bytes are used, to within a few kilobytes for each connection.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// One more connection that uses it.
    pub(crate) fn join(&self, connection: &Arc<Shared>) {
        let Ok(mut members) = self.members.lock() else {
            return;
        };
        if members.connections.len() >= members.enough {
            members.connections.retain(|known| known.strong_count() > 0);
            members.enough = 2 * members.connections.len() + 16;
        }
        members.connections.push(Arc::downgrade(connection));
    }

    /// Makes room when all is used: resets streams on which nothing moves, of those connections first that hold most.
    /// No state of a connection may be locked.
    pub(crate) fn relieve(&self) {
        let now = Instant::now();
        // Whoever is at it already does it for all.
        let Ok(mut members) = self.members.try_lock() else {
            return;
        };
        if members.relieved.is_some_and(|last| now - last < PAUSE) {
            return;
        }
        members.relieved = Some(now);
        let mut holders: Vec<(usize, Arc<Shared>)> = members
            .connections
            .iter()
            .filter_map(Weak::upgrade)
            .map(|shared| {
                let held = shared.lock().held();
                (held, shared)
            })
            .collect();
        holders.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        for (held, shared) in holders {
            // Some more than is needed, so that the next call does not need it again.
            let enough = self.limit / 8 * 7;
            let wanted = self.used().saturating_sub(enough);
            let beyond = held.saturating_sub(self.share() / 8 * 7);
            if wanted.max(beyond) == 0 {
                return;
            }
            shared.with(|state| state.shed(wanted.max(beyond), now));
        }
    }

    /// How much one connection may hold.
    fn share(&self) -> usize {
        self.limit / 4 * 3
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    held: usize,
    /// What the budget knows of.
    told: usize,
    step: usize,
}

/// How scarce memory is: 0 while there is plenty, [`Share::FULL`] when nothing is left.
pub(crate) type Scarcity = u32;

impl Share {
    /// Memory is scarce enough to ask bodies for no more than the peer takes.
    pub(crate) const SCARCE: Scarcity = 2;
    /// It is scarce enough to watch which streams move.
    pub(crate) const WATCHED: Scarcity = 3;
    /// Nothing is left.
    pub(crate) const FULL: Scarcity = 4;

    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            step: STEP.min(budget.limit / 64),
            budget,
            held: 0,
            told: 0,
        }
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// More is held; whether that may change how scarce memory is.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        self.held += bytes;
        self.held - self.told.min(self.held) > self.step && self.tell()
    }

    /// The same for less.
    pub(crate) fn subtract(&mut self, bytes: usize) -> bool {
        debug_assert!(bytes <= self.held, "{bytes} of {}", self.held);
        self.held = self.held.saturating_sub(bytes);
        self.told - self.held.min(self.told) > self.step && self.tell()
    }

    fn tell(&mut self) -> bool {
        if self.held >= self.told {
            let more = self.held - self.told;
            self.budget.used.fetch_add(more, Ordering::Relaxed);
        } else {
            let less = self.told - self.held;
            self.budget.used.fetch_sub(less, Ordering::Relaxed);
        }
        self.told = self.held;
        true
    }

    /// What is used of the budget, or of this connection's part of it, whichever is more.
    fn used(&self) -> usize {
        self.budget.used().max(self.own_used())
    }

    /// The same of this connection's part alone, in terms of the whole.
    fn own_used(&self) -> usize {
        self.held.saturating_mul(4) / 3
    }

    pub(crate) fn scarcity(&self) -> Scarcity {
        self.scarcity_of(self.used())
    }

    /// How scarce memory would be if twice as much were used. What was done because memory was scarce is undone only
    /// when it is no more scarce even then: else the two would alternate.
    pub(crate) fn calm_scarcity(&self) -> Scarcity {
        self.scarcity_of(self.used().saturating_mul(2))
    }

    fn scarcity_of(&self, used: usize) -> Scarcity {
        match used.saturating_mul(8) / self.budget.limit {
            0 => 0,
            eighths => (eighths.ilog2() + 1).min(Self::FULL),
        }
    }

    /// How much of what this connection holds is its own, however much the others hold.
    fn allowance(&self) -> usize {
        ALLOWANCE.min(self.budget.limit / 8)
    }

    /// Whether nothing more is to begin here.
    pub(crate) fn is_full(&self) -> bool {
        self.held > self.allowance() && self.scarcity() >= Self::FULL
    }

    /// Whether something that is held must go, at once.
    pub(crate) fn is_overrun(&self) -> bool {
        self.held > self.allowance() && self.used() >= self.budget.limit.saturating_mul(2)
    }

    /// How scarce memory is as far as this connection alone is to blame.
    pub(crate) fn own_scarcity(&self) -> Scarcity {
        self.scarcity_of(self.own_used())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held = 0;
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scarcity_grows_with_what_all_hold_and_with_what_one_holds() {
        let budget = Budget::new(1 << 20);
        let mut one = Share::new(Arc::clone(&budget));
        let mut other = Share::new(Arc::clone(&budget));
        let kib = 1024;
        for (held, scarcity) in [(95, 0), (97, 1), (191, 1), (193, 2), (383, 2), (385, 3), (769, 4)] {
            one.add(held * kib);
            assert_eq!(
                (one.scarcity(), one.own_scarcity()),
                (scarcity, scarcity),
                "{held}"
            );
            one.subtract(held * kib);
        }
        for (held, scarcity) in [(110, 0), (129, 1), (257, 2), (513, 3), (1025, 4)] {
            one.add(held * kib);
            assert_eq!(other.scarcity(), scarcity, "{held}");
            assert_eq!(other.own_scarcity(), 0);
            one.subtract(held * kib);
        }
        one.add(2048 * kib);
        assert!(one.is_full() && one.is_overrun());
        assert!(!other.is_full() && !other.is_overrun(), "it holds nothing");
        other.add(200 * kib);
        assert!(other.is_full() && other.is_overrun());
        drop((one, other));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn small_changes_stay_with_the_connection() {
        let budget = Budget::new(LIMIT);
        let mut share = Share::new(Arc::clone(&budget));
        for _ in 0..1000 {
            assert!(!share.add(STEP) && !share.subtract(STEP));
        }
        assert_eq!(budget.used(), 0);
        share.add(2 * STEP);
        assert_eq!(budget.used(), 2 * STEP);
        share.subtract(STEP);
        assert_eq!((budget.used(), share.held()), (2 * STEP, STEP));
        drop(share);
        assert_eq!(budget.used(), 0);
    }
}
