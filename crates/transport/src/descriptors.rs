//! File descriptors of the process, and what is done when they run out. Each connection takes one.
//!
//! A process with a low limit (`ulimit -n`) would soon hold nothing but idle connections. It could accept no new client,
//! and it could not connect to the app for the clients that it has. So servers leave a reserve alone, and close
//! connections without a call before they accept new ones.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, LazyLock, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout};

use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// How many are left alone for other things than what servers accept: a quarter, within these bounds.
const LEAST_RESERVE: u64 = 16;
const MOST_RESERVE: u64 = 1024;
/// How long room is waited for before it is looked for again.
const PAUSE: Duration = Duration::from_millis(50);
/// The log tells of it this often at most.
const SILENCE: Duration = Duration::from_secs(60);

/// The connection has no call.
const IDLE: u8 = 1;
/// It had one since it was looked at last.
const USED: u8 = 2;
/// It is to close.
const UNWANTED: u8 = 4;

/// What the process may have open, shared by the servers that take from it. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Descriptors(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    /// Numbers are given out from below: one that is as large as this says that few are left.
    scarce_from: u64,
    are_scarce: AtomicBool,
    members: Mutex<Members>,
    freed: Notify,
    told: Mutex<Option<Instant>>,
}

/// The connections, in a ring around which a hand goes.
#[derive(Debug, Default)]
struct Members {
    all: Vec<Arc<Place>>,
    hand: usize,
}

/// What is known of one connection.
#[derive(Debug, Default)]
struct Place {
    state: AtomicU8,
    index: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Place {
    /// Tells the connection to close, if it still has no call.
    fn turns_unwanted(&self) -> bool {
        let told = self
            .state
            .compare_exchange(IDLE, IDLE | UNWANTED, Ordering::AcqRel, Ordering::Relaxed);
        told.is_ok()
    }
}

impl Default for Descriptors {
    /// Without a known limit: only when the system refuses one is something done.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Descriptors {
    /// Those of this process, with its soft limit when this is called first. Whoever connects waits for these, so
    /// servers in whose calls connections are made share them, too.
    pub fn of_process() -> Self {
        static PROCESS: LazyLock<Descriptors> =
            LazyLock::new(|| Descriptors::new(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)));
        PROCESS.clone()
    }

    /// Of a process that may have `limit` of them open.
    pub fn new(limit: u64) -> Self {
        let reserve = (limit / 4).clamp(LEAST_RESERVE, MOST_RESERVE);
        Self(Arc::new(Inner {
            limit,
            scarce_from: limit.saturating_sub(reserve),
            are_scarce: AtomicBool::new(false),
            members: Mutex::default(),
            freed: Notify::new(),
            told: Mutex::default(),
        }))
    }

    /// How many there may be.
    pub(crate) fn limit(&self) -> u64 {
        self.0.limit
    }

    /// One more connection. It counts as busy until it says otherwise.
    pub(crate) fn join(&self) -> Member {
        let place = Arc::new(Place::default());
        let mut members = self.members();
        place.index.store(members.all.len(), Ordering::Relaxed);
        members.all.push(Arc::clone(&place));
        drop(members);
        Member {
            place,
            descriptors: self.clone(),
            is_registered: false,
        }
    }

    /// Waits until one may be taken, if few were left when the last one was. `of` is any descriptor.
    pub(crate) async fn room<F: AsFd>(&self, of: &F) {
        while self.0.are_scarce.load(Ordering::Relaxed) {
            // The number of a copy is the lowest that is free.
            let copy = || of.as_fd().try_clone_to_owned().ok();
            let Some(free) = copy().filter(|copy| !self.is_scarce(copy)) else {
                self.make_room().await;
                continue;
            };
            // If that was the last one, whoever comes next has to wait again.
            if copy().is_some_and(|next| !self.is_scarce(&next)) {
                self.0.are_scarce.store(false, Ordering::Relaxed);
            }
            drop(free);
            return;
        }
    }

    /// One was taken.
    pub(crate) fn took<F: AsFd>(&self, taken: &F) {
        if self.is_scarce(taken) {
            self.0.are_scarce.store(true, Ordering::Relaxed);
        }
    }

    fn is_scarce<F: AsFd>(&self, descriptor: &F) -> bool {
        u64::try_from(descriptor.as_fd().as_raw_fd()).is_ok_and(|number| number >= self.0.scarce_from)
    }

    /// Closes a connection without a call, and waits a moment for room.
    pub(crate) async fn make_room(&self) {
        self.tell();
        let freed = self.0.freed.notified();
        self.dismiss();
        let _ = timeout(PAUSE, freed).await;
    }

    /// Tells a connection without a call to close: one that had none for a round of the hand if there is one.
    fn dismiss(&self) {
        let mut members = self.members();
        let count = members.all.len();
        for _ in 0..2 * count {
            let hand = members.hand % count;
            members.hand = hand + 1;
            let place = &members.all[hand];
            let state = place.state.fetch_and(!USED, Ordering::AcqRel);
            // A call may have begun meanwhile, which must not be told to close.
            if state == IDLE && place.turns_unwanted() {
                let waker = place.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
                drop(members);
                waker.into_iter().for_each(Waker::wake);
                return;
            }
        }
    }

    fn tell(&self) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < SILENCE) {
            return;
        }
        *told = Some(Instant::now());
        let limit = match self.0.limit {
            u64::MAX => String::new(),
            limit => format!(" of {limit}"),
        };
        tracing::warn!(
            "few open files{limit} are left: connections without a call are closed to make room for new ones"
        );
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the process, or the system, has too many files open.
pub(crate) fn is_want_of_descriptors(error: &io::Error) -> bool {
    let (process, system) = (Errno::MFILE, Errno::NFILE);
    let number = error.raw_os_error();
    number == Some(process.raw_os_error()) || number == Some(system.raw_os_error())
}

/// A connection among those that take descriptors. Dropping it gives its own back, if the socket goes first.
#[derive(Debug)]
pub(crate) struct Member {
    place: Arc<Place>,
    descriptors: Descriptors,
    is_registered: bool,
}

impl Member {
    /// Says whether the connection has no call.
    pub(crate) fn set_idle(&self, is_idle: bool) {
        let state = if is_idle { IDLE | USED } else { 0 };
        if self.place.state.load(Ordering::Relaxed) & IDLE != state & IDLE {
            self.place.state.store(state, Ordering::Release);
        }
    }

    /// Ready when the connection is to close, which it was told while it had no call. It is polled by one task, always
    /// the same.
    pub(crate) fn poll_unwanted(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_registered {
            self.is_registered = true;
            let waker = Some(cx.waker().clone());
            *self.place.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
        }
        if self.place.state.load(Ordering::Acquire) & UNWANTED == 0 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = self.descriptors.members();
        let index = self.place.index.load(Ordering::Relaxed);
        members.all.swap_remove(index);
        if let Some(moved) = members.all.get(index) {
            moved.index.store(index, Ordering::Relaxed);
        }
        drop(members);
        self.descriptors.0.freed.notify_waiters();
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;

    fn is_unwanted(member: &mut Member) -> bool {
        let cx = Context::from_waker(Waker::noop());
        member.poll_unwanted(&cx).is_ready()
    }

    fn members<const N: usize>(descriptors: &Descriptors) -> [Member; N] {
        std::array::from_fn(|_| {
            let member = descriptors.join();
            member.set_idle(true);
            member
        })
    }

    #[test]
    fn busy_connections_stay() {
        let descriptors = Descriptors::default();
        let [mut a, mut b] = members(&descriptors);
        a.set_idle(false);
        b.set_idle(false);
        descriptors.dismiss();
        assert!(!is_unwanted(&mut a) && !is_unwanted(&mut b));
        b.set_idle(true);
        descriptors.dismiss();
        assert!(!is_unwanted(&mut a) && is_unwanted(&mut b));
    }

    #[test]
    fn those_that_had_a_call_lately_stay_longer() {
        let descriptors = Descriptors::default();
        let [mut a, mut b, mut c] = members(&descriptors);
        descriptors.dismiss();
        assert!(is_unwanted(&mut a), "all had one: the first in the ring");
        b.set_idle(false);
        b.set_idle(true);
        descriptors.dismiss();
        assert!(!is_unwanted(&mut b) && is_unwanted(&mut c));
        descriptors.dismiss();
        assert!(is_unwanted(&mut b));
        descriptors.dismiss();
    }

    #[test]
    fn those_that_are_gone_leave_their_place() {
        let descriptors = Descriptors::default();
        let [a, b, mut c] = members(&descriptors);
        drop(a);
        drop(b);
        descriptors.dismiss();
        assert!(is_unwanted(&mut c));
        drop(c);
        descriptors.dismiss();
        assert!(descriptors.members().all.is_empty());
    }

    #[tokio::test]
    async fn some_are_left_alone() {
        let here = std::fs::File::open("/dev/null").unwrap();
        let number = u64::try_from(here.as_raw_fd()).unwrap();
        // So few that all of them are to be left alone, whichever number a copy gets beside other tests.
        let descriptors = Descriptors::new(LEAST_RESERVE + 1);
        descriptors.room(&here).await;
        descriptors.took(&here);
        assert!(descriptors.0.are_scarce.load(Ordering::Relaxed));
        let [mut idle] = members(&descriptors);
        let waiting = timeout(Duration::from_millis(200), descriptors.room(&here));
        assert!(waiting.await.is_err(), "its copy is one of them, too");
        assert!(is_unwanted(&mut idle));
        let plenty = Descriptors::new(number + 100_000);
        plenty.took(&here);
        plenty.room(&here).await;
    }
}
