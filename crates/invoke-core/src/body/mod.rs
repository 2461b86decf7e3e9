//! The streaming body of invocations and replies.

mod end;
mod error;
mod replay;
mod taking;
mod until;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

pub use end::{End, OnEnd};
pub use error::{BodyError, BoxError};
pub use replay::Replay;

use crate::balance::InFlight;
use end::{Hook, Hooks};
use taking::Prefixed;
use until::Until;

/// A body: nothing, one piece, or a stream that is boxed once.
///
/// [`http_body::Body::is_end_stream`] and [`http_body::Body::size_hint`] are exact, since servers and clients
/// take the framing of a message from them. Trailers are frames. Who [wants to know](Self::on_end) is told once how
/// the body ended.
#[derive(Default)]
pub struct Body {
    kind: Kind,
    hooks: Hooks,
    /// How many bytes were handed out.
    handed: u64,
}

type BoxStream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Stream(BoxStream),
}

impl Body {
    /// A body without any byte.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body of one piece; an empty piece is an empty body.
    pub fn full(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self::of(if data.is_empty() {
            Kind::Empty
        } else {
            Kind::Full(data)
        })
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            hooks: Hooks::default(),
            handed: 0,
        }
    }

    /// A body that arrives in frames. Errors are kept as the source of a [`BodyError`], so that the code of a
    /// reset is still found at the other end of the chain.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        Self::of(Kind::Stream(Box::pin(MapError { body })))
    }

    /// The same body with a frame in front that was read already.
    #[must_use]
    pub fn preceded_by(self, frame: Result<Frame<Bytes>, BodyError>) -> Self {
        Self::stream(Prefixed::new([Some(frame), None], self))
    }

    /// The whole body, if it is at hand without reading anything.
    pub fn as_full(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Empty => Some(&[]),
            Kind::Full(data) => Some(data),
            Kind::Stream(_) => None,
        }
    }

    /// Takes the whole body out, if it is at hand without reading anything.
    pub fn take_full(&mut self) -> Option<Bytes> {
        match &mut self.kind {
            Kind::Empty => Some(Bytes::new()),
            Kind::Full(data) => {
                let data = std::mem::take(data);
                self.kind = Kind::Empty;
                self.handed += data.len() as u64;
                self.tell(End::Whole);
                Some(data)
            }
            Kind::Stream(_) => None,
        }
    }

    /// Whether the length is known before the end: such a body can be replayed within bounds.
    pub fn has_known_length(&self) -> bool {
        http_body::Body::size_hint(self).exact().is_some()
    }

    /// Tells once how the body ended, and how many bytes it handed out: when its last frame is, when it fails, or when
    /// it is dropped before either. Those who asked first are told first.
    #[must_use]
    pub fn on_end(mut self, told: impl FnOnce(End<'_>, u64) + Send + 'static) -> Self {
        self.hooks.push(Hook::Told(Box::new(told)));
        self
    }

    /// Keeps a value until the last of the body has come. Of a body that is at hand it has, so that nothing is kept.
    #[must_use]
    pub fn holding(self, value: impl Send + 'static) -> Self {
        if self.is_at_hand() {
            return self;
        }
        self.on_end(move |_, _| drop(value))
    }

    /// Keeps an endpoint's in-flight count in the same way, but without allocating.
    #[must_use]
    pub fn counting(mut self, in_flight: InFlight) -> Self {
        if !self.is_at_hand() {
            self.hooks.push(Hook::InFlight(in_flight));
        }
        self
    }

    /// Breaks the body with [`BodyError::DeadlineExceeded`] when its end has not come in time. A body that is at hand
    /// is not late any more.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        let hooks = std::mem::take(&mut self.hooks);
        let kind = match std::mem::take(&mut self.kind) {
            Kind::Stream(stream) => Kind::Stream(Box::pin(Until::new(stream, deadline))),
            at_hand => at_hand,
        };
        Self {
            kind,
            hooks,
            handed: self.handed,
        }
    }

    fn tell(&mut self, end: End<'_>) {
        self.hooks.tell(end, self.handed);
    }

    fn is_at_hand(&self) -> bool {
        !matches!(self.kind, Kind::Stream(_))
    }

    /// Whether everything was handed out that there will be. Whoever writes a body of known length stops after its
    /// last byte, and never asks for its end.
    fn is_whole(&self) -> bool {
        use http_body::Body as _;
        self.is_end_stream() || self.size_hint().exact() == Some(0)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.hooks.is_empty() {
            let end = if self.is_whole() { End::Whole } else { End::Dropped };
            self.tell(end);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match &mut this.kind {
            Kind::Empty => {
                this.tell(End::Whole);
                Poll::Ready(None)
            }
            Kind::Full(data) => {
                let data = std::mem::take(data);
                this.kind = Kind::Empty;
                this.handed += data.len() as u64;
                this.tell(End::Whole);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Kind::Stream(stream) => {
                let next = ready!(stream.as_mut().poll_frame(cx));
                if let Some(Ok(frame)) = &next {
                    this.handed += frame.data_ref().map_or(0, Bytes::len) as u64;
                }
                let end = match &next {
                    // Nothing comes after trailers, and after a frame that says so.
                    Some(Ok(frame)) if !frame.is_trailers() && !stream.is_end_stream() => {
                        return Poll::Ready(next);
                    }
                    Some(Ok(_)) | None => End::Whole,
                    Some(Err(error)) => End::Failed(error),
                };
                this.hooks.tell(end, this.handed);
                this.kind = Kind::Empty;
                Poll::Ready(next)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(data) => SizeHint::with_exact(data.len() as u64),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Self {
        Self::full(data)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Empty => f.write_str("Body::Empty"),
            Kind::Full(data) => write!(f, "Body::Full({} bytes)", data.len()),
            Kind::Stream(_) => f.write_str("Body::Stream"),
        }
    }
}

pin_project_lite::pin_project! {
    struct MapError<B> {
        #[pin]
        body: B,
    }
}

impl<B> http_body::Body for MapError<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.project().body.poll_frame(cx).map_err(BodyError::transport)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
