//! The connections of a pool that have nothing to do.

use std::collections::VecDeque;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::line::{Sight, Watch};
use super::{Connection, Pool};

/// A connection that came back so short a time ago is not looked at before it is used again: that would be a system
/// call for every call of a busy app.
const FRESH: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Idle<B> {
    connection: Connection<B>,
    pub(super) since: Instant,
}

impl<B> Pool<B> {
    pub(super) fn idle(&self) -> MutexGuard<'_, VecDeque<Idle<B>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, and how long ago. Of all connections the app is least likely to close this one,
    /// and the others age until they are surplus.
    pub(super) fn take_idle(&self, is_repeatable: bool) -> Option<(Connection<B>, Duration)> {
        let young = if is_repeatable {
            Duration::MAX
        } else {
            self.keeping.young()
        };
        let mut idle = self.idle();
        while let Some(last) = idle.back() {
            let age = last.since.elapsed();
            if age >= self.config.idle_timeout {
                // The others are older still.
                idle.clear();
                return None;
            }
            if age > young {
                // It stays for requests that may be repeated. Whether the oldest one is still there tells how patient
                // the app is.
                let oldest = idle.front().unwrap_or(last);
                let (watch, age) = (oldest.connection.watch.clone(), oldest.since.elapsed());
                drop(idle);
                if !self.is_open(&watch, age) {
                    self.forget(&watch);
                }
                return None;
            }
            if let Some(Idle { connection, .. }) = idle.pop_back()
                && !connection.sender.is_closed()
                && !self.is_over(&connection)
            {
                return Some((connection, age));
            }
        }
        None
    }

    /// Whether a connection that was idle for so long is still to be used.
    pub(super) fn is_open(&self, watch: &Watch, idle: Duration) -> bool {
        if idle < FRESH {
            return true;
        }
        let sight = watch.look();
        match sight {
            // Many servers wait longer for a first request than for a further one.
            Sight::Open if !watch.is_used() => {}
            Sight::Open => self.keeping.was_open(idle),
            Sight::Closed => self.keeping.was_closed(idle),
            Sight::Talking => {}
        }
        sight == Sight::Open
    }

    /// A connection has ended.
    pub(super) fn forget(&self, watch: &Watch) {
        let mut idle = self.idle();
        let at = idle.iter().position(|idle| idle.connection.watch.is(watch));
        if let Some(gone) = at.and_then(|at| idle.remove(at)) {
            self.keeping.was_closed(gone.since.elapsed());
        }
    }

    /// Closes a connection that no call wanted in the end. A thread of the app may be waiting for its request
    /// (gunicorn's do so for five seconds), and be missed by others.
    pub(super) fn drop_unused(&self, watch: &Watch) {
        if !watch.is_used() {
            self.idle().retain(|idle| !idle.connection.watch.is(watch));
        }
    }

    /// Whether a connection takes no more requests, although it is well.
    pub(super) fn is_over(&self, connection: &Connection<B>) -> bool {
        self.config.reuse.is_over(connection.made, connection.calls)
    }

    pub(super) fn put_idle(&self, connection: Connection<B>) {
        let mut idle = self.idle();
        idle.push_back(Idle {
            connection,
            since: Instant::now(),
        });
        self.drop_surplus(&mut idle);
        drop(idle);
        self.freed.notify_one();
    }

    /// Closes connections that were idle for too long, although nobody calls.
    pub(super) fn sweep(&self) {
        let mut idle = self.idle();
        let limit = self.config.idle_timeout;
        while idle.front().is_some_and(|oldest| oldest.since.elapsed() >= limit) {
            idle.pop_front();
        }
        if self.config.reuse.is_bounded() {
            idle.retain(|idle| !self.is_over(&idle.connection));
        }
        self.drop_surplus(&mut idle);
    }

    /// Keeps the connections of a burst for a moment: the next burst mostly follows at once.
    fn drop_surplus(&self, idle: &mut VecDeque<Idle<B>>) {
        let surplus_timeout = self.config.surplus_timeout;
        while idle.len() > self.config.max_idle
            && idle
                .front()
                .is_some_and(|oldest| oldest.since.elapsed() >= surplus_timeout)
        {
            idle.pop_front();
        }
    }
}
