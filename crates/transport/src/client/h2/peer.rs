//! The connections to one peer, and the calls on them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http2::client::Sender;
use tokio::time::Instant;

use super::PeerKey;
use crate::client::connect::ConnectError;
use crate::client::reuse::Reuse;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::tls::Withdrawals;

/// How many connections there are to one peer on account of calls that wait.
pub(super) const MOST_CONNECTIONS: usize = 8;
/// A connection whose window is used up for so long gets no further calls: streams that nobody reads at the peer may
/// hold all of it, and calls whose heads went out can go nowhere else any more.
const BLOCKED: Duration = Duration::from_millis(20);

/// A connection with more calls than this is busy enough to share its work with another one.
pub(super) const CROWD: usize = 256;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: PeerKey,
    /// The pool knows it. One that the pool let go may still be known to a [`super::Destination`], and keeps no
    /// connections: nobody would ever close them.
    is_listed: AtomicBool,
    pub(super) connections: RwLock<Vec<Arc<Connection>>>,
    /// Held while a connection is made, so that concurrent callers share it, or its failure.
    pub(super) dialling: tokio::sync::Mutex<Option<Failure>>,
    failures: AtomicU64,
    /// A further connection is being made, or could not be made a moment ago.
    is_spreading: AtomicBool,
}

/// The turn to make a further connection.
#[derive(Debug)]
pub(super) struct Spreading(Arc<Peer>);

impl Spreading {
    pub(super) fn peer(&self) -> Arc<Peer> {
        Arc::clone(&self.0)
    }

    pub(super) fn keep(self, connection: Connection) {
        self.0.keep(&Arc::new(connection));
    }
}

impl Drop for Spreading {
    fn drop(&mut self) {
        self.0.is_spreading.store(false, Ordering::Release);
    }
}

/// The last connection that could not be made.
#[derive(Debug)]
pub(super) struct Failure {
    number: u64,
    error: ConnectError,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: Sender,
    pub(super) usage: Arc<Usage>,
    /// How often trust had been withdrawn when it was made, and whoever counts that.
    trust: Option<(u64, Withdrawals)>,
    reuse: Reuse,
}

#[derive(Debug)]
pub(super) struct Usage {
    epoch: Instant,
    users: AtomicUsize,
    /// How many users there were while the number of calls had a bound, and the first one.
    entered: AtomicU32,
    /// Milliseconds after `epoch` at which the last user left.
    idle_since: AtomicU64,
}

/// One call on a connection.
#[derive(Debug)]
pub(super) struct User(Arc<Usage>);

impl User {
    /// A place on the connection, if it has one left.
    pub(super) fn enter(usage: &Arc<Usage>, limit: usize) -> Option<Self> {
        let entered = usage
            .users
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| {
                (n < limit).then_some(n + 1)
            });
        entered.is_ok().then(|| Self(Arc::clone(usage)))
    }

    /// Counts as one of the calls that the connection may get in all, if it has one left.
    fn counted(self, most: u32) -> Option<Self> {
        // Without a bound nobody counts: calls that share a connection would share one more word.
        if most == u32::MAX {
            return Some(self);
        }
        let next = |entered: u32| (entered < most).then(|| entered.saturating_add(1));
        let entered = &self.0.entered;
        let counted = entered.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        counted.is_ok().then_some(self)
    }
}

impl Failure {
    /// The error, if it came after so many others.
    pub(super) fn after(&self, failures: u64) -> Option<ConnectError> {
        (self.number > failures).then(|| self.error.clone())
    }
}

impl Connection {
    pub(super) fn new(sender: Sender, trust: Option<(u64, Withdrawals)>, reuse: Reuse) -> Self {
        let usage = Usage {
            epoch: Instant::now(),
            users: AtomicUsize::new(0),
            entered: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
        };
        Self {
            sender,
            usage: Arc::new(usage),
            trust,
            reuse,
        }
    }

    /// A place for one more call.
    pub(super) fn enter(&self, limit: usize) -> Option<User> {
        User::enter(&self.usage, limit)?.counted(self.reuse.most_calls())
    }

    /// The call that it was made for.
    pub(super) fn first_user(self) -> (Arc<Self>, User) {
        let usage = &self.usage;
        usage.users.fetch_add(1, Ordering::AcqRel);
        usage.entered.fetch_add(1, Ordering::AcqRel);
        let user = User(Arc::clone(usage));
        (Arc::new(self), user)
    }

    /// Whether it had all the calls that it is to have.
    pub(super) fn is_over(&self) -> bool {
        self.reuse
            .is_over(self.usage.epoch, self.usage.entered.load(Ordering::Relaxed))
    }

    /// Whether it takes no more calls: it is over, it had all that it is to have, or the other side must prove anew who
    /// it is.
    fn is_closed(&self) -> bool {
        self.sender.is_closed()
            || self.is_over()
            || self
                .trust
                .as_ref()
                .is_some_and(|(count, trust)| trust.count() > *count)
    }

    /// How many calls it carries at once.
    fn limit(&self, max_users: usize) -> usize {
        max_users.min(self.sender.max_streams())
    }

    #[cfg(test)]
    pub(super) fn users(&self) -> usize {
        self.usage.users.load(Ordering::Relaxed)
    }

    /// Whether it carries as many calls as the peer takes, those that wait for their turn included.
    pub(super) fn is_crowded(&self) -> bool {
        self.usage.users.load(Ordering::Relaxed) >= self.sender.max_streams()
    }

    /// Whether it carries as many calls as the peer takes, and none of them ended for so long.
    pub(super) fn is_stuck(&self, patience: Duration) -> bool {
        // Before its SETTINGS a peer is merely slow to answer, and nothing is known of how many streams it takes.
        self.sender.is_greeted() && self.usage.idle_for() >= patience
    }
}

impl Usage {
    /// How long ago the last user left. One may leave at this moment.
    fn idle_for(&self) -> Duration {
        let idle_since = Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
        self.epoch.elapsed().saturating_sub(idle_since)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0
            .idle_since
            .store(self.0.epoch.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Peer {
    /// A peer that the pool is about to know.
    pub(super) fn listed(key: PeerKey) -> Self {
        Self {
            is_listed: AtomicBool::new(true),
            ..Self::unlisted(key)
        }
    }

    /// A peer that the pool need not know.
    pub(super) fn unlisted(key: PeerKey) -> Self {
        Self {
            key,
            is_listed: AtomicBool::new(false),
            connections: RwLock::default(),
            dialling: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
            is_spreading: AtomicBool::new(false),
        }
    }

    /// Whether the pool knows it.
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Acquire)
    }

    /// The pool knows it no more. Calls on its connections go on.
    pub(super) fn let_go(&self) {
        // Under the lock of `keep`: a call that dials meanwhile adds its connection either before this or not at all.
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        self.is_listed.store(false, Ordering::Release);
        connections.clear();
    }

    /// How many connections could not be made so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Remembers why a connection could not be made, for those who wait for it.
    pub(super) fn failed(&self, last: &mut Option<Failure>, error: &ConnectError) {
        *last = Some(Failure {
            number: self.failures.fetch_add(1, Ordering::AcqRel) + 1,
            error: error.clone(),
        });
    }

    /// A connection with a free place on which nothing is stuck: the first one with few calls, or else the one with the
    /// fewest. Filling the first ones lets the last ones become idle in a quiet hour, and idle ones are closed.
    pub(super) fn free(&self, max_users: usize) -> Option<(Arc<Connection>, User)> {
        let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
        let usable = || {
            connections
                .iter()
                .filter(|connection| !connection.is_closed() && !connection.sender.is_clogged(BLOCKED))
        };
        let enter =
            |connection: &Arc<Connection>, limit| Some((Arc::clone(connection), connection.enter(limit)?));
        let few = usable().find_map(|connection| enter(connection, connection.limit(max_users.min(CROWD))));
        few.or_else(|| {
            let users = |connection: &&Arc<Connection>| connection.usage.users.load(Ordering::Relaxed);
            let least = usable()
                .filter(|connection| users(connection) < connection.limit(max_users))
                .min_by_key(users)?;
            enter(least, least.limit(max_users))
        })
    }

    /// Whether [`Self::free`] would find a connection.
    pub(super) fn has_place(&self, max_users: usize) -> bool {
        let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
        connections.iter().any(|connection| {
            !connection.is_closed()
                && !connection.sender.is_clogged(BLOCKED)
                && connection.usage.users.load(Ordering::Relaxed) < connection.limit(max_users)
        })
    }

    /// The turn to make a further connection, unless somebody has it.
    pub(super) fn spread(peer: &Arc<Self>) -> Option<Spreading> {
        let was_spreading = peer.is_spreading.swap(true, Ordering::AcqRel);
        (!was_spreading).then(|| Spreading(Arc::clone(peer)))
    }

    /// Whether so many connections are too few for the calls on them, of which this one has the fewest: each is driven
    /// by one processor at a time.
    pub(super) fn is_crowded(&self, connection: &Connection, wanted: usize) -> bool {
        connection.usage.users.load(Ordering::Relaxed) > CROWD && {
            let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
            connections.iter().filter(|known| !known.is_closed()).count() < wanted
        }
    }

    /// The connection that is the least evil when none is free: the calls of one that carries as many as the peer
    /// takes are waited for. One where something is in the way is taken only if there are to be no more of them.
    pub(super) fn busy(&self, max_users: usize) -> Option<(Arc<Connection>, User)> {
        let may_have_more = self.may_have_more();
        let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
        let users = |connection: &Connection| connection.usage.users.load(Ordering::Relaxed);
        let least = connections
            .iter()
            .filter(|connection| !connection.is_closed() && users(connection) < max_users)
            .filter(|connection| !may_have_more || !connection.sender.is_clogged(BLOCKED))
            .min_by_key(|connection| users(connection))?;
        Some((Arc::clone(least), least.enter(max_users)?))
    }

    /// Whether there may be one more connection on account of calls that wait.
    pub(super) fn may_have_more(&self) -> bool {
        let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
        let open = connections.iter().filter(|connection| !connection.is_closed());
        open.count() < MOST_CONNECTIONS
    }

    /// Keeps a connection for further calls, unless the pool let the peer go meanwhile.
    pub(super) fn keep(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|known| !known.is_closed());
        // One that is not kept serves the call that made it, and ends with it.
        if self.is_listed() {
            connections.push(Arc::clone(connection));
        }
    }

    pub(super) fn forget(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|known| !Arc::ptr_eq(known, connection));
    }

    pub(super) fn purge(&self, max_idle: Duration) -> usize {
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        let before = connections.len();
        connections.retain(|connection| {
            let usage = &connection.usage;
            usage.users.load(Ordering::Acquire) > 0 || !connection.is_closed() && usage.idle_for() < max_idle
        });
        before - connections.len()
    }

    /// Whether it has no call, nor one that waits for a connection. Without its peer each of those that wait would make
    /// a connection of its own.
    pub(super) fn is_idle(&self) -> bool {
        let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
        let mut usages = connections.iter().map(|connection| &connection.usage);
        usages.all(|usage| usage.users.load(Ordering::Relaxed) == 0) && !self.is_dialling()
    }

    fn is_dialling(&self) -> bool {
        self.dialling.try_lock().is_err()
    }

    pub(super) fn is_in_use(&self) -> bool {
        !self
            .connections
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
            || self.is_dialling()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call may end just as a purge looks at its connection.
    #[test]
    fn a_connection_that_became_idle_this_moment_is_idle_for_no_time() {
        let usage = Usage {
            epoch: Instant::now(),
            users: AtomicUsize::new(0),
            entered: AtomicU32::new(0),
            idle_since: AtomicU64::new(1_000_000),
        };
        assert_eq!(usage.idle_for(), Duration::ZERO);
    }
}
