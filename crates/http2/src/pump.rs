//! Bodies that go out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::BoxError;
use crate::error::{Error, reset_reason_of};
use crate::handle::StreamRef;
use crate::resend::ResendBuffer;
use crate::state::State;
use crate::stream::Key;

/// Gives a body to its stream, as fast as that takes it.
#[derive(Debug)]
pub(crate) struct Pump<B> {
    body: B,
    stream: StreamRef,
}

/// What a body gave.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Data, and whether it was the last of the body.
    Data(Bytes, bool),
    /// The end, after which these fields come.
    End(Option<http::HeaderMap>),
}

/// Asks a body for its next piece; empty ones are left out, unless they are the last.
pub(crate) fn poll_piece<B>(body: &mut B, cx: &mut Context<'_>) -> Poll<Result<Piece, Error>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    loop {
        let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => return Poll::Ready(Ok(Piece::End(None))),
            Some(Err(error)) => return Poll::Ready(Err(Error::Body(Arc::from(error.into())))),
            Some(Ok(frame)) => frame,
        };
        let piece = match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) => Piece::Data(data, body.is_end_stream()),
            Err(Ok(trailers)) => Piece::End(Some(trailers)),
            // There is no third kind of frame.
            Err(Err(_)) => continue,
        };
        match piece {
            Piece::Data(data, false) if data.is_empty() => {}
            piece => return Poll::Ready(Ok(piece)),
        }
    }
}

/// Sends a piece; whether it was the last.
pub(crate) fn send_piece(state: &mut State, key: Key, piece: Piece, kept: Option<&mut ResendBuffer>) -> bool {
    match (piece, kept) {
        (Piece::Data(data, is_end), Some(kept)) => {
            let is_kept = kept.takes(data.len());
            let again = state.send_shared_data(key, data, is_end, is_kept);
            if let Some(piece) = again {
                kept.push(piece);
            }
            if is_end {
                kept.end(None);
            }
            is_end
        }
        (Piece::Data(data, is_end), None) => {
            state.send_data(key, data, is_end);
            is_end
        }
        (Piece::End(trailers), kept) => {
            if let Some(kept) = kept {
                kept.end(trailers.clone());
            }
            state.send_end(key, trailers);
            true
        }
    }
}

/// Sends what is there of a body, and keeps it for another attempt if there may be one. Ready when all is sent, or
/// when the stream or the body broke. The connection is to be woken after it.
pub(crate) fn poll_send<B>(
    body: &mut B,
    stream: &StreamRef,
    mut kept: Option<&mut ResendBuffer>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    loop {
        ready!(stream.quietly(|state, key| state.poll_capacity(key, cx)))?;
        match ready!(poll_piece(body, cx)) {
            Ok(piece) => {
                let kept = kept.as_deref_mut();
                if stream.quietly(|state, key| send_piece(state, key, piece, kept)) {
                    return Poll::Ready(Ok(()));
                }
            }
            Err(error) => {
                stream.quietly(|state, key| {
                    let reason = reset_reason_of(&error);
                    state.reset(key, reason);
                });
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl<B> Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(body: B, stream: StreamRef) -> Self {
        Self { body, stream }
    }

    /// Where the body goes.
    pub(crate) fn stream(&self) -> &StreamRef {
        &self.stream
    }

    /// Sends what is there. Ready when all is sent, or when the stream or the body broke.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let polled = poll_send(&mut self.body, &self.stream, None, cx);
        self.stream.wake();
        polled
    }
}

impl<B> Future for Pump<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pump::poll(&mut self, cx).map(drop)
    }
}
