//! The task of a connection: it reads, lets the state act on what came, and writes what waits.

mod alive;
mod gather;
mod reader;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Duration, Sleep, sleep};

use self::alive::Alive;
use self::gather::Gather;
use self::reader::Reader;
use crate::error::{Error, Reason, Side};
use crate::frame;
use crate::output::{PIECES, Writing};
use crate::state::{Role, Shared, State, UNWRITTEN};
use crate::stream::Key;

/// How many times the socket is read before what that gave rise to is written.
const READS: usize = 4;
/// Nothing is read while more than this waits to be written of what the peer's frames gave rise to.
const REPLIES: usize = 64 * 1024;
/// What the lists of a connection without calls may keep room for.
const KEPT: usize = 16;

/// How large a buffer of a connection without calls may be.
const KEPT_BUFFER: usize = 8 * 1024;
/// How long no call begins after the peer has refused one.
const HESITATION: Duration = Duration::from_millis(2);

/// How many bytes the peer made us write that are not written yet.
#[derive(Debug, Default)]
struct Replies {
    waiting: usize,
    in_writing: usize,
}

impl Replies {
    /// Whether nothing is to be read for now. A peer whose frames want answers (PING, SETTINGS) must read these
    /// answers before more of its frames are read. A server reads no more calls while the client does not read answers,
    /// or while calls that the client gave up still run.
    ///
    /// Clients wait for their replies alone, not for what calls send: if both sides waited for each other to read,
    /// neither would.
    fn hold_up(&self, state: &mut State, writing: &Writing) -> bool {
        let is_flooded = state.role == Role::Server && writing.left() + state.output.len() > UNWRITTEN;
        is_flooded
            || self.waiting + self.in_writing > REPLIES
            || state.is_crowded()
            || state.churn.pause().is_some()
    }
}

/// Drives a connection.
#[derive(Debug)]
pub(crate) struct Driver<IO> {
    io: IO,
    shared: Arc<Shared>,
    reader: Reader,
    writing: Writing,
    replies: Replies,
    gather: Gather,
    alive: Option<Alive>,
    /// Until when no call begins, if that is so.
    pause: Option<Pin<Box<Sleep>>>,
    /// Until when nothing is read, if the peer resets streams too fast.
    rest: Option<Pin<Box<Sleep>>>,
    begun: Vec<(Key, Request<()>)>,
    /// Nothing is read for now, so that nothing tells when there is more to be read.
    is_held_up: bool,
    is_idle: bool,
    end: Option<Result<(), Error>>,
}

impl<IO> Driver<IO> {
    pub(crate) fn new(io: IO, shared: Arc<Shared>) -> Self {
        let state = shared.lock();
        let reader = Reader::new(state.role, &state.config);
        let alive = state.config.keep_alive.map(Alive::new);
        drop(state);
        Self {
            io,
            shared,
            reader,
            writing: Writing::default(),
            replies: Replies::default(),
            gather: Gather::default(),
            alive,
            pause: None,
            rest: None,
            begun: Vec::new(),
            is_held_up: false,
            is_idle: true,
            end: None,
        }
    }
}

impl<IO> Driver<IO> {
    /// Whether there was nothing to do but to wait for calls.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Begins with a call that is there already, once the peer has begun.
    pub(crate) fn begin_with(&mut self, key: Key, request: Request<()>) {
        self.begun.push((key, request));
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    /// Does what there is to do; `begin` takes the calls that the peer began. Ready when the connection is over.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        begin: impl FnMut(Key, Request<()>),
    ) -> Poll<Result<(), Error>> {
        if self.end.is_none() {
            match ready!(self.poll_open(cx, begin)) {
                Ok(()) => self.say_farewell(Reason::NO_ERROR),
                Err(error) => {
                    self.shared.close(&error);
                    if let Error::GoAway { reason, by: Side::Us } = &error {
                        self.say_farewell(*reason);
                        // Who breaks the protocol is not waited for.
                        let _ = self.poll_write(cx);
                    }
                    return Poll::Ready(Err(error));
                }
            }
            self.end = Some(Ok(()));
            if let Some(alive) = &mut self.alive {
                alive.hears_no_more();
            }
        }
        if let Some(alive) = &mut self.alive
            && let Poll::Ready(error) = alive.poll(&self.shared, cx)
        {
            self.shared.close(&error);
            return Poll::Ready(Err(error));
        }
        // Nothing is left to be said. A socket that fails now takes nothing from anybody.
        if let Ok(()) = ready!(self.poll_write(cx)) {
            let _ = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
        }
        self.shared.close(&Error::Closed);
        Poll::Ready(Ok(()))
    }

    fn say_farewell(&mut self, reason: Reason) {
        let mut state = self.shared.lock();
        let last = state.taken_id();
        frame::put_go_away(state.output.joined(), last, reason);
    }

    /// Ready when the connection has no more to do, or broke.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        mut begin: impl FnMut(Key, Request<()>),
    ) -> Poll<Result<(), Error>> {
        let mut state = self.shared.lock();
        // Before anything is looked at: what a call does from here on wakes this task again.
        state.begin_turn(cx);
        self.is_held_up = self.replies.hold_up(&mut state, &self.writing);
        let rest = state.churn.pause();
        drop(state);
        self.rest_for(rest, cx);
        let is_read = self.poll_read(cx);
        // A connection that was upgraded has a call before the client has shown that it goes on in HTTP/2.
        if self.reader.has_begun() {
            for (key, head) in self.begun.drain(..) {
                begin(key, head);
            }
        }
        match is_read {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            // There may be more: what came so far is answered first.
            Poll::Ready(Ok(())) => cx.waker().wake_by_ref(),
            Poll::Pending => {}
        }
        if let Some(alive) = &mut self.alive {
            ready_error(alive.poll(&self.shared, cx))?;
        }
        let is_written = if self.waits_for_more() {
            cx.waker().wake_by_ref();
            Poll::Pending
        } else {
            self.poll_write(cx)
        };
        if let Poll::Ready(Err(error)) = is_written {
            // The peer may have said why it went, and which calls it has not taken.
            self.is_held_up = false;
            let _ = self.poll_read(cx);
            return Poll::Ready(Err(Error::Io(Arc::new(error))));
        }
        let mut state = self.shared.lock();
        if state.hesitates {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(HESITATION)));
            if pause.as_mut().poll(cx).is_ready() {
                self.pause = None;
                state.hesitates = false;
                state.call_next();
            }
        }
        if state.is_full() {
            // Relief locks the states of other connections, one after the other. Two that hold their own would wait for
            // each other.
            let budget = state.budget();
            drop(state);
            budget.relieve();
            state = self.shared.lock();
        }
        if state.is_done() {
            return Poll::Ready(Ok(()));
        }
        if self.is_held_up && is_written.is_ready() && !state.is_crowded() && self.rest.is_none() {
            // What held reading up is written. The socket does not know that we want to read.
            cx.waker().wake_by_ref();
        }
        self.is_idle = state.streams.is_empty();
        if self.is_idle {
            state.shrink();
            drop(state);
            self.begun.shrink_to(KEPT);
            // Small buffers stay for the next call, until none has come for a while.
            let is_idle = self.alive.as_mut().is_some_and(Alive::take_tick);
            let keeps = if is_idle { 0 } else { KEPT_BUFFER };
            self.reader.release(keeps);
            self.writing.release(keeps);
        }
        Poll::Pending
    }

    /// Pending when nothing more is there; ready with `Ok` when there may be.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        for _ in 0..READS {
            if self.is_held_up {
                return Poll::Pending;
            }
            let read = match ready!(self.reader.poll_fill(&mut self.io, cx)) {
                Ok(read) => read,
                Err(error) => return Poll::Ready(Err(Error::Io(Arc::new(error)))),
            };
            if read == 0 {
                return Poll::Ready(Err(Error::Closed));
            }
            if let Some(alive) = &mut self.alive {
                alive.hears();
            }
            let mut state = self.shared.lock();
            let before = state.output.len();
            state.receives(read);
            let taken = self.reader.take_in(&mut state, &mut self.begun);
            // Whatever the peer made us write counts: acknowledgements, resets and updates of windows.
            self.replies.waiting += state.output.len() - before;
            self.shared.publish(&state);
            if let Err(reason) = taken {
                return Poll::Ready(Err(Error::GoAway { reason, by: Side::Us }));
            }
            keep_living(&mut self.begun, &mut state);
            self.is_held_up = self.replies.hold_up(&mut state, &self.writing);
        }
        Poll::Ready(Ok(()))
    }

    /// Comes back when there is to be read again.
    fn rest_for(&mut self, rest: Option<Duration>, cx: &mut Context<'_>) {
        self.rest = rest.map(|rest| Box::pin(sleep(rest)));
        if let Some(rest) = &mut self.rest {
            // It is not over yet.
            let _ = rest.as_mut().poll(cx);
        }
    }

    /// Whether to let other tasks run before writing: what they send then shares the write with what is there.
    fn waits_for_more(&mut self) -> bool {
        if !self.writing.is_done() || self.is_held_up {
            return false;
        }
        let state = self.shared.lock();
        self.gather.waits(state.output.len(), state.streams.len())
    }

    /// Ready when everything is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.writing.is_done() {
                let mut state = self.shared.lock();
                // Filled only now: what waits in its stream can still be given up, what is in the output cannot.
                state.fill();
                self.shared.publish_blocked(&state);
                if state.output.len() == 0 {
                    self.replies = Replies::default();
                    break;
                }
                self.writing.start(&mut state.output);
                self.replies.in_writing = std::mem::take(&mut self.replies.waiting);
                // Calls wait while much is to be written; that has gone to the socket now.
                state.call_next();
            }
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = self.writing.pieces(&mut pieces);
            let io = Pin::new(&mut self.io);
            let written = match &pieces[..count] {
                [piece] => ready!(io.poll_write(cx, piece)),
                pieces => ready!(io.poll_write_vectored(cx, pieces)),
            }?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.writing.advance(written);
            if self.is_held_up
                && let Some(alive) = &mut self.alive
            {
                // What it answers is not read for now; but it takes what is written.
                alive.hears();
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

#[cfg(test)]
impl<IO> Driver<IO> {
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl<IO> Drop for Driver<IO> {
    fn drop(&mut self) {
        self.shared.close(&Error::Closed);
        for (key, _) in self.begun.drain(..) {
            self.shared.lock().release(key, Reason::CANCEL);
        }
    }
}

/// Calls that were given up before they began are not begun.
fn keep_living(begun: &mut Vec<(Key, Request<()>)>, state: &mut State) {
    begun.retain(|(key, _)| {
        let is_alive = state
            .streams
            .get(*key)
            .is_some_and(|stream| stream.broken.is_none());
        if !is_alive {
            state.release(*key, Reason::CANCEL);
        }
        is_alive
    });
}

/// The error of something that is ready.
fn ready_error(polled: Poll<Error>) -> Result<(), Error> {
    match polled {
        Poll::Ready(error) => Err(error),
        Poll::Pending => Ok(()),
    }
}
