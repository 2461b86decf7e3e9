//! How a body that a transport hands over becomes a [`Body`].

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Body, BodyError, BoxError};

type Next = Option<Result<Frame<Bytes>, BodyError>>;

impl Body {
    /// Takes in the body of a request at a door.
    ///
    /// When the length is declared the first frame is awaited; if that is all of it (most calls are this
    /// small) the body is one piece, which needs no box and is replayed by reference count. A body of
    /// unknown length is never waited for.
    pub async fn receive<B>(mut body: B) -> Result<Self, BodyError>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Ok(Self::empty());
        }
        let Some(declared) = body.size_hint().exact() else {
            return Ok(Self::stream(body));
        };
        match poll_fn(|cx| poll(&mut body, cx)).await {
            None => Ok(Self::empty()),
            Some(Err(error)) => Err(error),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let come = [Some(Ok(frame)), None];
                Ok(if length < declared {
                    Self::stream(Prefixed::new(come, body))
                } else {
                    Self::begun(come, body)
                })
            }
        }
    }

    /// Takes in what has come of a body, without waiting for more: if all of it has (that of a call with one small
    /// message mostly has) it is one piece, as above.
    pub async fn take_in<B>(mut body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        let mut come: [Next; 2] = [None, None];
        poll_fn(|cx| {
            for place in &mut come {
                match poll(&mut body, cx) {
                    Poll::Ready(Some(next)) => *place = Some(next),
                    Poll::Ready(None) | Poll::Pending => break,
                }
                // The second look is for bodies that know their end only when they are asked.
                let is_over = !matches!(place, Some(Ok(frame)) if frame.is_data());
                if is_over || body.is_end_stream() {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await;
        Self::begun(come, body)
    }

    /// Takes in, without waiting, a body that its sender began to stream: unless it turns out to be empty it stays a
    /// stream, however soon it ended, so that the other side sees the framing that the sender chose.
    pub async fn take_in_stream<B>(mut body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        match poll_fn(|cx| Poll::Ready(poll(&mut body, cx))).await {
            Poll::Ready(None) if body.is_end_stream() => Self::empty(),
            Poll::Ready(None) | Poll::Pending => Self::stream(body),
            Poll::Ready(first) => Self::stream(Prefixed::new([first, None], body)),
        }
    }

    /// A body of which this much was read.
    fn begun<B>(come: [Next; 2], rest: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let is_over = rest.is_end_stream();
        match come {
            [None, _] if is_over => Self::empty(),
            // What shows no more and is not at its end was broken off, or is yet to come: the stream tells.
            [None, _] => Self::stream(rest),
            [Some(Ok(frame)), None] if is_over && frame.is_data() => {
                Self::full(frame.into_data().unwrap_or_default())
            }
            come => Self::stream(Prefixed::new(come, rest)),
        }
    }
}

fn poll<B>(body: &mut B, cx: &mut Context<'_>) -> Poll<Next>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    Pin::new(body).poll_frame(cx).map_err(BodyError::transport)
}

/// A body whose first frames were read already.
pub(super) struct Prefixed<B> {
    first: [Next; 2],
    rest: B,
}

impl<B> Prefixed<B> {
    pub(super) fn new(first: [Next; 2], rest: B) -> Self {
        Self { first, rest }
    }
}

impl<B> http_body::Body for Prefixed<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let this = &mut *self;
        match this.first.iter_mut().find_map(Option::take) {
            Some(first) => Poll::Ready(Some(first)),
            None => poll(&mut this.rest, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.iter().all(Option::is_none) && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.iter().flatten().any(Result::is_err) {
            // It breaks: whatever length were told, a server would write that much and call it whole.
            return SizeHint::new();
        }
        let frames = self.first.iter().flatten().flatten();
        let read: u64 = frames
            .filter_map(Frame::data_ref)
            .map(|data| data.len() as u64)
            .sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        // The upper bound first: the lower one may never exceed it.
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(rest.lower().saturating_add(read));
        hint
    }
}
