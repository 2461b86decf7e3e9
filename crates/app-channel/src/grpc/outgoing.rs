//! What goes out on a connection to a gRPC app.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use grpc_wire::{MESSAGE_HEAD, RelayedRequest};
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BoxError};

/// One message, framed: its head with the body joined to it, or the body behind it in the pieces in which it came.
/// Cloning shares the bytes.
#[derive(Clone)]
pub(super) struct Message {
    head: Bytes,
    pieces: Vec<Bytes>,
}

impl Message {
    /// A message whose head is `out`; the body is joined with it, or follows as it is.
    pub(super) fn new(mut out: BytesMut, pieces: Vec<Bytes>, is_joined: bool) -> Self {
        if !is_joined {
            let head = out.freeze();
            return Self { head, pieces };
        }
        for piece in &pieces {
            out.extend_from_slice(piece);
        }
        Self {
            head: out.freeze(),
            pieces: Vec::new(),
        }
    }
}

impl Message {
    /// How long the message is, without its head.
    pub(super) fn length(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(Bytes::len).sum();
        (self.head.len() + pieces).saturating_sub(MESSAGE_HEAD)
    }
}

/// The body of a request.
pub(super) struct Outgoing(Kind);

enum Kind {
    /// One message: what of it has not been sent.
    Message {
        head: Option<Bytes>,
        pieces: std::vec::IntoIter<Bytes>,
    },
    /// The messages of a proxied call.
    Relayed(RelayedRequest<Body>),
}

impl Outgoing {
    /// One message.
    pub(super) fn message(message: Message) -> Self {
        Self(Kind::Message {
            head: Some(message.head),
            pieces: message.pieces.into_iter(),
        })
    }

    /// The messages of a proxied call.
    pub(super) fn relayed(body: RelayedRequest<Body>) -> Self {
        Self(Kind::Relayed(body))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Message { head, pieces } => {
                let piece = head.take().or_else(|| pieces.find(|piece| !piece.is_empty()));
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
            Kind::Relayed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Message { head, pieces } => head.is_none() && pieces.as_slice().iter().all(Bytes::is_empty),
            Kind::Relayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Message { .. } => SizeHint::new(),
            Kind::Relayed(body) => body.size_hint(),
        }
    }
}
