//! Bodies as messages: the head of a call, then its body in numbered pieces.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use grpc_wire::{GrpcStatus, MESSAGE_HEAD};
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BodyError};

use crate::codec::{begin_message, finish_message, payload_len, put_payload_head};
use crate::limit::MessageLimit;

/// A payload up to this length is joined with what precedes it: one frame instead of two.
const JOINED: usize = 8 * 1024;
/// Messages that are shorter than this are written one behind the other into a buffer of about this length, which is as
/// much as one frame takes to a sidecar of Dapr.
const BATCH: usize = 16 * 1024;
/// What a message has besides its piece of the body, with its own head, at most.
const HEADS: usize = 32;

/// Where the body's error is left for the one who waits for the answer: the transport only tells that the
/// stream was reset.
pub(crate) type ErrorSlot = Arc<Mutex<Option<BodyError>>>;

/// A stream of messages.
pub(crate) struct Frames {
    /// The head message (without the room for a payload closed), not sent yet.
    head: Option<BytesMut>,
    body: Body,
    seq: u64,
    /// Data whose message head went out.
    data: Bytes,
    /// The rest of a piece that is sent in several messages.
    rest: Bytes,
    /// How long messages may be.
    limit: MessageLimit,
    /// An empty field 1 in every message but the first: how the messages of an event stream look.
    has_empty_response: bool,
    end: End,
    error: Option<ErrorSlot>,
}

/// How long the first frame may get, for a head that takes so many bytes: all of it is then made in one place.
pub(crate) fn first_frame(head: usize, body: &Body) -> usize {
    let joined = body.as_full().map_or(0, <[u8]>::len);
    HEADS + head + if joined <= JOINED { joined } else { 0 }
}

/// What comes after the last message.
#[derive(Debug)]
enum End {
    /// Nothing: the stream of a client ends with it.
    Bare,
    /// The status of a server.
    Trailers(GrpcStatus),
    Done,
}

impl Frames {
    /// The messages of a client. `head` has been begun with [`begin_message`].
    pub(crate) fn of_client(head: BytesMut, body: Body, limit: MessageLimit) -> (Self, Option<ErrorSlot>) {
        // A body that is at hand cannot break.
        let error = body.as_full().is_none().then(ErrorSlot::default);
        let frames = Self::new(head, body, limit, End::Bare, error.clone());
        (frames, error)
    }

    /// The messages of a server, which end in trailers.
    pub(crate) fn of_server(head: BytesMut, body: Body, limit: MessageLimit, is_event_stream: bool) -> Self {
        let mut frames = Self::new(head, body, limit, End::Trailers(GrpcStatus::default()), None);
        frames.has_empty_response = is_event_stream;
        frames
    }

    fn new(head: BytesMut, body: Body, limit: MessageLimit, end: End, error: Option<ErrorSlot>) -> Self {
        Self {
            head: Some(head),
            body,
            seq: 0,
            data: Bytes::new(),
            rest: Bytes::new(),
            limit,
            has_empty_response: false,
            end,
            error,
        }
    }

    /// The first frame: the head, with the body in the same message if it is at hand and small.
    fn first(&mut self, mut head: BytesMut) -> Bytes {
        let at_hand = self.body.take_full().unwrap_or_default();
        if !at_hand.is_empty() && self.limit.has_room(head.len() - MESSAGE_HEAD, at_hand.len()) {
            head.reserve(HEADS + if at_hand.len() <= JOINED { at_hand.len() } else { 0 });
            self.put_payload(&mut head, 0, at_hand);
        } else {
            finish_message(&mut head, 0, 0);
            self.rest = at_hand;
        }
        head.freeze()
    }

    /// Messages for what has come of the body: their heads, with the pieces themselves if they are small.
    fn messages(&mut self, data: Bytes) -> Bytes {
        let longest = self.limit.piece();
        // A long piece follows its head uncopied, so the buffer holds the head alone.
        let room = if longest > JOINED && data.len() > JOINED {
            0
        } else {
            (data.len() + data.len() / longest * HEADS).min(BATCH)
        };
        let mut out = BytesMut::with_capacity(HEADS + room);
        let mut rest = data;
        loop {
            let piece = rest.split_to(rest.len().min(longest));
            let is_joined = piece.len() <= JOINED;
            let start = begin_message(&mut out);
            if self.has_empty_response {
                out.put_slice(&[0x0a, 0]);
            }
            self.put_payload(&mut out, start, piece);
            if rest.is_empty() || !is_joined || out.len() + longest + HEADS > BATCH {
                self.rest = rest;
                return out.freeze();
            }
        }
    }

    /// Completes the message that begins at `start` with a piece of the body, which is joined to it or follows.
    fn put_payload(&mut self, out: &mut BytesMut, start: usize, piece: Bytes) {
        let before = out.len();
        put_payload_head(out, self.seq, piece.len());
        debug_assert_eq!(
            out.len() - before + piece.len(),
            payload_len(self.seq, piece.len())
        );
        self.seq += 1;
        if piece.len() <= JOINED {
            out.put_slice(&piece);
            finish_message(out, start, 0);
        } else {
            finish_message(out, start, piece.len());
            self.data = piece;
        }
    }

    fn finish(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        match std::mem::replace(&mut self.end, End::Done) {
            End::Trailers(status) => Some(Ok(Frame::trailers(status.to_trailers()))),
            End::Bare | End::Done => None,
        }
    }

    fn fail(&mut self, error: BodyError) -> Option<Result<Frame<Bytes>, BodyError>> {
        if let End::Trailers(_) = self.end {
            // A server says in the trailers that the answer is not complete.
            self.end = End::Trailers(GrpcStatus::new(2, error.to_string()));
            return self.finish();
        }
        let Some(slot) = &self.error else {
            return Some(Err(error));
        };
        // The one who waits for the answer prints it; the stream needs only the source, for its reset code.
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        Some(Err(BodyError::Protocol(
            "the body of the request broke".to_owned(),
        )))
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(head) = this.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(this.first(head)))));
        }
        if !this.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.data)))));
        }
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(Frame::data(this.messages(rest)))));
        }
        loop {
            match ready!(http_body::Body::poll_frame(Pin::new(&mut this.body), cx)) {
                None => return Poll::Ready(this.finish()),
                Some(Err(error)) => return Poll::Ready(this.fail(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        return Poll::Ready(Some(Ok(Frame::data(this.messages(data)))));
                    }
                    // Trailers of apps and callers are not passed on.
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.end, End::Done | End::Bare)
            && self.head.is_none()
            && self.data.is_empty()
            && self.rest.is_empty()
            && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

#[cfg(test)]
mod tests {
    use grpc_wire::MessageReader;
    use http_body_util::BodyExt;

    use super::*;
    use crate::limit::Telling;

    fn limit(bytes: usize) -> MessageLimit {
        let mut headers = http::HeaderMap::new();
        Telling::new(bytes).put(&mut headers);
        MessageLimit::told(&headers)
    }

    fn of_client(body: Body, limit: MessageLimit) -> Frames {
        let mut head = BytesMut::new();
        begin_message(&mut head);
        Frames::of_client(head, body, limit).0
    }

    async fn frames(body: Body, limit: MessageLimit) -> Vec<usize> {
        let mut frames = of_client(body, limit);
        let mut sizes = Vec::new();
        while let Some(frame) = frames.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        sizes
    }

    #[tokio::test]
    async fn a_small_call_is_one_frame() {
        let limit = limit(4 << 20);
        assert_eq!(frames(Body::empty(), limit).await, [5]);
        assert_eq!(frames(Body::full(vec![0; 1024]), limit).await.len(), 1);
    }

    #[tokio::test]
    async fn a_large_piece_is_not_copied_and_a_very_large_one_is_divided() {
        let limit = limit(4 << 20);
        assert_eq!(frames(Body::full(vec![0; JOINED + 1]), limit).await.len(), 2);
        let sizes = frames(Body::full(vec![0; 64 * 1024 + 1]), limit).await;
        assert_eq!(sizes[0], 5, "the head alone");
        assert_eq!(sizes[2], 64 * 1024);
        assert_eq!(sizes.len(), 4);
    }

    /// The messages of a body, and the body in them.
    async fn read(head: usize, body: &[u8], limit: MessageLimit) -> (Vec<usize>, Vec<u8>) {
        let mut first = BytesMut::new();
        begin_message(&mut first);
        first.put_slice(&[0x0a, head as u8 - 2]);
        first.put_bytes(0, head - 2);
        let body = Body::full(body.to_vec());
        let (frames, _) = Frames::of_client(first, body, limit);
        let mut messages = MessageReader::new(frames, usize::MAX);
        let (mut lengths, mut read) = (Vec::new(), Vec::new());
        while let Some(message) = messages.next().await {
            let (_, message) = message.unwrap();
            lengths.push(message.len());
            for field in invoke_codec::wire::fields(&message) {
                if let (2, invoke_codec::wire::Value::Len(payload)) = field.unwrap() {
                    read.extend_from_slice(&crate::codec::decode_payload(payload).unwrap().data);
                }
            }
        }
        (lengths, read)
    }

    #[tokio::test]
    async fn no_message_is_longer_than_the_other_side_takes() {
        for bytes in [512, 2048, 8 * 1024, 16 * 1024, 32 * 1024, 64 * 1024, 4 << 20] {
            for length in [0, 1, 487, 512, 2000, 2023, 2048, 9000, 16_384, 65_536, 200_000] {
                let body: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8).collect();
                let (lengths, got) = read(100, &body, limit(bytes)).await;
                assert!(got == body, "{bytes} {length}");
                assert!(lengths.iter().all(|length| *length <= bytes), "{lengths:?}");
                let fewest = length.div_ceil(limit(bytes).piece()) + 1;
                assert!(lengths.len() <= fewest, "{bytes} {length}: {lengths:?}");
            }
        }
    }

    #[tokio::test]
    async fn short_messages_share_frames() {
        let sizes = frames(Body::full(vec![0; 64 * 1024]), limit(2048)).await;
        assert!(sizes.len() <= 6, "{sizes:?}");
    }

    #[test]
    fn the_end_of_a_client_stream_is_known_at_once() {
        let mut frames = of_client(Body::full("x"), limit(2048));
        let waker = std::task::Waker::noop();
        let polled = http_body::Body::poll_frame(Pin::new(&mut frames), &mut Context::from_waker(waker));
        assert!(polled.is_ready());
        assert!(http_body::Body::is_end_stream(&frames));
    }
}
