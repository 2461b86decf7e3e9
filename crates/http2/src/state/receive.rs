//! What the peer sends.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};

use super::{Role, State};
use crate::error::{Error, Reason, Side};
use crate::fields::{BadHead, Block};
use crate::frame::{self, INITIAL_WINDOW};
use crate::stream::{Key, Upload, register};

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
    /// Takes in a DATA frame whose payload had `total` bytes with its padding.
    pub(crate) fn receive_data(
        &mut self,
        id: u32,
        data: Bytes,
        total: usize,
        is_end: bool,
    ) -> Result<(), Breach> {
        let key = self.existing(id)?;
        // Padding counts, and so does data on streams that are over (section 6.9): both ends must count alike.
        self.recv_window -= total as i64;
        if self.recv_window < 0 {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        self.report(total);
        let stream = key.and_then(|key| self.streams.get(key));
        let Some((key, stream)) = key.zip(stream).filter(|(_, stream)| !stream.is_over()) else {
            return self.receive_late(id, false);
        };
        let receiving = &mut stream.receiving;
        receiving.window -= total as i64;
        let length = data.len() as u64;
        // A body that is longer or shorter than its head declared is malformed (section 8.1.1).
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
            self.take_unread(key);
            self.reset(key, reason);
            return Ok(());
        }
        receiving.is_ended = is_end;
        // The client did not wait to be asked. To ask it now would come too late.
        if receiving.upload == Upload::Expected {
            receiving.upload = Upload::Plain;
        }
        let is_used_up = receiving.upload == Upload::Lingering && receiving.window <= 0;
        let is_padded = total > data.len();
        if is_end || !data.is_empty() {
            receiving.waker.take().into_iter().for_each(Waker::wake);
        }
        if !receiving.is_unwanted && !data.is_empty() {
            self.keep_unread(key, data);
        }
        // Nobody reads padding, so no reader gives its part of the window back.
        if is_padded {
            self.grant(key);
        }
        if is_end {
            self.settle(key);
        } else if is_used_up {
            self.wake_lingering(key);
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
            // Streams of clients have odd ids (section 5.1.1).
            Role::Server if id.is_multiple_of(2) => Err(Reason::PROTOCOL_ERROR),
            Role::Server if id > self.last_peer_id => {
                self.last_peer_id = id;
                Ok(self.receive_request(id, block, is_end))
            }
            Role::Server => {
                let key = self.streams.key(id);
                match key.and_then(|key| Some((key, self.streams.get(key)?))) {
                    Some((key, stream)) if !stream.is_over() => self.receive_trailers(key, block, is_end),
                    _ => self.receive_late(id, true)?,
                }
                Ok(None)
            }
        }
    }

    /// Something came on a stream that is over (section 5.1). That is no mistake if it was reset or ignored here,
    /// which the client may not have heard of. It also begins no stream with an id below those that it has used.
    fn receive_late(&mut self, id: u32, is_head: bool) -> Result<(), Breach> {
        if self.role == Role::Client || id > self.taken_id || self.resets.may_have(id) {
            return Ok(());
        }
        // A head on a stream that ended properly breaks the connection; data only breaks its stream.
        if is_head {
            return Err(Reason::STREAM_CLOSED);
        }
        frame::put_reset(self.output.joined(), id, Reason::STREAM_CLOSED);
        self.resets.remember(id);
        Ok(())
    }

    fn receive_request(&mut self, id: u32, block: Block, is_end: bool) -> Option<(Key, Request<()>)> {
        if matches!(self.gone(), Some(error) if !matches!(error, Error::GoAway { by: Side::Peer, .. })) {
            // It raced with our GOAWAY; the client knows that it was not taken. A GOAWAY of the client, however, only
            // says that it wants no streams of ours.
            return None;
        }
        self.taken_id = id;
        // A refused stream was certainly not processed, so that the client may send it again (section 8.7).
        if self.active >= self.config.max_streams as usize || self.takes_none() {
            frame::put_reset(self.output.joined(), id, Reason::REFUSED_STREAM);
            self.resets.remember(id);
            return None;
        }
        let (missing, size) = (block.content_length(), block.size());
        let upload = if block.expects_continue() && !is_end {
            Upload::Expected
        } else {
            Upload::Plain
        };
        let request = match block.into_request() {
            Ok(_) if is_end && missing.is_some_and(|missing| missing > 0) => Err(BadHead::Malformed),
            other => other,
        };
        let key = self.insert(id);
        self.charge(key, size);
        match request {
            Ok(request) => {
                if let Some(stream) = self.streams.get(key) {
                    stream.receiving.has_head = true;
                    stream.receiving.is_ended = is_end;
                    stream.receiving.missing = missing;
                    stream.receiving.upload = upload;
                }
                Some((key, request))
            }
            Err(bad) => {
                if bad == BadHead::TooLong {
                    if let Some(stream) = self.streams.get(key) {
                        stream.receiving.is_ended = is_end;
                    }
                    let mut response = Response::new(());
                    *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                    self.send_response(key, &response, true);
                }
                // What is answered is over, or told to be (section 8.1).
                self.release(key, Reason::PROTOCOL_ERROR);
                None
            }
        }
    }

    fn receive_answer(&mut self, id: u32, block: Block, is_end: bool) -> Result<(), Breach> {
        // A call that was given up leaves no stream behind. The server may have answered before it heard of that.
        let Some(key) = self.existing(id)? else {
            return Ok(());
        };
        let Some(stream) = self.streams.get(key) else {
            return Ok(());
        };
        if stream.is_over() {
            return Ok(());
        }
        if stream.receiving.has_head {
            self.receive_trailers(key, block, is_end);
            return Ok(());
        }
        let (length, size) = (block.content_length(), block.size());
        match block.into_response() {
            // Interim answers are skipped; none may be the end, and one does not exist in HTTP/2 (sections 8.1, 8.6).
            Ok(response) if response.status().is_informational() => {
                if is_end || response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    self.reset(key, Reason::PROTOCOL_ERROR);
                }
            }
            Ok(response) => {
                // Some answers have no body, and the length that they declare is that of another (section 8.1.1).
                let is_bodiless = stream.receiving.missing.is_some()
                    || matches!(
                        response.status(),
                        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
                    );
                let missing = if is_bodiless { Some(0) } else { length };
                if is_end && missing.is_some_and(|missing| missing > 0) {
                    self.reset(key, Reason::PROTOCOL_ERROR);
                    return Ok(());
                }
                stream.receiving.head = Some(response);
                stream.receiving.has_head = true;
                stream.receiving.is_ended = is_end;
                stream.receiving.missing = missing;
                stream.receiving.waker.take().into_iter().for_each(Waker::wake);
                self.charge(key, size);
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
        if stream.receiving.is_ended {
            self.reset(key, Reason::STREAM_CLOSED);
            return;
        }
        // Trailers end the stream: a second head without its end would be neither (section 8.1).
        let is_complete = stream.receiving.missing.is_none_or(|missing| missing == 0);
        let size = block.size();
        match block.into_trailers() {
            Ok(trailers) if is_end && is_complete => {
                stream.receiving.trailers = Some(trailers);
                stream.receiving.is_ended = true;
                stream.receiving.waker.take().into_iter().for_each(Waker::wake);
                self.charge(key, size);
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
            receiving.unread -= length;
            self.let_go(length);
            self.moves(key);
            self.grant(key);
            return Poll::Ready(Ok(Received::Data(data)));
        }
        // What came before an error is handed out first: a whole answer stays whole although its stream broke later.
        if receiving.is_ended {
            let trailers = receiving.trailers.take();
            return Poll::Ready(Ok(trailers.map_or(Received::End, Received::Trailers)));
        }
        if let Some(error) = &stream.broken {
            return Poll::Ready(Err(error.clone()));
        }
        register(&mut receiving.waker, cx);
        // The client is asked as late as this: a handler that refuses by the head spares the client its body.
        if receiving.upload == Upload::Expected {
            receiving.upload = Upload::Plain;
            let id = stream.id;
            self.send_continue(id);
        }
        Poll::Pending
    }

    /// Whether a body has nothing left, and how much of its declared length is to come.
    pub(crate) fn rest(&mut self, key: Key) -> (bool, Option<u64>) {
        let Some(stream) = self.streams.get(key) else {
            return (true, Some(0));
        };
        let receiving = &stream.receiving;
        let is_over = receiving.is_ended && receiving.data.is_empty() && receiving.trailers.is_none();
        let unread = receiving.unread as u64;
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
        self.take_unread(key);
        self.wake_lingering(key);
    }

    /// Throws away what is unread of a stream; returns how many bytes it was.
    pub(super) fn take_unread(&mut self, key: Key) -> usize {
        let Some(stream) = self.streams.get(key) else {
            return 0;
        };
        stream.receiving.data.clear();
        let unread = std::mem::take(&mut stream.receiving.unread);
        self.let_go(unread);
        unread
    }

    /// Bytes came on the connection: the peer may send as many again. When they are read is between the peer and
    /// their stream.
    fn report(&mut self, count: usize) {
        self.unreported = self.unreported.saturating_add(count as u32);
        let window = INITIAL_WINDOW.max(i64::from(self.config.connection_window));
        // Half a window at a time: one update for each frame would double the number of frames.
        if i64::from(self.unreported) * 2 >= window {
            let increment = std::mem::take(&mut self.unreported);
            self.recv_window += i64::from(increment);
            frame::put_window_update(self.output.joined(), 0, increment);
            self.wants_turn = true;
        }
    }
}
