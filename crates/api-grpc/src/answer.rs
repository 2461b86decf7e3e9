//! The answer to a call.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use grpc_wire::{GrpcStatus, MESSAGE_HEAD, MessageHead};
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use invoke_core::error::code;
use invoke_core::{Body, BodyError};

/// The body of an answer.
#[derive(Default)]
pub struct Answer {
    kind: Kind,
    told: Option<Told>,
}

/// Told of the status code when the call is over, or of none when the caller went away before, of the trailers that it is
/// in, and how long the message of an answer is that was made here.
type Told = Box<dyn FnOnce(Option<i32>, Option<&HeaderMap>, u64) + Send>;

enum Kind {
    /// One message in pieces and the trailers, or nothing when the status is in the head.
    Made {
        pieces: VecDeque<Bytes>,
        trailers: Option<HeaderMap>,
    },
    /// What somebody else answered.
    Relayed(Body),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Made {
            pieces: VecDeque::new(),
            trailers: None,
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            Kind::Made { pieces, trailers } => f.debug_tuple("Made").field(pieces).field(trailers).finish(),
            Kind::Relayed(body) => f.debug_tuple("Relayed").field(body).finish(),
        }
    }
}

impl From<Bytes> for Answer {
    /// A text for somebody who does not speak gRPC; the status is in the head.
    fn from(text: Bytes) -> Self {
        let pieces = VecDeque::from([text]);
        Self {
            kind: Kind::Made {
                pieces,
                trailers: None,
            },
            told: None,
        }
    }
}

impl Answer {
    fn made(pieces: VecDeque<Bytes>, trailers: HeaderMap) -> Self {
        let trailers = Some(trailers);
        Self {
            kind: Kind::Made { pieces, trailers },
            told: None,
        }
    }

    /// An answer without a message.
    pub(crate) fn of_trailers(trailers: HeaderMap) -> Self {
        Self::made(VecDeque::new(), trailers)
    }

    /// What somebody else answered. It ends in a status.
    pub(crate) fn relayed(body: Body) -> Self {
        Self {
            kind: Kind::Relayed(body),
            told: None,
        }
    }

    /// Tells the code when the call is over; `in_head` is the one that the head has.
    pub(crate) fn telling(
        mut self,
        in_head: Option<i32>,
        told: impl FnOnce(Option<i32>, Option<&HeaderMap>, u64) + Send + 'static,
    ) -> Self {
        let made = match &self.kind {
            Kind::Made { pieces, trailers } => {
                let length: usize = pieces.iter().map(Bytes::len).sum();
                let length = length.saturating_sub(MESSAGE_HEAD) as u64;
                Some((trailers.as_ref().and_then(GrpcStatus::code_in), length))
            }
            Kind::Relayed(_) => None,
        };
        match (in_head, made) {
            (Some(code), _) => told(Some(code), None, 0),
            (None, Some((code, length))) => {
                let trailers = match &self.kind {
                    Kind::Made { trailers, .. } => trailers.as_ref(),
                    Kind::Relayed(_) => None,
                };
                told(Some(code.unwrap_or(code::UNKNOWN)), trailers, length);
            }
            (None, None) => self.told = Some(Box::new(told)),
        }
        self
    }

    fn tell(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(told) = self.told.take() {
            let code = trailers.map(|trailers| GrpcStatus::code_in(trailers).unwrap_or(code::UNKNOWN));
            told(code, trailers, 0);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // The caller went away before the end.
        self.tell(None);
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
        let mut response = Response::new(Answer::made(self.pieces, self.trailers));
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
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Made { pieces, trailers } => Poll::Ready(match pieces.pop_front() {
                Some(piece) => Some(Ok(Frame::data(piece))),
                None => trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
            }),
            Kind::Relayed(body) => {
                let polled = Pin::new(body).poll_frame(cx);
                if let Poll::Ready(Some(Ok(frame))) = &polled
                    && let Some(trailers) = frame.trailers_ref()
                {
                    self.tell(Some(trailers));
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Made { pieces, trailers } => pieces.is_empty() && trailers.is_none(),
            Kind::Relayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}
