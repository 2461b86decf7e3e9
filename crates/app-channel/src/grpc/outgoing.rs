//! What goes out on a connection to a gRPC app.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BoxError};
use transport::grpc::RelayedRequest;

/// The body of a request.
pub(super) struct Outgoing(Kind);

enum Kind {
    /// One message, in pieces.
    Message(VecDeque<Bytes>),
    /// The messages of a proxied call.
    Relayed(RelayedRequest<Body>),
}

impl Outgoing {
    /// A message whose head is `out`; the body is joined with it, or follows as it is.
    pub(super) fn message(mut out: BytesMut, pieces: Vec<Bytes>, is_joined: bool) -> Self {
        if is_joined {
            for piece in &pieces {
                out.extend_from_slice(piece);
            }
            return Self(Kind::Message([out.freeze()].into()));
        }
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        Self(Kind::Message(
            std::iter::once(out.freeze()).chain(pieces).collect(),
        ))
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
            Kind::Message(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
            Kind::Relayed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Message(pieces) => pieces.is_empty(),
            Kind::Relayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Message(_) => SizeHint::new(),
            Kind::Relayed(body) => body.size_hint(),
        }
    }
}
