//! What many streams that nobody reads may cost: less and less for each of them.
//!
//! The window of the connection is given back when bytes arrive, not when they are read. So a stream that nobody reads
//! cannot use up the window that the others need. The windows of the streams bound the memory instead. They shrink as
//! more of the [`Budget`](crate::Budget) is used: `SETTINGS_INITIAL_WINDOW_SIZE` gets smaller, which takes the
//! difference away from open streams, too (RFC 9113, section 6.9.2), and each `WINDOW_UPDATE` grants less.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::State;
use crate::budget::{Budget, Scarcity, Share};
use crate::error::{Error, Reason, Side};
use crate::frame::{self, GREATEST_WINDOW, setting};
use crate::stream::{Key, Stream, register};

/// Windows do not get smaller than this, and no larger than they are to be.
const LEAST_WINDOW: u32 = 4 * 1024;
/// A stream holds something, and nothing of it was read or sent for so long: its reader has stopped.
const STALLED: Duration = Duration::from_secs(1);
/// Windows that shrank because memory was scarce stay small for this time at least, and longer by this much for each
/// stream. Peers count how often they must change the windows of all streams, and take frequent changes for an attack.
const EASE: Duration = Duration::from_secs(1);
const EASE_PER_STREAM: Duration = Duration::from_millis(1);
/// After so many more bytes, a piece that is still unread is copied out of its read buffer. Otherwise a few bytes would
/// keep the whole buffer alive.
const LASTING: u64 = 1 << 20;

/// A stream with pieces that keep the buffers alive that they were read into.
#[derive(Debug)]
pub(super) struct Fresh {
    key: Key,
    id: u32,
    /// How many bytes had come on the connection.
    at: u64,
}

/// How scarce memory is, and what was made of that.
#[derive(Debug)]
pub(super) struct Pressure {
    pub(super) share: Share,
    pub(super) scarcity: Scarcity,
    /// When that changed.
    since: Instant,
    /// Since when it is known of streams when something moved on them.
    watched_since: Instant,
    /// The window with which streams begin once the peer has acknowledged all of our settings.
    announced: u32,
    /// The windows in settings that it has not.
    unacknowledged: VecDeque<u32>,
}

impl Pressure {
    pub(super) fn new(share: Share, window: u32) -> Self {
        let scarcity = share.scarcity();
        let announced = initial_window(window, scarcity);
        Self {
            share,
            scarcity,
            since: Instant::now(),
            watched_since: Instant::now(),
            announced,
            unacknowledged: VecDeque::from([announced]),
        }
    }

    pub(super) fn announced(&self) -> u32 {
        self.announced
    }
}

fn initial_window(window: u32, scarcity: Scarcity) -> u32 {
    (window >> (2 * scarcity.min(3))).max(LEAST_WINDOW.min(window))
}

impl State {
    /// Something more is held.
    pub(super) fn hold(&mut self, bytes: usize) {
        if self.pressure.share.add(bytes) {
            self.feel();
        }
    }

    /// Something is held no more.
    pub(super) fn let_go(&mut self, bytes: usize) {
        if self.pressure.share.subtract(bytes) {
            self.feel();
        }
    }

    /// How much is held.
    pub(crate) fn held(&self) -> usize {
        self.pressure.share.held()
    }

    pub(crate) fn budget(&self) -> Arc<Budget> {
        Arc::clone(self.pressure.share.budget())
    }

    /// Whether room must be made.
    pub(crate) fn is_full(&self) -> bool {
        self.pressure.scarcity >= Share::FULL && self.pressure.share.scarcity() >= Share::FULL
    }

    /// Whether this connection holds so much that others should get further calls.
    pub(crate) fn is_laden(&self) -> bool {
        self.pressure.scarcity >= Share::SCARCE && self.pressure.share.own_scarcity() >= Share::SCARCE
    }

    /// Whether no further stream is taken.
    pub(super) fn takes_none(&mut self) -> bool {
        if self.pressure.scarcity > 0 {
            self.feel();
        }
        self.pressure.scarcity >= Share::FULL && self.pressure.share.is_full()
    }

    /// Looks how scarce memory is.
    fn feel(&mut self) {
        let (now, before) = (self.pressure.share.scarcity(), self.pressure.scarcity);
        if now > before {
            self.become_scarce(now);
        } else if now < before {
            // A lower mark for the way back: at one mark for both, windows would shrink and grow in turns.
            let calm = self.pressure.share.calm_scarcity();
            let patience = EASE + EASE_PER_STREAM * self.streams.len() as u32;
            if calm < before && self.pressure.since.elapsed() >= patience {
                self.become_scarce(calm);
                self.wake_senders();
            }
        }
    }

    fn become_scarce(&mut self, scarcity: Scarcity) {
        let is_watched = |scarcity| scarcity >= Share::WATCHED;
        if is_watched(scarcity) && !is_watched(self.pressure.scarcity) {
            // Times of an earlier watch would make streams look stalled that moved in between.
            self.pressure.watched_since = Instant::now();
            self.streams
                .iter_mut()
                .for_each(|(_, stream)| stream.moved = None);
        }
        self.pressure.scarcity = scarcity;
        self.pressure.since = Instant::now();
        self.announce_window();
    }

    /// Tells the peer with which window streams begin now, if that changed. Once it has heard of the last change.
    fn announce_window(&mut self) {
        let window = initial_window(self.config.stream_window, self.pressure.scarcity);
        if window != self.pressure.announced && self.pressure.unacknowledged.is_empty() {
            self.announce(&[(setting::INITIAL_WINDOW_SIZE, window)]);
        }
    }

    /// Tells the peer of changed settings.
    pub(super) fn announce(&mut self, settings: &[(u16, u32)]) {
        let window = settings
            .iter()
            .find(|(name, _)| *name == setting::INITIAL_WINDOW_SIZE);
        let window = window.map_or(self.pressure.announced, |(_, window)| *window);
        self.pressure.announced = window;
        self.pressure.unacknowledged.push_back(window);
        frame::put_settings(self.output.joined(), settings);
        self.wants_turn = true;
    }

    /// The peer has applied our settings: what it may send on streams that began before changes with them.
    pub(super) fn own_settings_apply(&mut self) {
        let Some(window) = self.pressure.unacknowledged.pop_front() else {
            return;
        };
        let change = i64::from(window) - std::mem::replace(&mut self.stream_window, window.into());
        if change != 0 {
            self.streams
                .iter_mut()
                .for_each(|(_, stream)| stream.receiving.window += change);
        }
        self.announce_window();
    }

    /// Grants the reader of a stream more, once it has read half of what it may have.
    pub(super) fn grant(&mut self, key: Key) {
        let most = i64::from(self.config.stream_window >> self.pressure.scarcity.min(3));
        let most = most.max(self.pressure.announced.into());
        // What the peer will make of settings that it has not acknowledged.
        let on_its_way = i64::from(self.pressure.announced) - self.stream_window;
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        let receiving = &mut stream.receiving;
        if receiving.is_ended || receiving.is_unwanted || stream.broken.is_some() {
            return;
        }
        let missing = most - receiving.window - on_its_way - receiving.unread as i64;
        if missing * 2 >= most {
            let missing = missing.min(GREATEST_WINDOW);
            receiving.window += missing;
            frame::put_window_update(self.output.joined(), stream.id, missing as u32);
            self.wants_turn = true;
        }
    }

    /// Whether a body may give its stream another piece. While memory is scarce only if the peer takes some of it.
    pub(super) fn has_capacity(&mut self, key: Key) -> bool {
        let scarcity = self.pressure.scarcity;
        // With nothing in the queue there is room for one piece, whatever the bound.
        let most = (self.config.max_queued >> scarcity.min(Share::SCARCE)).max(1);
        self.streams.get(key).is_none_or(|stream| {
            let sending = &stream.sending;
            if scarcity < Share::SCARCE {
                sending.queued < most
            } else {
                sending.queued == 0 && sending.window > 0
            }
        })
    }

    /// Waits until the stream takes more of its body.
    pub(crate) fn poll_capacity(&mut self, key: Key, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        let has_capacity = self.has_capacity(key);
        let Some(stream) = self.streams.get(key) else {
            return Poll::Ready(Err(Error::Closed));
        };
        if let Some(error) = &stream.broken {
            return Poll::Ready(Err(error.clone()));
        }
        if !stream.sending.end.is_open() {
            // The peer has answered, and wants no more of this.
            return Poll::Ready(Err(Error::Closed));
        }
        // Registered in any case: a reset must wake whoever waits for the next piece of a body.
        register(&mut stream.sending.waker, cx);
        stream.sending.is_full = !has_capacity;
        if has_capacity {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Wakes the sender of a stream if it waits and need not any more.
    pub(super) fn wake_sender(&mut self, key: Key) {
        let is_full = self.streams.get(key).is_some_and(|stream| stream.sending.is_full);
        if is_full
            && self.has_capacity(key)
            && let Some(stream) = self.streams.get(key)
        {
            stream.sending.is_full = false;
            stream.sending.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    fn wake_senders(&mut self) {
        let is_full = |(key, stream): (Key, &mut Stream)| stream.sending.is_full.then_some(key);
        let full: Vec<Key> = self.streams.iter_mut().filter_map(is_full).collect();
        for key in full {
            self.wake_sender(key);
        }
    }

    /// Something moved on a stream.
    pub(super) fn moves(&mut self, key: Key) {
        if self.pressure.scarcity >= Share::WATCHED
            && let Some(stream) = self.streams.get(key)
        {
            stream.moved = Some(Instant::now());
        }
    }

    /// Keeps a piece until it is read.
    pub(super) fn keep_unread(&mut self, key: Key, data: Bytes) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        let receiving = &mut stream.receiving;
        let (id, length, was_empty) = (stream.id, data.len(), receiving.unread == 0);
        receiving.unread += length;
        receiving.data.push(data);
        if !std::mem::replace(&mut receiving.is_fresh, true) {
            let at = self.received;
            self.fresh.push_back(Fresh { key, id, at });
        }
        // A reader that had nothing to read has not stalled: its time begins now.
        if was_empty {
            self.moves(key);
        }
        self.hold(length);
        if self.pressure.scarcity >= Share::FULL && self.pressure.share.is_overrun() {
            self.drop_largest();
        }
    }

    /// So many bytes came on the connection. What lasts is copied out of the buffers.
    pub(crate) fn receives(&mut self, bytes: usize) {
        self.received += bytes as u64;
        while let Some(Fresh { key, id, at }) = self.fresh.front() {
            // The place of a stream that is gone may belong to another one: the id tells.
            let stream = self.streams.get(*key).filter(|stream| stream.id == *id);
            let unread = stream.filter(|stream| stream.receiving.unread > 0);
            if unread.is_some() && self.received - at < LASTING {
                return;
            }
            let key = *key;
            let is_same = self.streams.get(key).is_some_and(|stream| stream.id == *id);
            self.fresh.pop_front();
            if is_same && let Some(stream) = self.streams.get(key) {
                stream.receiving.is_fresh = false;
                stream.receiving.data.compact(self.pressure.scarcity > 0);
            }
        }
    }

    /// Resets streams that hold something and on which nothing moves, until so many bytes are free.
    pub(crate) fn shed(&mut self, wanted: usize, now: Instant) {
        if self.pressure.scarcity < Share::WATCHED {
            // This connection has not noticed yet what others hold.
            self.feel();
            return;
        }
        let since = self.pressure.watched_since;
        let mut stalled: Vec<(Instant, Key)> = self
            .streams
            .iter_mut()
            .filter(|(_, stream)| stream.receiving.unread + stream.sending.queued > 0)
            .map(|(key, stream)| (stream.moved.map_or(since, |moved| moved.max(since)), key))
            .filter(|(moved, _)| now.saturating_duration_since(*moved) >= STALLED)
            .collect();
        stalled.sort_unstable();
        let enough = self.held().saturating_sub(wanted);
        for (_, key) in stalled {
            if self.held() <= enough {
                return;
            }
            self.discard(key);
        }
    }

    /// Resets the stream that holds most.
    fn drop_largest(&mut self) {
        let held = |stream: &Stream| stream.receiving.unread + stream.sending.queued;
        let largest = self
            .streams
            .iter_mut()
            .max_by_key(|(_, stream)| held(stream))
            .map(|(key, _)| key);
        if let Some(key) = largest {
            self.discard(key);
        }
    }

    /// Throws away what a stream holds. It looks broken, even if all of it had come.
    fn discard(&mut self, key: Key) {
        let reason = Reason::ENHANCE_YOUR_CALM;
        let was_unread = self.take_unread(key) > 0;
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        let is_over = stream.is_over();
        if was_unread {
            stream.receiving.is_ended = false;
            stream.receiving.trailers = None;
        }
        if !is_over {
            self.reset(key, reason);
        } else if stream.broken.is_none() {
            stream.broken = Some(Error::Reset { reason, by: Side::Us });
            stream.receiving.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}
