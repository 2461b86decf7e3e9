//! Bodies as messages: the head of a call, then its body in numbered pieces.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BodyError};
use transport::grpc::{GrpcStatus, MESSAGE_HEAD};

use crate::codec::{begin_message, finish_message, payload_len, put_payload_head};

/// A piece of a body that is longer is sent as several messages, so that no peer finds one too large.
const LONGEST_PIECE: usize = 64 * 1024;
/// A payload up to this length is joined with what precedes it: one frame instead of two.
const JOINED: usize = 8 * 1024;

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
    /// An empty field 1 in every message but the first: how the messages of an event stream look.
    has_empty_response: bool,
    end: End,
    error: Option<ErrorSlot>,
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
    pub(crate) fn of_client(head: BytesMut, body: Body) -> (Self, Option<ErrorSlot>) {
        let error = body.as_full().is_none().then(ErrorSlot::default);
        let frames = Self::new(head, body, End::Bare, error.clone());
        (frames, error)
    }

    /// The messages of a server, which end in trailers.
    pub(crate) fn of_server(head: BytesMut, body: Body, is_event_stream: bool) -> Self {
        let mut frames = Self::new(head, body, End::Trailers(GrpcStatus::default()), None);
        frames.has_empty_response = is_event_stream;
        frames
    }

    fn new(head: BytesMut, body: Body, end: End, error: Option<ErrorSlot>) -> Self {
        Self {
            head: Some(head),
            body,
            seq: 0,
            data: Bytes::new(),
            rest: Bytes::new(),
            has_empty_response: false,
            end,
            error,
        }
    }

    /// The first frame: the head, with the body in the same message if it is at hand and small.
    fn first(&mut self, mut head: BytesMut) -> Bytes {
        let at_hand = self.body.take_full().unwrap_or_default();
        if at_hand.is_empty() {
            finish_message(&mut head, 0, 0);
        } else if at_hand.len() <= LONGEST_PIECE {
            head.reserve(16 + if at_hand.len() <= JOINED { at_hand.len() } else { 0 });
            put_payload_head(&mut head, self.seq, at_hand.len());
            self.seq += 1;
            finish_message(&mut head, 0, at_hand.len());
            self.join_or_follow(&mut head, at_hand);
        } else {
            finish_message(&mut head, 0, 0);
            self.rest = at_hand;
        }
        head.freeze()
    }

    /// The head of the message for the next piece, with the piece itself if it is small.
    fn piece(&mut self, mut piece: Bytes) -> Bytes {
        if piece.len() > LONGEST_PIECE {
            self.rest = piece.split_off(LONGEST_PIECE);
        }
        let joined = if piece.len() <= JOINED { piece.len() } else { 0 };
        let mut message = BytesMut::with_capacity(MESSAGE_HEAD + 18 + joined);
        begin_message(&mut message);
        if self.has_empty_response {
            message.put_slice(&[0x0a, 0]);
        }
        put_payload_head(&mut message, self.seq, piece.len());
        debug_assert!(message.len() + piece.len() >= payload_len(self.seq, piece.len()));
        self.seq += 1;
        finish_message(&mut message, 0, piece.len());
        self.join_or_follow(&mut message, piece);
        message.freeze()
    }

    fn join_or_follow(&mut self, message: &mut BytesMut, piece: Bytes) {
        if piece.len() <= JOINED {
            message.put_slice(&piece);
        } else {
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
            return Poll::Ready(Some(Ok(Frame::data(this.piece(rest)))));
        }
        loop {
            match ready!(http_body::Body::poll_frame(Pin::new(&mut this.body), cx)) {
                None => return Poll::Ready(this.finish()),
                Some(Err(error)) => return Poll::Ready(this.fail(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        return Poll::Ready(Some(Ok(Frame::data(this.piece(data)))));
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
    use http_body_util::BodyExt;

    use super::*;

    async fn frames(body: Body) -> Vec<usize> {
        let mut head = BytesMut::new();
        begin_message(&mut head);
        let (mut frames, _) = Frames::of_client(head, body);
        let mut sizes = Vec::new();
        while let Some(frame) = frames.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        sizes
    }

    #[tokio::test]
    async fn a_small_call_is_one_frame() {
        assert_eq!(frames(Body::empty()).await, [5]);
        assert_eq!(frames(Body::full(vec![0; 1024])).await.len(), 1);
    }

    #[tokio::test]
    async fn a_large_piece_is_not_copied_and_a_very_large_one_is_divided() {
        assert_eq!(frames(Body::full(vec![0; JOINED + 1])).await.len(), 2);
        let sizes = frames(Body::full(vec![0; LONGEST_PIECE + 1])).await;
        assert_eq!(sizes[0], 5, "the head alone");
        assert_eq!(sizes[2], LONGEST_PIECE);
        assert_eq!(sizes.len(), 4);
    }

    #[test]
    fn the_end_of_a_client_stream_is_known_at_once() {
        let mut head = BytesMut::new();
        begin_message(&mut head);
        let (mut frames, _) = Frames::of_client(head, Body::full("x"));
        let waker = std::task::Waker::noop();
        let polled = http_body::Body::poll_frame(Pin::new(&mut frames), &mut Context::from_waker(waker));
        assert!(polled.is_ready());
        assert!(http_body::Body::is_end_stream(&frames));
    }
}
