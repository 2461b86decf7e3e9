//! What the task of a connection and its calls share.
//!
//! A stream has the states of RFC 9113, section 5.1. None of them is a value of its own: they follow from what has come
//! and what has gone out.
//!
//! | State (section 5.1) | Here |
//! |---|---|
//! | idle | no [`Stream`] yet: ids above `last_peer_id` of the peer, from `next_id` on of ours |
//! | reserved | never: pushes are refused by `SETTINGS_ENABLE_PUSH` (section 8.4) |
//! | open | `broken` is `None`, `receiving.is_ended` is not set, `sending.end` is not `Sent` |
//! | half-closed (local) | `sending.end` is `Sent`: the peer may still send |
//! | half-closed (remote) | `receiving.is_ended`: only `WINDOW_UPDATE` and `RST_STREAM` may come |
//! | closed | both, or `broken`. The entry stays while a call holds a handle |
//!
//! Frames on closed streams are judged without the stream (`receive_late`): the peer may have sent them before it heard
//! of our `RST_STREAM`, which is no mistake of it.

mod control;
mod ending;
mod line;
mod linger;
mod pressure;
mod receive;
mod resets;
mod send;
#[cfg(test)]
pub(crate) mod tests;
mod upgrade;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::{Duration, Instant};

use crate::budget::{STREAM, Share};
use crate::config::Config;
use crate::error::{Error, Reason};
use crate::frame::{self, INITIAL_WINDOW, LEAST_MAX_FRAME, PREFACE, setting};
use crate::hpack::Encoder;
use crate::output::Output;
use crate::stream::{Key, Receiving, Sending, Stream, Streams};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

use line::Line;
pub(crate) use line::Ticket;
pub(crate) use linger::Lingering;
use pressure::{Fresh, Pressure};
pub(crate) use receive::Received;
use resets::{Churn, Resets};

/// The ping whose answer tells that the peer knows of our leaving.
const LEAVING: [u8; 8] = *b"leaving.";

/// No call begins while more than this waits for the socket.
pub(crate) const UNWRITTEN: usize = 256 * 1024;
/// How many streams beyond those that may be open at once may linger because their calls have not noticed yet that
/// they are over. While there are more, nothing is read: a peer that resets streams as fast as it opens them waits
/// for what it has begun.
const LINGERING: usize = 1000;
/// The room that lists of streams keep while there are none.
const LIST_KEPT: usize = 16;
/// How many streams the peer may make us look through at first, how many more for each that begins, and how many at
/// most. Who changes windows again and again while there are many streams wants to keep us busy.
const VISITS: usize = 1 << 20;
const VISITS_PER_STREAM: usize = 64;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// A connection, as its calls see it.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// No call can be sent any more.
    is_closed: AtomicBool,
    /// The peer's SETTINGS were there: it speaks HTTP/2.
    is_greeted: AtomicBool,
    /// How many calls the peer takes at once, as far as it has said so.
    max_streams: AtomicUsize,
    /// Streams hold so much here that others should get further calls.
    is_laden: AtomicBool,
    /// When the window of the connection was used up, in milliseconds after `born`, and 0 while that is not so. Whether
    /// anybody has more to send does not matter: whoever comes next would wait, and give up, like those before.
    blocked_at: AtomicU64,
    born: Instant,
}

impl Shared {
    pub(crate) fn new(role: Role, config: Config) -> Arc<Self> {
        let budget = Arc::clone(&config.budget);
        let shared = Arc::new(Self {
            state: Mutex::new(State::new(role, config)),
            is_closed: AtomicBool::new(false),
            is_greeted: AtomicBool::new(false),
            max_streams: AtomicUsize::new(usize::MAX),
            is_laden: AtomicBool::new(false),
            blocked_at: AtomicU64::new(0),
            born: Instant::now(),
        });
        budget.join(&shared);
        shared
    }

    /// The state, for the connection's own task.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something for a call, and wakes the connection's task if that gave it something to do.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = act(&mut state);
        let task = state.take_turn();
        // The lock is given back first: the task that is woken takes it at once.
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        result
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_greeted(&self) -> bool {
        self.is_greeted.load(Ordering::Acquire)
    }

    /// How many calls the peer takes at once, as far as it has said so.
    pub(crate) fn max_streams(&self) -> usize {
        self.max_streams.load(Ordering::Relaxed)
    }

    /// Whether streams that do not move are in the way of further calls: they hold much, or have used up the window of
    /// the connection, which the peer does not give back for `patience`.
    pub(crate) fn is_clogged(&self, patience: Duration) -> bool {
        if self.is_laden.load(Ordering::Relaxed) {
            return true;
        }
        let blocked_at = self.blocked_at.load(Ordering::Relaxed);
        blocked_at > 0 && self.born.elapsed() >= Duration::from_millis(blocked_at) + patience
    }

    /// Ends the connection for everybody.
    pub(crate) fn close(&self, error: &Error) {
        self.is_closed.store(true, Ordering::Release);
        self.lock().close(error);
    }

    /// Tells calls what became of the connection; called by its task after it read.
    pub(crate) fn publish(&self, state: &State) {
        if state.is_going() {
            self.is_closed.store(true, Ordering::Release);
        }
        if state.is_greeted {
            // Before the SETTINGS the number of streams is a guess of ours. A pool must not take it for a limit of
            // the peer.
            self.is_greeted.store(true, Ordering::Release);
            self.max_streams.store(state.peer.max_streams, Ordering::Relaxed);
        }
        self.is_laden.store(state.is_laden(), Ordering::Relaxed);
    }

    /// The same after it has filled the output.
    pub(crate) fn publish_blocked(&self, state: &State) {
        let was_blocked = self.blocked_at.load(Ordering::Relaxed) > 0;
        let is_blocked = state.send_window <= 0;
        if was_blocked != is_blocked {
            let at = if is_blocked {
                // Zero means that nothing is blocked, in the first millisecond, too.
                (self.born.elapsed().as_millis() as u64).max(1)
            } else {
                0
            };
            self.blocked_at.store(at, Ordering::Relaxed);
        }
    }
}

/// What the peer's SETTINGS say.
#[derive(Debug)]
struct PeerSettings {
    stream_window: i64,
    max_frame: usize,
    max_streams: usize,
}

/// The state of a connection.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact that comes and goes by itself"
)]
pub(crate) struct State {
    pub(crate) role: Role,
    pub(crate) config: Config,
    pub(crate) streams: Streams,
    pub(crate) output: Output,
    encoder: Encoder,
    /// Streams that have something to send and, as far as is known, a window for it.
    ready: VecDeque<Key>,
    /// How many streams count towards the limit.
    active: usize,
    peer: PeerSettings,
    send_window: i64,
    recv_window: i64,
    unreported: u32,
    /// The window with which streams begin: ours only once the peer has acknowledged it (RFC 9113, section 6.9.2).
    stream_window: i64,
    /// The longest frame that is accepted.
    max_frame: u32,
    pressure: Pressure,
    /// How many bytes have come.
    received: u64,
    fresh: VecDeque<Fresh>,
    is_greeted: bool,
    next_id: u32,
    last_peer_id: u32,
    /// The last stream of the peer that was not ignored because we were going.
    taken_id: u32,
    resets: Resets,
    pub(crate) churn: Churn,
    visits: usize,
    /// We have told the peer that we are about to go, and wait until it has heard.
    is_leaving: bool,
    /// The peer takes no more calls, or we want none.
    going: Option<Error>,
    closed: Option<Error>,
    /// How many [`crate::client::Sender`]s there are.
    pub(crate) senders: usize,
    /// Calls that wait until the peer takes one more.
    line: Line,
    /// The peer has just refused a call: the next one waits for a moment.
    pub(crate) hesitates: bool,
    task: Option<Waker>,
    wants_turn: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("role", &self.role)
            .field("streams", &self.streams.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl State {
    fn new(role: Role, config: Config) -> Self {
        let config = config.bounded();
        let mut output = Output::default();
        let out = output.joined();
        let share = Share::new(Arc::clone(&config.budget));
        let pressure = Pressure::new(share, config.stream_window);
        let mut settings = vec![
            (setting::INITIAL_WINDOW_SIZE, pressure.announced()),
            (setting::MAX_HEADER_LIST_SIZE, config.max_header_list),
        ];
        // A server allows long frames later, and only to clients that use them (`allow_long_frames`).
        let mut max_frame = LEAST_MAX_FRAME;
        if role == Role::Client {
            out.extend_from_slice(PREFACE);
            max_frame = config.max_frame;
            settings.insert(0, (setting::ENABLE_PUSH, 0));
            settings.push((setting::MAX_FRAME_SIZE, max_frame));
        } else {
            settings.push((setting::MAX_CONCURRENT_STREAMS, config.max_streams));
        }
        frame::put_settings(out, &settings);
        // SETTINGS say nothing of the window of the connection: only an update makes it larger (section 6.9.2).
        let beyond = i64::from(config.connection_window) - INITIAL_WINDOW;
        if beyond > 0 {
            frame::put_window_update(out, 0, beyond as u32);
        }
        Self {
            role,
            streams: Streams::default(),
            output,
            encoder: Encoder::new(),
            ready: VecDeque::new(),
            active: 0,
            peer: PeerSettings {
                stream_window: INITIAL_WINDOW,
                max_frame: frame::LEAST_MAX_FRAME as usize,
                max_streams: config.streams_before_settings as usize,
            },
            send_window: INITIAL_WINDOW,
            recv_window: INITIAL_WINDOW + beyond.max(0),
            unreported: 0,
            stream_window: INITIAL_WINDOW,
            max_frame,
            pressure,
            received: 0,
            fresh: VecDeque::new(),
            is_greeted: false,
            next_id: 1,
            last_peer_id: 0,
            taken_id: 0,
            resets: Resets::default(),
            churn: Churn::new(),
            visits: VISITS,
            is_leaving: false,
            going: None,
            closed: None,
            senders: 0,
            line: Line::default(),
            hesitates: false,
            task: None,
            wants_turn: false,
            config,
        }
    }

    /// Remembers the connection's task, whose turn this is.
    pub(crate) fn begin_turn(&mut self, cx: &Context<'_>) {
        crate::stream::register(&mut self.task, cx);
        self.wants_turn = false;
    }

    /// The connection's task, if it is to be woken.
    fn take_turn(&mut self) -> Option<Waker> {
        if std::mem::take(&mut self.wants_turn) {
            self.task.take()
        } else {
            None
        }
    }

    /// The connection's task has something to do.
    pub(crate) fn wants_turn(&mut self) {
        self.wants_turn = true;
    }

    /// Whether no new call is taken.
    pub(crate) fn is_going(&self) -> bool {
        self.going.is_some() || self.closed.is_some()
    }

    /// The last stream of the peer that was taken.
    pub(crate) fn taken_id(&self) -> u32 {
        self.taken_id
    }

    /// Takes no new call from now on.
    pub(crate) fn go(&mut self, error: Error) {
        self.going.get_or_insert(error);
        self.call_next();
    }

    /// Leaves in two steps, as section 6.8 recommends. The first GOAWAY names the greatest id that there is, so
    /// that calls that are on their way are still taken. The second one follows when the peer must have read the first one (it has
    /// answered a PING), and names the last stream that was taken.
    pub(crate) fn leave(&mut self) {
        if self.is_leaving || self.is_going() {
            return;
        }
        self.is_leaving = true;
        let out = self.output.joined();
        frame::put_go_away(out, u32::MAX >> 1, Reason::NO_ERROR);
        frame::put(out, frame::kind::PING, 0, 0, &LEAVING);
        self.wants_turn = true;
    }

    /// Why no call can be sent.
    fn gone(&self) -> Option<&Error> {
        self.closed.as_ref().or(self.going.as_ref())
    }

    /// Waits until the peer takes one more call.
    pub(crate) fn poll_open(&mut self, ticket: &mut Ticket, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        // No id is used twice (section 5.1.1). A connection that has used up its ids ends with its calls.
        if self.next_id > u32::MAX >> 1 {
            self.going.get_or_insert(Error::Closed);
        }
        if let Some(error) = self.gone() {
            return Poll::Ready(Err(error.clone()));
        }
        let room = self.room();
        self.line.poll(ticket, room, cx).map(Ok)
    }

    /// How many calls may begin. None while much waits for the socket: what is not sent yet can still be given up, and
    /// costs no memory here.
    fn room(&self) -> usize {
        if self.output.len() > UNWRITTEN || self.hesitates {
            0
        } else {
            self.peer.max_streams.saturating_sub(self.active)
        }
    }

    /// Wakes calls that may begin, or that never will.
    pub(crate) fn call_next(&mut self) {
        let room = if self.is_going() { usize::MAX } else { self.room() };
        self.line.call(room);
    }

    /// Somebody who waited for a call to begin does so no more.
    pub(crate) fn give_up(&mut self, ticket: Ticket) {
        self.line.leave(ticket);
        self.call_next();
    }

    /// Whether nothing is to be read until calls have noticed that they are over. The connection's task is woken then.
    pub(crate) fn is_crowded(&self) -> bool {
        // A client decides for itself how many calls it begins, so only a server can get a crowd.
        self.role == Role::Server && self.streams.len() > self.crowd()
    }

    fn crowd(&self) -> usize {
        (self.config.max_streams as usize).saturating_add(LINGERING)
    }

    /// Gives memory back while there are no calls.
    pub(crate) fn shrink(&mut self) {
        self.output.release();
        if self.ready.is_empty() {
            self.ready.shrink_to(LIST_KEPT);
        }
        self.fresh.clear();
        self.fresh.shrink_to(LIST_KEPT);
    }

    /// Accounts for looking through all streams because the peer wants it.
    fn visit_all(&mut self) -> Result<(), Reason> {
        let left = self.visits.checked_sub(self.streams.places());
        self.visits = left.ok_or(Reason::ENHANCE_YOUR_CALM)?;
        Ok(())
    }

    /// A stream with one handle.
    fn insert(&mut self, id: u32) -> Key {
        self.active += 1;
        self.visits = VISITS.min(self.visits + VISITS_PER_STREAM);
        self.hold(STREAM);
        self.streams.insert(Stream {
            id,
            handles: 1,
            is_counted: true,
            broken: None,
            charge: STREAM,
            moved: None,
            receiving: Receiving {
                window: self.stream_window,
                ..Receiving::default()
            },
            sending: Sending {
                window: self.peer.stream_window,
                ..Sending::default()
            },
        })
    }

    /// A stream has a head that counts for so many bytes.
    fn charge(&mut self, key: Key, size: usize) {
        if let Some(stream) = self.streams.get(key) {
            stream.charge += size;
            self.hold(size);
        }
    }
}
