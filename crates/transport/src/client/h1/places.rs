//! Places in the pool, and who gets one when all are taken.
//!
//! A call has its place until its answer was read. So callers that ask for much and read nothing could have all of
//! them, for ever. When others wait, answers that nobody has read for a while are given up.

use std::pin::pin;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::line::{Shared, Watch};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// How often it is looked which answers are not read, while calls wait for a place.
const TICK: Duration = Duration::from_millis(500);
/// An answer that was seen unread so many times in a row, for two seconds, may be given up.
const STILL: u32 = 4;

/// Whether somebody asks for the answer on a connection. It costs a call two writes to memory that nobody else looks
/// at, and no clock.
#[derive(Debug, Default)]
pub(super) struct Reading(AtomicU32);

impl Reading {
    /// The app is waited for, or there is no call.
    const ASKING: u32 = 0;
    const GIVEN_UP: u32 = u32::MAX;

    /// The reader asks for more. `false` if the answer was given up.
    pub(super) fn asks(&self) -> bool {
        let is_given_up = self.0.swap(Self::ASKING, Ordering::AcqRel) == Self::GIVEN_UP;
        // For this moment it looks like an answer that is read. A look leaves such a one alone.
        if is_given_up {
            self.0.store(Self::GIVEN_UP, Ordering::Release);
        }
        !is_given_up
    }

    /// The reader has something, and has not asked for more.
    pub(super) fn has_some(&self) {
        self.0.store(1, Ordering::Release);
    }

    /// The call is over; whether it was given up.
    fn ends(&self) -> bool {
        self.0.swap(Self::ASKING, Ordering::AcqRel) == Self::GIVEN_UP
    }

    /// Somebody looks: how often it was seen since the reader asked last.
    fn seen(&self) -> u32 {
        let count = |seen| (1..Self::GIVEN_UP - 1).contains(&seen).then(|| seen + 1);
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, count)
            .map_or(0, |before| before)
    }

    /// Gives the answer up, unless its reader came in between.
    fn give_up(&self) -> bool {
        let is_unread = |seen| (seen > STILL && seen != Self::GIVEN_UP).then_some(Self::GIVEN_UP);
        let changed = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, is_unread);
        changed.is_ok()
    }
}

/// The places of a pool, and the connections that are there.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    count: usize,
    most_waiting: usize,
    patience: Duration,
    waiting: AtomicUsize,
    has_told: AtomicBool,
    open: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    connections: Vec<(Weak<Shared>, AbortHandle)>,
    /// How many there may be before those that are gone are looked for.
    enough: usize,
    looked: Option<Instant>,
}

/// Why a call gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("{0} calls wait for a connection already")]
    TooMany(usize),
    #[error("no connection was free for {} s", .0.as_secs())]
    TooLong(Duration),
}

impl Places {
    pub(super) fn new(count: usize, most_waiting: usize, patience: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            count,
            most_waiting,
            patience,
            waiting: AtomicUsize::new(0),
            has_told: AtomicBool::new(false),
            open: Mutex::default(),
        }
    }

    /// A place for one more call.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit, NoPlace> {
        match Arc::clone(&self.free).try_acquire_owned() {
            Ok(place) => Ok(place),
            // Rare, and large: a call must not carry room for it.
            Err(_) => Box::pin(self.wait()).await,
        }
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit, NoPlace> {
        let _one = WaitingCall::begin(&self.waiting, self.most_waiting)?;
        let begun = Instant::now();
        let mut entering = pin!(Arc::clone(&self.free).acquire_owned());
        while begun.elapsed() < self.patience {
            match timeout(TICK.min(self.patience), entering.as_mut()).await {
                // It is never closed.
                Ok(entered) => return entered.map_err(|_| NoPlace::TooLong(self.patience)),
                Err(_) => self.relieve(),
            }
        }
        Err(NoPlace::TooLong(self.patience))
    }

    /// How much of an answer is read at once on one more connection. With many of them each gets less, since their
    /// answers may all be unread at once.
    pub(super) fn buffer(&self) -> usize {
        buffer_with(self.count.saturating_sub(self.free.available_permits()))
    }

    /// One more connection.
    pub(super) fn add(&self, watch: &Watch, task: AbortHandle) {
        let mut open = self.open();
        if open.connections.len() >= open.enough {
            open.forget_closed();
        }
        open.connections.push((watch.weak(), task));
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks which answers are not read, and gives up as many as calls wait: those first that have been so for longest.
    fn relieve(&self) {
        let now = Instant::now();
        let mut open = self.open();
        // Whoever has just looked did so for all that wait.
        if open.looked.is_some_and(|looked| now - looked < TICK) {
            return;
        }
        open.looked = Some(now);
        // The calls write how far they are without a lock, and each look counts up: four looks without a read in
        // between are two seconds.
        let seen = |(weak, task): &(Weak<Shared>, AbortHandle)| {
            let shared = weak.upgrade()?;
            let times = shared.reading.seen();
            (times >= STILL).then(|| (times, shared, task.clone()))
        };
        let mut still: Vec<_> = open.connections.iter().filter_map(seen).collect();
        drop(open);
        still.sort_unstable_by_key(|(times, ..)| std::cmp::Reverse(*times));
        let wanted = self.waiting.load(Ordering::Relaxed);
        for (_, shared, task) in still.into_iter().take(wanted) {
            if shared.reading.give_up() {
                task.abort();
                // Passed on at once: the call may not notice for a long time that its answer was given up.
                self.free.add_permits(1);
                self.tell();
            }
        }
    }

    fn tell(&self) {
        if !self.has_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "All connections to the app are in use: answers that nobody reads are given up for calls that wait"
            );
        }
    }
}

/// The same with so many connections in use: all of them together read 8 MiB ahead, or 8 KiB each if that is more.
fn buffer_with(connections: usize) -> usize {
    match connections {
        0..32 => 256 * 1024,
        32..128 => 64 * 1024,
        128..512 => 16 * 1024,
        _ => 8 * 1024,
    }
}

impl OpenConnections {
    fn forget_closed(&mut self) {
        self.connections.retain(|(shared, _)| shared.strong_count() > 0);
        self.enough = 2 * self.connections.len() + 16;
    }
}

/// One of the calls that wait.
struct WaitingCall<'a>(&'a AtomicUsize);

impl<'a> WaitingCall<'a> {
    fn begin(all: &'a AtomicUsize, most: usize) -> Result<Self, NoPlace> {
        if all.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(Self(all));
        }
        all.fetch_sub(1, Ordering::Relaxed);
        Err(NoPlace::TooMany(most))
    }
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place that a call has, on a connection.
#[derive(Debug)]
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    watch: Watch,
}

impl Place {
    pub(super) fn new(permit: OwnedSemaphorePermit, watch: &Watch) -> Self {
        Self {
            permit: Some(permit),
            watch: watch.clone(),
        }
    }
}

impl Place {
    /// The call is over, and the connection is about to serve another one. Returns what keeps the place from others.
    pub(super) fn end(mut self) -> Option<OwnedSemaphorePermit> {
        self.settle()
    }

    fn settle(&mut self) -> Option<OwnedSemaphorePermit> {
        let permit = self.permit.take()?;
        if self.watch.reading().ends() {
            // Whoever gave the answer up has passed the place on.
            permit.forget();
            return None;
        }
        Some(permit)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_ahead_gets_less_with_more_connections() {
        for connections in 1..5000 {
            let all = connections * buffer_with(connections);
            let most = (8 << 20).max(connections * 8 * 1024);
            assert!((8 * 1024..=256 * 1024).contains(&buffer_with(connections)));
            assert!(all <= most, "{connections}: {all}");
        }
    }

    #[test]
    fn an_answer_is_given_up_when_it_was_seen_unread_again_and_again() {
        let reading = Reading::default();
        assert_eq!(reading.seen(), 0, "the app is waited for");
        for _ in 0..2 {
            assert!(reading.asks());
            reading.has_some();
            for times in 1..STILL {
                assert_eq!(reading.seen(), times);
                assert!(!reading.give_up());
            }
        }
        assert_eq!(reading.seen(), STILL);
        assert!(reading.give_up());
        assert!(!reading.give_up(), "once");
        assert_eq!(reading.seen(), 0);
        assert!(!reading.asks() && !reading.asks());
        assert!(reading.ends());
        assert!(!reading.ends() && reading.asks(), "the next call is another one");
    }
}
