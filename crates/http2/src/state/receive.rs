//! What the peer sends.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use super::{LEAVING, Role, State};
use crate::error::{Error, Reason, Side};
use crate::fields::{BadHead, Block};
use crate::frame::{
    self, FrameHead, GREATEST_MAX_FRAME, GREATEST_WINDOW, INITIAL_WINDOW, LEAST_MAX_FRAME, flag, kind,
    setting, u32_at,
};
use crate::stream::{Key, register};

/// What a connection is broken off for.
pub(crate) type Breach = Reason;

/// What came on a stream.
#[derive(Debug)]
pub(crate) enum Received {
    /// A piece of the body.
    Data(Bytes),
    /// The fields after the body.
    Trailers(HeaderMap),
    /// Nothing more.
    End,
}

impl State {
    /// Takes in a frame that is neither DATA nor part of a header block.
    pub(crate) fn receive(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Breach> {
        match head.kind {
            kind::RST_STREAM => self.receive_reset(head.stream, payload),
            kind::SETTINGS => self.receive_settings(head, payload),
            kind::PUSH_PROMISE | kind::CONTINUATION => Err(Reason::PROTOCOL_ERROR),
            kind::PING => self.receive_ping(head, payload),
            kind::GOAWAY => self.receive_go_away(head.stream, payload),
            kind::WINDOW_UPDATE => self.receive_window_update(head.stream, payload),
            kind::PRIORITY if head.stream == 0 => Err(Reason::PROTOCOL_ERROR),
            kind::PRIORITY if payload.len() != 5 => Err(Reason::FRAME_SIZE_ERROR),
            // Priorities are advice, and unknown frames are to be ignored (RFC 9113, sections 5.3.2 and 5.5).
            _ => Ok(()),
        }
    }

    /// Whether a stream was never used: only such frames may come on it that begin one.
    fn is_idle(&self, id: u32) -> bool {
        let is_own = (id % 2 == 1) == (self.role == Role::Client);
        if is_own {
            id >= self.next_id
        } else {
            self.role == Role::Client || id > self.last_peer_id
        }
    }

    fn existing(&self, id: u32) -> Result<Option<Key>, Breach> {
        match self.streams.key(id) {
            Some(key) => Ok(Some(key)),
            None if id == 0 || self.is_idle(id) => Err(Reason::PROTOCOL_ERROR),
            None => Ok(None),
        }
    }

    fn receive_settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Breach> {
        if head.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if head.has(flag::ACK) {
            if !payload.is_empty() {
                return Err(Reason::FRAME_SIZE_ERROR);
            }
            self.own_settings_apply();
            return Ok(());
        }
        let (entries, []) = payload.as_chunks::<6>() else {
            return Err(Reason::FRAME_SIZE_ERROR);
        };
        if !self.is_greeted {
            self.is_greeted = true;
            // Nothing said is no limit.
            self.peer.max_streams = usize::MAX;
        }
        for [name_high, name_low, value @ ..] in entries {
            let name = u16::from_be_bytes([*name_high, *name_low]);
            self.apply(name, u32::from_be_bytes(*value))?;
        }
        self.wake_openers();
        frame::put(self.output.joined(), kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(())
    }

    fn apply(&mut self, name: u16, value: u32) -> Result<(), Breach> {
        match name {
            setting::HEADER_TABLE_SIZE => self.encoder.set_max_table_size(value as usize),
            setting::ENABLE_PUSH if value > 1 => return Err(Reason::PROTOCOL_ERROR),
            setting::MAX_CONCURRENT_STREAMS => self.peer.max_streams = value as usize,
            setting::INITIAL_WINDOW_SIZE => {
                let window = i64::from(value);
                if window > GREATEST_WINDOW {
                    return Err(Reason::FLOW_CONTROL_ERROR);
                }
                let change = window - std::mem::replace(&mut self.peer.stream_window, window);
                let mut grown = Vec::new();
                for (key, stream) in self.streams.iter_mut() {
                    stream.sending.window += change;
                    if stream.sending.window > GREATEST_WINDOW {
                        return Err(Reason::FLOW_CONTROL_ERROR);
                    }
                    grown.push(key);
                }
                grown.into_iter().for_each(|key| self.list(key));
            }
            setting::MAX_FRAME_SIZE => {
                if !(LEAST_MAX_FRAME..=GREATEST_MAX_FRAME).contains(&value) {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                self.peer.max_frame = value as usize;
            }
            _ => {}
        }
        Ok(())
    }

    /// The peer has applied our settings: what it may send on streams that began before changes with them.
    fn own_settings_apply(&mut self) {
        let window = i64::from(self.config.stream_window);
        let change = window - std::mem::replace(&mut self.stream_window, window);
        if change != 0 {
            self.streams
                .iter_mut()
                .for_each(|(_, stream)| stream.receiving.window += change);
        }
    }

    fn receive_ping(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Breach> {
        if head.stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if payload.len() != 8 {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        if !head.has(flag::ACK) {
            frame::put(self.output.joined(), kind::PING, flag::ACK, 0, payload);
        } else if self.is_leaving && payload == LEAVING && self.going.is_none() {
            let reason = Reason::NO_ERROR;
            frame::put_go_away(self.output.joined(), self.last_peer_id, reason);
            self.go(Error::GoAway { reason, by: Side::Us });
        }
        Ok(())
    }

    fn receive_go_away(&mut self, stream: u32, payload: &[u8]) -> Result<(), Breach> {
        if stream != 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let (Some(last), Some(code)) = (u32_at(payload, 0), u32_at(payload, 4)) else {
            return Err(Reason::FRAME_SIZE_ERROR);
        };
        let last = last & (u32::MAX >> 1);
        let error = Error::GoAway {
            reason: Reason::from(code),
            by: Side::Peer,
        };
        if self.role == Role::Client {
            let untaken: Vec<Key> = self
                .streams
                .iter_mut()
                .filter(|(_, stream)| stream.id > last)
                .map(|(key, _)| key)
                .collect();
            for key in untaken {
                self.break_stream(key, error.clone());
            }
        }
        self.go(error);
        Ok(())
    }

    fn receive_reset(&mut self, id: u32, payload: &[u8]) -> Result<(), Breach> {
        let key = self.existing(id)?;
        let (4, Some(code)) = (payload.len(), u32_at(payload, 0)) else {
            return Err(Reason::FRAME_SIZE_ERROR);
        };
        let Some(key) = key else { return Ok(()) };
        let reason = Reason::from(code);
        if self.role == Role::Client && reason == Reason::NO_ERROR {
            // A server that has answered in full may say so of a request that it needs no more of: the answer
            // stands (section 8.1).
            if let Some(stream) = self.streams.get(key)
                && stream.receiving.is_ended
                && stream.broken.is_none()
            {
                stream.sending.queue.clear();
                stream.sending.queued = 0;
                stream.sending.end = crate::stream::End::Sent;
                stream.sending.waker.take().into_iter().for_each(Waker::wake);
                self.settle(key);
                return Ok(());
            }
        }
        let is_ended = self
            .streams
            .get(key)
            .is_some_and(|stream| stream.receiving.is_ended);
        if !is_ended {
            let unread = self.take_unread(key);
            self.consumed(unread);
        }
        self.break_stream(
            key,
            Error::Reset {
                reason,
                by: Side::Peer,
            },
        );
        Ok(())
    }

    fn receive_window_update(&mut self, id: u32, payload: &[u8]) -> Result<(), Breach> {
        let (4, Some(increment)) = (payload.len(), u32_at(payload, 0)) else {
            return Err(Reason::FRAME_SIZE_ERROR);
        };
        let increment = i64::from(increment & (u32::MAX >> 1));
        if id == 0 {
            if increment == 0 {
                return Err(Reason::PROTOCOL_ERROR);
            }
            self.send_window += increment;
            if self.send_window > GREATEST_WINDOW {
                return Err(Reason::FLOW_CONTROL_ERROR);
            }
            return Ok(());
        }
        let Some(key) = self.existing(id)? else {
            return Ok(());
        };
        let Some(stream) = self.streams.get(key) else {
            return Ok(());
        };
        stream.sending.window += increment;
        if increment == 0 {
            self.reset(key, Reason::PROTOCOL_ERROR);
        } else if stream.sending.window > GREATEST_WINDOW {
            self.reset(key, Reason::FLOW_CONTROL_ERROR);
        } else {
            self.list(key);
        }
        Ok(())
    }

    /// Takes in a DATA frame whose payload had `total` bytes with its padding.
    pub(crate) fn receive_data(
        &mut self,
        id: u32,
        data: Bytes,
        total: usize,
        is_end: bool,
    ) -> Result<(), Breach> {
        let key = self.existing(id)?;
        self.recv_window -= total as i64;
        if self.recv_window < 0 {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        let stream = key.and_then(|key| self.streams.get(key));
        let (Some(key), Some(stream)) = (key, stream) else {
            self.consumed(total);
            return Ok(());
        };
        if stream.broken.is_some() {
            self.consumed(total);
            return Ok(());
        }
        let receiving = &mut stream.receiving;
        receiving.window -= total as i64;
        let length = data.len() as u64;
        let is_complete = match &mut receiving.missing {
            None => true,
            Some(missing) => match missing.checked_sub(length) {
                Some(rest) => {
                    *missing = rest;
                    rest == 0 || !is_end
                }
                None => false,
            },
        };
        let breach = if receiving.is_ended {
            Some(Reason::STREAM_CLOSED)
        } else if receiving.window < 0 {
            Some(Reason::FLOW_CONTROL_ERROR)
        } else if !receiving.has_head || !is_complete {
            Some(Reason::PROTOCOL_ERROR)
        } else {
            None
        };
        if let Some(reason) = breach {
            self.consumed(total);
            let unread = self.take_unread(key);
            self.consumed(unread);
            self.reset(key, reason);
            return Ok(());
        }
        receiving.is_ended = is_end;
        let padding = total - data.len();
        let mut unread = padding;
        if receiving.is_unwanted {
            unread += data.len();
        } else if !data.is_empty() {
            receiving.data.push(data);
        }
        receiving.waker.take().into_iter().for_each(Waker::wake);
        if unread > 0 {
            self.consumed(unread);
            self.consumed_of(key, padding);
        }
        if is_end {
            self.settle(key);
        }
        Ok(())
    }

    /// Takes in a whole header block. What a client sends may begin a stream: its key, and the head.
    pub(crate) fn receive_head(
        &mut self,
        id: u32,
        block: Block,
        is_end: bool,
    ) -> Result<Option<(Key, Request<()>)>, Breach> {
        match self.role {
            Role::Client => self.receive_answer(id, block, is_end).map(|()| None),
            Role::Server if id.is_multiple_of(2) => Err(Reason::PROTOCOL_ERROR),
            Role::Server if id > self.last_peer_id => {
                self.last_peer_id = id;
                Ok(self.receive_request(id, block, is_end))
            }
            Role::Server => {
                // A stream that is not known any more was perhaps reset here, and the client had not heard of that.
                if let Some(key) = self.streams.key(id) {
                    self.receive_trailers(key, block, is_end);
                }
                Ok(None)
            }
        }
    }

    fn receive_request(&mut self, id: u32, block: Block, is_end: bool) -> Option<(Key, Request<()>)> {
        if self.is_going() {
            // It raced with our GOAWAY; the client knows that it was not taken.
            return None;
        }
        let missing = block.content_length();
        let request = match block.into_request() {
            Ok(_) if is_end && missing.is_some_and(|missing| missing > 0) => Err(BadHead::Malformed),
            other => other,
        };
        let key = self.insert(id);
        match request {
            Ok(request) => {
                if let Some(stream) = self.streams.get(key) {
                    stream.receiving.has_head = true;
                    stream.receiving.is_ended = is_end;
                    stream.receiving.missing = missing;
                }
                Some((key, request))
            }
            Err(bad) => {
                if bad == BadHead::TooLong {
                    let mut response = Response::new(());
                    *response.status_mut() = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                    self.send_response(key, &response, true);
                }
                self.reset(key, Reason::PROTOCOL_ERROR);
                self.release(key, Reason::PROTOCOL_ERROR);
                None
            }
        }
    }

    fn receive_answer(&mut self, id: u32, block: Block, is_end: bool) -> Result<(), Breach> {
        let Some(key) = self.existing(id)? else {
            return Ok(());
        };
        let Some(stream) = self.streams.get(key) else {
            return Ok(());
        };
        if stream.receiving.has_head {
            self.receive_trailers(key, block, is_end);
            return Ok(());
        }
        if stream.broken.is_some() {
            return Ok(());
        }
        if block.is_interim() && !is_end {
            return Ok(());
        }
        let missing = block.content_length().filter(|_| !is_end);
        match block.into_response() {
            Ok(response) => {
                stream.receiving.head = Some(response);
                stream.receiving.has_head = true;
                stream.receiving.is_ended = is_end;
                stream.receiving.missing = missing;
                stream.receiving.waker.take().into_iter().for_each(Waker::wake);
                if is_end {
                    self.settle(key);
                }
            }
            Err(_) => self.reset(key, Reason::PROTOCOL_ERROR),
        }
        Ok(())
    }

    fn receive_trailers(&mut self, key: Key, block: Block, is_end: bool) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        if stream.broken.is_some() {
            return;
        }
        if stream.receiving.is_ended {
            self.reset(key, Reason::STREAM_CLOSED);
            return;
        }
        let is_complete = stream.receiving.missing.is_none_or(|missing| missing == 0);
        match block.into_trailers() {
            Ok(trailers) if is_end && is_complete => {
                stream.receiving.trailers = Some(trailers);
                stream.receiving.is_ended = true;
                stream.receiving.waker.take().into_iter().for_each(Waker::wake);
                self.settle(key);
            }
            _ => self.reset(key, Reason::PROTOCOL_ERROR),
        }
    }

    /// Waits for the head of an answer.
    pub(crate) fn poll_head(&mut self, key: Key, cx: &Context<'_>) -> Poll<Result<Response<()>, Error>> {
        let Some(stream) = self.streams.get(key) else {
            return Poll::Ready(Err(Error::Closed));
        };
        if let Some(head) = stream.receiving.head.take() {
            return Poll::Ready(Ok(head));
        }
        if let Some(error) = &stream.broken {
            return Poll::Ready(Err(error.clone()));
        }
        register(&mut stream.receiving.waker, cx);
        Poll::Pending
    }

    /// Waits for what comes next of a body.
    pub(crate) fn poll_received(&mut self, key: Key, cx: &Context<'_>) -> Poll<Result<Received, Error>> {
        let Some(stream) = self.streams.get(key) else {
            return Poll::Ready(Err(Error::Closed));
        };
        let receiving = &mut stream.receiving;
        if let Some(data) = receiving.data.pop() {
            let length = data.len();
            self.consumed(length);
            self.consumed_of(key, length);
            return Poll::Ready(Ok(Received::Data(data)));
        }
        if receiving.is_ended {
            let trailers = receiving.trailers.take();
            return Poll::Ready(Ok(trailers.map_or(Received::End, Received::Trailers)));
        }
        if let Some(error) = &stream.broken {
            return Poll::Ready(Err(error.clone()));
        }
        register(&mut receiving.waker, cx);
        Poll::Pending
    }

    /// Whether a body has nothing left, and how much of its declared length is to come.
    pub(crate) fn rest(&mut self, key: Key) -> (bool, Option<u64>) {
        let Some(stream) = self.streams.get(key) else {
            return (true, Some(0));
        };
        let receiving = &stream.receiving;
        let is_over = receiving.is_ended && receiving.data.is_empty() && receiving.trailers.is_none();
        let unread = receiving.data.len() as u64;
        (
            is_over,
            receiving.missing.map(|missing| missing.saturating_add(unread)),
        )
    }

    /// Nobody reads a body any more: what comes of it is thrown away, and the peer stops at its window.
    pub(crate) fn ignore(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key) {
            stream.receiving.is_unwanted = true;
            stream.receiving.waker = None;
        }
        let unread = self.take_unread(key);
        self.consumed(unread);
    }

    pub(super) fn take_unread(&mut self, key: Key) -> usize {
        self.streams
            .get(key)
            .map_or(0, |stream| stream.receiving.data.clear())
    }

    /// Bytes of the connection were read, or thrown away: the peer may send as many again.
    pub(super) fn consumed(&mut self, count: usize) {
        self.unreported += count as u32;
        let window = INITIAL_WINDOW.max(i64::from(self.config.connection_window));
        if i64::from(self.unreported) * 2 >= window {
            let increment = std::mem::take(&mut self.unreported);
            self.recv_window += i64::from(increment);
            frame::put_window_update(self.output.joined(), 0, increment);
            self.wants_turn = true;
        }
    }

    /// Bytes of a stream were read.
    fn consumed_of(&mut self, key: Key, count: usize) {
        let window = i64::from(self.config.stream_window);
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        let receiving = &mut stream.receiving;
        if receiving.is_ended || stream.broken.is_some() {
            return;
        }
        receiving.unreported += count as u32;
        if i64::from(receiving.unreported) * 2 >= window {
            let increment = std::mem::take(&mut receiving.unreported);
            receiving.window += i64::from(increment);
            let id = stream.id;
            frame::put_window_update(self.output.joined(), id, increment);
            self.wants_turn = true;
        }
    }
}
