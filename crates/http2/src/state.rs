//! What the task of a connection and its calls share.

mod receive;
mod send;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::config::Config;
use crate::error::{Error, Reason, Side};
use crate::frame::{self, GREATEST_WINDOW, INITIAL_WINDOW, PREFACE, setting};
use crate::hpack::Encoder;
use crate::output::Output;
use crate::stream::{Key, Receiving, Sending, Stream, Streams};

pub(crate) use receive::Received;

/// The ping whose answer tells that the peer knows of our leaving.
const LEAVING: [u8; 8] = *b"leaving.";

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
}

impl Shared {
    pub(crate) fn new(role: Role, config: Config) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(role, config)),
            is_closed: AtomicBool::new(false),
            is_greeted: AtomicBool::new(false),
        })
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
            self.is_greeted.store(true, Ordering::Release);
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
    is_greeted: bool,
    next_id: u32,
    last_peer_id: u32,
    /// We have told the peer that we are about to go, and wait until it has heard.
    is_leaving: bool,
    /// The peer takes no more calls, or we want none.
    going: Option<Error>,
    closed: Option<Error>,
    /// How many [`crate::client::Sender`]s there are.
    pub(crate) senders: usize,
    /// Calls that wait until the peer takes one more.
    openers: Vec<Waker>,
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
        let mut output = Output::default();
        let out = output.joined();
        let mut settings = vec![
            (setting::INITIAL_WINDOW_SIZE, config.stream_window),
            (setting::MAX_FRAME_SIZE, config.max_frame),
            (setting::MAX_HEADER_LIST_SIZE, config.max_header_list),
        ];
        if role == Role::Client {
            out.extend_from_slice(PREFACE);
            settings.insert(0, (setting::ENABLE_PUSH, 0));
        }
        frame::put_settings(out, &settings);
        let beyond = i64::from(config.connection_window) - INITIAL_WINDOW;
        if beyond > 0 {
            frame::put_window_update(out, 0, beyond.min(GREATEST_WINDOW - INITIAL_WINDOW) as u32);
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
            is_greeted: false,
            next_id: 1,
            last_peer_id: 0,
            is_leaving: false,
            going: None,
            closed: None,
            senders: 0,
            openers: Vec::new(),
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
    pub(crate) fn last_peer_id(&self) -> u32 {
        self.last_peer_id
    }

    /// Takes no new call from now on.
    pub(crate) fn go(&mut self, error: Error) {
        self.going.get_or_insert(error);
        self.wake_openers();
    }

    /// Lets the calls that are there finish, and those that are on their way: the peer is told that no more are
    /// taken, and which was the last one once it has heard that (section 6.8).
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
    pub(crate) fn poll_open(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(error) = self.gone() {
            return Poll::Ready(Err(error.clone()));
        }
        if self.next_id > u32::MAX >> 1 {
            self.going = Some(Error::Closed);
            return Poll::Ready(Err(Error::Closed));
        }
        if self.active < self.peer.max_streams {
            return Poll::Ready(Ok(()));
        }
        self.openers.push(cx.waker().clone());
        Poll::Pending
    }

    fn wake_openers(&mut self) {
        self.openers.drain(..).for_each(Waker::wake);
    }

    /// A stream with one handle.
    fn insert(&mut self, id: u32) -> Key {
        self.active += 1;
        self.streams.insert(Stream {
            id,
            handles: 1,
            is_counted: true,
            broken: None,
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

    /// Looks whether a stream is over, after something happened to it.
    fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        let is_answered = self.role == Role::Server && stream.handles == 0 && stream.sending.end.is_sent();
        if is_answered && !stream.receiving.is_ended && stream.broken.is_none() {
            // The answer is complete, and nobody reads the rest of the request (section 8.1).
            let reason = Reason::NO_ERROR;
            frame::put_reset(self.output.joined(), stream.id, reason);
            stream.broken = Some(Error::Reset { reason, by: Side::Us });
            self.wants_turn = true;
        }
        if !stream.is_over() {
            return;
        }
        let was_counted = std::mem::take(&mut stream.is_counted);
        let is_forgotten = stream.handles == 0;
        if was_counted {
            self.active -= 1;
            if !self.openers.is_empty() {
                self.wake_openers();
            }
            if self.active == 0 && self.going.is_some() {
                self.wants_turn = true;
            }
        }
        if is_forgotten {
            let unread = self.take_unread(key);
            self.consumed(unread);
            self.streams.remove(key);
            if self.streams.is_empty() && self.is_unused() {
                self.wants_turn = true;
            }
        }
    }

    /// Whether the connection has no calls, and gets none any more.
    pub(crate) fn is_done(&self) -> bool {
        self.streams.is_empty() && (self.going.is_some() || self.is_unused())
    }

    fn is_unused(&self) -> bool {
        self.role == Role::Client && self.senders == 0
    }

    /// Ends a stream early, without telling the peer.
    fn break_stream(&mut self, key: Key, error: Error) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        if stream.is_over() {
            return;
        }
        // What has come before the end of a stream may still be read, except that a reset throws it away.
        stream.broken = Some(error);
        stream.sending.queue.clear();
        stream.sending.queued = 0;
        let wakers = [stream.receiving.waker.take(), stream.sending.waker.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
        self.settle(key);
    }

    /// Resets a stream that is not over.
    pub(crate) fn reset(&mut self, key: Key, reason: Reason) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        if stream.is_over() {
            return;
        }
        let id = stream.id;
        frame::put_reset(self.output.joined(), id, reason);
        self.wants_turn = true;
        self.break_stream(key, Error::Reset { reason, by: Side::Us });
    }

    /// Cancels a call whose answer nobody reads any more.
    pub(crate) fn abandon(&mut self, key: Key, reason: Reason) {
        if self
            .streams
            .get(key)
            .is_some_and(|stream| !stream.receiving.is_ended)
        {
            self.reset(key, reason);
        }
        self.ignore(key);
    }

    /// One more handle on a stream.
    pub(crate) fn retain(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key) {
            stream.handles += 1;
        }
    }

    /// One handle less. A stream that nobody holds and that has not said all it had to is cancelled.
    pub(crate) fn release(&mut self, key: Key, reason: Reason) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        stream.handles = stream.handles.saturating_sub(1);
        if stream.handles > 0 {
            return;
        }
        let is_cancelled = match self.role {
            Role::Client => !stream.receiving.is_ended || stream.sending.end.is_open(),
            Role::Server => stream.sending.end.is_open(),
        };
        if is_cancelled && !stream.is_over() {
            self.reset(key, reason);
        } else {
            stream.receiving.is_unwanted = true;
            self.settle(key);
        }
    }

    /// Ends everything.
    fn close(&mut self, error: &Error) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(error.clone());
        self.wake_openers();
        let keys: Vec<Key> = self.streams.iter_mut().map(|(key, _)| key).collect();
        for key in keys {
            self.break_stream(key, error.clone());
        }
    }
}
