//! Bodies that come in.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::error::{Error, Reason};
use crate::handle::StreamRef;
use crate::state::{Received, Role, State};

/// The body of a request or an answer, read from its connection.
///
/// Its pieces are slices of what was read from the socket. The peer may send more as they are taken, so that who
/// does not read holds the sender up. The body of an answer that is dropped before its end cancels the call; that
/// of a request does not, since the answer may still come.
#[derive(Debug)]
pub struct RecvBody {
    stream: StreamRef,
}

impl RecvBody {
    pub(crate) fn new(stream: StreamRef) -> Self {
        Self { stream }
    }
}

impl Body for RecvBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.stream
            .with(|state, key| state.poll_received(key, cx))
            .map(|received| match received {
                Ok(Received::Data(data)) => Some(Ok(Frame::data(data))),
                Ok(Received::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Ok(Received::End) => None,
                Err(error) => Some(Err(error)),
            })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.quietly(|state, key| state.rest(key).0)
    }

    fn size_hint(&self) -> SizeHint {
        match self.stream.quietly(State::rest) {
            (true, _) => SizeHint::with_exact(0),
            (false, Some(left)) => SizeHint::with_exact(left),
            (false, None) => SizeHint::new(),
        }
    }
}

impl Drop for RecvBody {
    fn drop(&mut self) {
        self.stream.with(|state, key| match state.role {
            Role::Client => state.abandon(key, Reason::CANCEL),
            Role::Server => state.ignore(key),
        });
    }
}
