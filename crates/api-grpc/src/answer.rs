//! The answer to a unary call.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use transport::grpc::{GrpcStatus, MESSAGE_HEAD, MessageHead};

/// The body of an answer: one message in pieces and the trailers, or nothing when the status is in the head.
#[derive(Debug, Default)]
pub struct Answer {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    /// An answer without a message.
    pub(crate) fn of_trailers(trailers: HeaderMap) -> Self {
        Self {
            pieces: VecDeque::new(),
            trailers: Some(trailers),
        }
    }

    /// A trailer that has not been sent yet.
    pub(crate) fn trailer(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.trailers.as_ref()?.get(name)
    }
}

/// An answer that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// The metadata before the message.
    pub(crate) headers: HeaderMap,
    /// The message, head included.
    pub(crate) pieces: VecDeque<Bytes>,
    /// The metadata after it.
    pub(crate) trailers: HeaderMap,
}

impl Message {
    /// A message that is in one piece, without its head.
    pub(crate) fn of(message: &[u8]) -> Self {
        let mut piece = begin(message.len(), message.len());
        piece.extend_from_slice(message);
        Self {
            pieces: [piece.freeze()].into(),
            ..Self::default()
        }
    }

    /// The response: metadata, message, trailers with the status OK.
    pub(crate) fn into_response(mut self, content_type: HeaderValue) -> Response<Answer> {
        GrpcStatus::default().write(&mut self.trailers);
        let mut response = Response::new(Answer {
            pieces: self.pieces,
            trailers: Some(self.trailers),
        });
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }
}

/// The head of a message of `length` bytes, with room for `capacity` of them.
pub(crate) fn begin(length: usize, capacity: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(MESSAGE_HEAD + capacity);
    let head = MessageHead {
        compressed: false,
        length: length as u32,
    };
    out.extend_from_slice(&head.to_bytes());
    out
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}
