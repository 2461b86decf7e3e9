//! What calls send.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};

use super::State;
use crate::fields::is_of_connection;
use crate::frame::{self, FrameHead, HEAD, flag, kind};
use crate::hpack::{Encoder, Pseudo};
use crate::output::Output;
use crate::stream::{End, Key, LARGE};

/// Longer frames would hold up those of other streams.
const LONGEST: usize = 64 * 1024;
/// How many streams that are gone may stand in the list of those that have something to send, at least.
const SPARE: usize = 64;
/// Bodies wait in their streams while so much waits for the socket.
const ENOUGH: usize = 64 * 1024;

impl State {
    /// Sends the head of a request on a new stream. [`Self::poll_open`] must have been asked before.
    pub(crate) fn send_request(&mut self, request: &Request<()>, is_end: bool) -> Key {
        // The id is taken under the lock that also writes the head: ids must appear in order (section 5.1.1).
        let id = self.next_id;
        self.next_id += 2;
        let key = self.insert(id);
        // An answer to HEAD declares the length of a body that does not come (RFC 9110, section 9.3.2).
        if request.method() == Method::HEAD
            && let Some(stream) = self.streams.get(key)
        {
            stream.receiving.missing = Some(0);
        }
        let uri = request.uri();
        let (scheme, authority) = match (uri.authority(), &self.config.origin) {
            (None, Some((scheme, authority))) => (scheme.as_str(), Some(authority)),
            (authority, _) => (uri.scheme_str().unwrap_or("http"), authority),
        };
        let longest = self.peer.max_frame;
        put_head(
            &mut self.output,
            &mut self.encoder,
            longest,
            id,
            is_end,
            |encoder, out| {
                encoder.pseudo(Pseudo::Method, request.method().as_str().as_bytes(), out);
                encoder.pseudo(Pseudo::Scheme, scheme.as_bytes(), out);
                if let Some(authority) = authority {
                    encoder.pseudo(Pseudo::Authority, authority.as_str().as_bytes(), out);
                }
                let path = match uri.path_and_query().map_or("", |path| path.as_str()) {
                    "" => "/",
                    path => path,
                };
                encoder.pseudo(Pseudo::Path, path.as_bytes(), out);
                put_fields(encoder, request.headers(), out);
            },
        );
        self.wants_turn = true;
        if is_end {
            self.end_is_sent(key);
        }
        key
    }

    /// Asks the client to send its body (RFC 9110, section 10.1.1).
    pub(super) fn send_continue(&mut self, id: u32) {
        self.put_head(id, false, |encoder, out| {
            encoder.pseudo(Pseudo::Status, b"100", out);
        });
    }

    /// Sends the head of an answer.
    pub(crate) fn send_response(&mut self, key: Key, response: &Response<()>, is_end: bool) {
        let Some(id) = self.sends(key) else { return };
        self.put_head(id, is_end, |encoder, out| {
            encoder.pseudo(Pseudo::Status, response.status().as_str().as_bytes(), out);
            put_fields(encoder, response.headers(), out);
        });
        if is_end {
            self.end_is_sent(key);
        }
    }

    /// Sends a piece of a body, or keeps it until the peer takes it.
    pub(crate) fn send_data(&mut self, key: Key, data: Bytes, is_end: bool) {
        self.send_shared_data(key, data, is_end, false);
    }

    /// The same; the piece comes back if the caller needs it once more.
    pub(crate) fn send_shared_data(
        &mut self,
        key: Key,
        data: Bytes,
        is_end: bool,
        is_shared: bool,
    ) -> Option<Bytes> {
        if data.is_empty() {
            // An end needs no window, so it must not wait for one as a piece.
            if is_end {
                self.send_end(key, None);
            }
            return None;
        }
        let back = |data| is_shared.then_some(data);
        // A stream that broke takes nothing more, but the call may go out again, and then needs this piece.
        if self.sends(key).is_none() {
            return back(data);
        }
        let has_room = self.output.len() < ENOUGH;
        let longest = self.longest_data();
        let Some(stream) = self.streams.get(key) else {
            return back(data);
        };
        // Set before the piece goes out or waits: whoever sends the last bytes sends the end in the same frame.
        if is_end {
            stream.sending.end = End::Bare;
        }
        // Most bodies fit at once. They skip the queue and its turn; nothing may overtake what waits in it.
        let at_once = stream.sending.queue.is_empty()
            && has_room
            && data.len() <= longest
            && data.len() as i64 <= stream.sending.window
            && data.len() as i64 <= self.send_window;
        if at_once {
            let length = data.len() as i64;
            stream.sending.window -= length;
            self.send_window -= length;
            put_data_head(&mut self.output, stream.id, data.len(), is_end);
            let data = if is_shared {
                self.output.put_shared(&data);
                Some(data)
            } else {
                self.output.put(data);
                None
            };
            self.wants_turn = true;
            if is_end {
                self.end_is_sent(key);
            }
            return data;
        }
        let again = is_shared.then(|| data.clone());
        let length = data.len();
        stream.sending.queued += length;
        // What the peer may leave here for long must not keep a buffer alive of which it is a small part.
        let mut data = data;
        if stream.sending.window <= 0 && length < LARGE {
            data = Bytes::copy_from_slice(&data);
        }
        // Longer pieces than a frame takes are cut here, without a copy, so that every piece is one frame at most.
        while data.len() > longest {
            stream.sending.queue.push(data.split_to(longest));
        }
        stream.sending.queue.push(data);
        self.hold(length);
        self.list(key);
        again
    }

    /// Ends a body, after what waits.
    pub(crate) fn send_end(&mut self, key: Key, trailers: Option<HeaderMap>) {
        if self.sends(key).is_none() {
            return;
        }
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        stream.sending.end = trailers.map_or(End::Bare, End::Trailers);
        if stream.sending.queue.is_empty() {
            self.finish(key);
        }
    }

    /// The most that goes out in one frame.
    fn longest_data(&self) -> usize {
        self.peer.max_frame.min(LONGEST)
    }

    /// The id of a stream whose half of ours is open.
    fn sends(&mut self, key: Key) -> Option<u32> {
        let stream = self.streams.get(key)?;
        (stream.broken.is_none() && stream.sending.end.is_open()).then_some(stream.id)
    }

    /// Sends the end of a stream of which nothing waits.
    fn finish(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        let id = stream.id;
        match std::mem::replace(&mut stream.sending.end, End::Sent) {
            End::Open => stream.sending.end = End::Open,
            End::Sent => {}
            // The body turned out to be over after its last piece went out: an empty frame carries the flag.
            End::Bare => {
                put_data(&mut self.output, id, Bytes::new(), true);
                self.end_is_sent(key);
            }
            End::Trailers(trailers) => {
                self.put_head(id, true, |encoder, out| put_fields(encoder, &trailers, out));
                self.end_is_sent(key);
            }
        }
    }

    fn end_is_sent(&mut self, key: Key) {
        self.wants_turn = true;
        if let Some(stream) = self.streams.get(key) {
            stream.sending.end = End::Sent;
        }
        self.settle(key);
    }

    fn put_head(&mut self, id: u32, is_end: bool, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let longest = self.peer.max_frame;
        put_head(&mut self.output, &mut self.encoder, longest, id, is_end, write);
        self.wants_turn = true;
    }

    /// Lists a stream among those that have something to send.
    pub(super) fn list(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && !stream.sending.is_listed
            && !stream.sending.queue.is_empty()
            && stream.sending.window > 0
        {
            stream.sending.is_listed = true;
            self.ready.push_back(key);
            self.wants_turn = true;
            if self.ready.len() > 2 * self.streams.places() + SPARE {
                self.tidy_ready();
            }
        }
    }

    /// Takes streams out of the list that are gone: while the connection has no window nobody comes to do it.
    fn tidy_ready(&mut self) {
        // The place of a stream that is gone may belong to another one by now, whose key then stands here twice. The
        // mark is taken off at the first, so the second falls out; what is left is marked again.
        let streams = &mut self.streams;
        let mut is_listed = |key: &Key| {
            let stream = streams.get(*key);
            stream.is_some_and(|stream| std::mem::take(&mut stream.sending.is_listed))
        };
        self.ready.retain(&mut is_listed);
        for key in &self.ready {
            if let Some(stream) = self.streams.get(*key) {
                stream.sending.is_listed = true;
            }
        }
    }

    /// Moves what waits in the streams to the output, one frame of each in turn, as far as windows allow and the
    /// socket keeps up.
    pub(crate) fn fill(&mut self) {
        while self.output.len() < ENOUGH && self.send_window > 0 {
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            self.send_next(key);
        }
    }

    fn send_next(&mut self, key: Key) {
        let longest = self.longest_data();
        let Some(stream) = self.streams.get(key) else {
            return;
        };
        // The entry may be one of an earlier stream in the same place. A window that shrank since lists its stream
        // again when it grows.
        if !std::mem::take(&mut stream.sending.is_listed) || stream.sending.window <= 0 {
            return;
        }
        // The peer may have asked for shorter frames since pieces were cut.
        let room = longest.min(stream.sending.window.min(self.send_window) as usize);
        let Some(first) = stream.sending.queue.first_mut() else {
            return;
        };
        let data = if first.len() > room {
            first.split_to(room)
        } else {
            stream.sending.queue.pop().unwrap_or_default()
        };
        let length = data.len();
        stream.sending.window -= length as i64;
        self.send_window -= length as i64;
        stream.sending.queued -= length;
        let is_last = stream.sending.queue.is_empty();
        let is_end = is_last && matches!(stream.sending.end, End::Bare);
        let id = stream.id;
        put_data(&mut self.output, id, data, is_end);
        self.let_go(length);
        self.moves(key);
        self.wake_sender(key);
        if is_end {
            self.end_is_sent(key);
        } else if is_last {
            self.finish(key);
        } else {
            self.list(key);
        }
    }

    /// Throws away what waits to be sent on a stream.
    pub(super) fn take_queued(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key) {
            stream.sending.queue.clear();
            let queued = std::mem::take(&mut stream.sending.queued);
            self.let_go(queued);
        }
    }
}

fn put_head(
    output: &mut Output,
    encoder: &mut Encoder,
    longest: usize,
    id: u32,
    is_end: bool,
    write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
) {
    let out = output.joined();
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    encoder.begin(out);
    write(encoder, out);
    close_block(out, start, longest, id, is_end);
}

fn put_fields(encoder: &mut Encoder, headers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        // What HTTP/1 says of a connection has no place here.
        if !is_of_connection(name, value) {
            encoder.field(name, value, out);
        }
    }
}

fn put_data(output: &mut Output, id: u32, data: Bytes, is_end: bool) {
    put_data_head(output, id, data.len(), is_end);
    output.put(data);
}

fn put_data_head(output: &mut Output, id: u32, length: usize, is_end: bool) {
    let head = FrameHead {
        length: length as u32,
        kind: kind::DATA,
        flags: if is_end { flag::END_STREAM } else { 0 },
        stream: id,
    };
    output.joined().extend_from_slice(&head.to_bytes());
}

/// Writes the head of the frame whose block begins at `start`; blocks that are longer than a frame are cut.
fn close_block(out: &mut Vec<u8>, start: usize, longest: usize, id: u32, is_end: bool) {
    // The length of a block is known only after it is encoded. It is written in place, and only the rest of a long
    // block moves.
    let length = out.len() - start - HEAD;
    let mut head = FrameHead {
        length: length.min(longest) as u32,
        kind: kind::HEADERS,
        flags: if is_end { flag::END_STREAM } else { 0 },
        stream: id,
    };
    if length <= longest {
        head.flags |= flag::END_HEADERS;
        out[start..start + HEAD].copy_from_slice(&head.to_bytes());
        return;
    }
    let rest = out.split_off(start + HEAD + longest);
    out[start..start + HEAD].copy_from_slice(&head.to_bytes());
    let mut pieces = rest.chunks(longest).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() {
            flag::END_HEADERS
        } else {
            0
        };
        frame::put(out, kind::CONTINUATION, flags, id, piece);
    }
}
