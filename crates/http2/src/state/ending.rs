//! How streams end, and the connection.

use std::task::Waker;

use super::{Role, State};
use crate::error::{Error, Reason, Side};
use crate::frame;
use crate::stream::{Key, Upload};

impl State {
    /// Looks whether a stream is over, after something happened to it.
    pub(super) fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        let is_answered = self.role == Role::Server && stream.handles == 0 && stream.sending.end.is_sent();
        if is_answered && !stream.receiving.is_ended && stream.broken.is_none() {
            // The answer is complete, and nobody reads the rest of the request (section 8.1).
            let reason = Reason::NO_ERROR;
            frame::put_reset(self.output.joined(), stream.id, reason);
            self.resets.remember(stream.id);
            stream.broken = Some(Error::Reset { reason, by: Side::Us });
            self.wants_turn = true;
        }
        if !stream.is_over() {
            return;
        }
        let was_counted = std::mem::take(&mut stream.is_counted);
        let is_forgotten = stream.handles == 0;
        if stream.receiving.upload == Upload::Lingering {
            stream.sending.waker.take().into_iter().for_each(Waker::wake);
        }
        if was_counted {
            // Who lets calls come to their end may reset as many more.
            if stream.broken.is_none() {
                self.churn.answers();
            }
            self.active -= 1;
            self.call_next();
        }
        if is_forgotten {
            self.forget(key);
            // Reading stops while there is a crowd of streams. This was the one too many.
            let is_passable = self.role == Role::Server && self.streams.len() == self.crowd();
            if self.is_done() || is_passable {
                self.wants_turn = true;
            }
        }
    }

    /// Takes a stream out, with all that it holds.
    fn forget(&mut self, key: Key) {
        self.take_unread(key);
        self.take_queued(key);
        if let Some(stream) = self.streams.get(key) {
            let charge = stream.charge;
            self.let_go(charge);
        }
        self.streams.remove(key);
    }

    /// Whether the connection has no calls, and gets none any more.
    pub(crate) fn is_done(&self) -> bool {
        self.streams.is_empty() && (self.going.is_some() || self.is_unused())
    }

    fn is_unused(&self) -> bool {
        self.role == Role::Client && self.senders == 0
    }

    /// Ends a stream early, without telling the peer.
    pub(super) fn break_stream(&mut self, key: Key, error: Error) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        if stream.is_over() {
            return;
        }
        // What has come before the end of a stream may still be read, except that a reset throws it away.
        stream.broken = Some(error);
        let wakers = [stream.receiving.waker.take(), stream.sending.waker.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
        // What was not sent yet never will be: its memory goes back now, however long the call holds its stream.
        self.take_queued(key);
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
        if self.role == Role::Server {
            self.resets.remember(id);
        }
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

    /// One handle less. When the last one goes before the stream has sent its end, the stream is reset: nobody is left
    /// who could send the rest.
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
    pub(super) fn close(&mut self, error: &Error) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(error.clone());
        // Those in line have no stream that could tell them.
        self.call_next();
        // Collected first: to break a stream may take it out of the map.
        let keys: Vec<Key> = self.streams.iter_mut().map(|(key, _)| key).collect();
        for key in keys {
            self.break_stream(key, error.clone());
        }
    }
}
