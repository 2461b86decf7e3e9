//! The streaming body of invocations and replies.

mod error;
mod replay;

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

pub use error::{BodyError, BoxError};
pub use replay::Replay;

use crate::balance::InFlight;

/// A body: nothing, one piece, or a stream that is boxed once.
///
/// [`http_body::Body::is_end_stream`] and [`http_body::Body::size_hint`] are exact, since servers and clients
/// take the framing of a message from them. Trailers are frames. What a body *holds* (a place in a limit, the
/// in-flight count of an endpoint) is let go when the body ends, fails or is dropped.
#[derive(Default)]
pub struct Body {
    kind: Kind,
    in_flight: Option<InFlight>,
    held: Option<Box<dyn Any + Send>>,
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
        let kind = if data.is_empty() {
            Kind::Empty
        } else {
            Kind::Full(data)
        };
        Self {
            kind,
            ..Self::default()
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
        Self {
            kind: Kind::Stream(Box::pin(MapError { body })),
            ..Self::default()
        }
    }

    /// Takes in the body of a request or an answer at a door.
    ///
    /// When the length is declared the first frame is awaited; if that is all of it (most calls are this
    /// small) the body is one piece, which needs no box and is replayed by reference count. A body of
    /// unknown length is never waited for.
    pub async fn receive<B>(body: B) -> Result<Self, BodyError>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = body;
        if body.is_end_stream() {
            return Ok(Self::empty());
        }
        let Some(declared) = body.size_hint().exact() else {
            return Ok(Self::stream(body));
        };
        let first = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let frame = match first {
            None => return Ok(Self::empty()),
            Some(Err(error)) => return Err(BodyError::transport(error)),
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) if data.len() as u64 >= declared && body.is_end_stream() => Ok(Self::full(data)),
            Ok(data) => Ok(Self::stream(Prefixed {
                first: Some(Ok(Frame::data(data))),
                rest: body,
            })),
            Err(trailers) => Ok(Self::stream(Prefixed {
                first: Some(Ok(trailers)),
                rest: body,
            })),
        }
    }

    /// Takes in a body of unknown length without waiting for it: if all of it has come already (that of a call with
    /// one small message mostly has) it is one piece, as above.
    pub async fn take_in<B>(mut body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self::empty();
        }
        let first = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
        let first = match first {
            Poll::Ready(None) if body.is_end_stream() => return Self::empty(),
            // What shows no more and is not at its end was broken off: the stream tells.
            Poll::Pending | Poll::Ready(None) => return Self::stream(body),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if body.is_end_stream() => return Self::full(data),
                Ok(data) => Ok(Frame::data(data)),
                Err(trailers) => Ok(trailers),
            },
            Poll::Ready(Some(Err(error))) => Err(BodyError::transport(error)),
        };
        Self::stream(Prefixed {
            first: Some(first),
            rest: body,
        })
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
            Kind::Full(_) => match std::mem::take(&mut self.kind) {
                Kind::Full(data) => {
                    self.let_go();
                    Some(data)
                }
                Kind::Empty | Kind::Stream(_) => None,
            },
            Kind::Stream(_) => None,
        }
    }

    /// Whether the length is known before the end: such a body can be replayed within bounds.
    pub fn has_known_length(&self) -> bool {
        http_body::Body::size_hint(self).exact().is_some()
    }

    /// Keeps an endpoint's in-flight count until the body ends, fails or is dropped.
    #[must_use]
    pub fn counting(mut self, in_flight: InFlight) -> Self {
        if matches!(self.kind, Kind::Stream(_)) {
            self.in_flight = Some(in_flight);
        }
        self
    }

    /// Keeps a value until the body ends, fails or is dropped. A body that is at hand already keeps nothing.
    #[must_use]
    pub fn holding(mut self, value: impl Any + Send) -> Self {
        if matches!(self.kind, Kind::Stream(_)) {
            self.held = match self.held.take() {
                None => Some(Box::new(value)),
                Some(earlier) => Some(Box::new((earlier, value))),
            };
        }
        self
    }

    fn let_go(&mut self) {
        self.in_flight = None;
        self.held = None;
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
                this.let_go();
                Poll::Ready(None)
            }
            Kind::Full(data) => {
                let data = std::mem::take(data);
                this.kind = Kind::Empty;
                this.let_go();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Kind::Stream(stream) => {
                let next = ready!(stream.as_mut().poll_frame(cx));
                if !matches!(next, Some(Ok(_))) {
                    this.kind = Kind::Empty;
                    this.let_go();
                }
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

/// A body whose first frame was read already.
struct Prefixed<B> {
    first: Option<Result<Frame<Bytes>, BodyError>>,
    rest: B,
}

impl<B> http_body::Body for Prefixed<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest)
                .poll_frame(cx)
                .map_err(BodyError::transport),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(|first| first.as_ref().ok());
        let read = first.and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
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

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::channel::Channel;
    use http_body_util::{BodyExt, Full};

    use super::*;

    async fn pieces(pieces: &[&'static str]) -> Channel<Bytes, BodyError> {
        let (mut sender, body) = Channel::new(pieces.len());
        for piece in pieces {
            sender
                .send_data(Bytes::from_static(piece.as_bytes()))
                .await
                .unwrap();
        }
        body
    }

    #[tokio::test]
    async fn what_has_come_already_is_one_piece() {
        let whole = Body::take_in(Full::new(Bytes::from_static(b"abc"))).await;
        assert_eq!(whole.as_full(), Some(&b"abc"[..]));
        assert_eq!(
            Body::take_in(Full::new(Bytes::new())).await.as_full(),
            Some(&b""[..])
        );
        let late = Body::take_in(pieces(&["a", "b"]).await).await;
        assert_eq!(late.as_full(), None, "an end that has not come is not guessed");
        assert_eq!(late.collect().await.unwrap().to_bytes(), "ab");
        let (sender, body) = Channel::<Bytes, BodyError>::new(1);
        let nothing = Body::take_in(body).await;
        sender.abort(BodyError::TooLarge);
        assert!(
            nothing.collect().await.is_err(),
            "nobody waits for what has not come"
        );
    }

    #[tokio::test]
    async fn a_small_body_of_declared_length_is_one_piece() {
        let body = Body::receive(Full::new(Bytes::from_static(b"abc")))
            .await
            .unwrap();
        assert_eq!(body.as_full(), Some(b"abc".as_slice()));
        assert_eq!(body.size_hint().exact(), Some(3));
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_is_not_awaited() {
        let body = Body::receive(pieces(&["a", "b"]).await).await.unwrap();
        assert_eq!(body.as_full(), None);
        assert!(!body.has_known_length());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "ab");
    }

    #[test]
    fn an_empty_piece_is_an_empty_body() {
        assert!(Body::full(Bytes::new()).is_end_stream());
        assert!(!Body::full("x").is_end_stream());
    }

    struct Dropped(std::sync::Arc<std::sync::atomic::AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn what_a_body_holds_goes_with_its_end() {
        let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut body = Body::stream(pieces(&["a"]).await).holding(Dropped(flag.clone()));
        assert!(body.frame().await.unwrap().is_ok());
        assert!(!flag.load(std::sync::atomic::Ordering::SeqCst));
        assert!(body.frame().await.is_none());
        assert!(flag.load(std::sync::atomic::Ordering::SeqCst));
    }
}
