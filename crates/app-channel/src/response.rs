//! The answer of an HTTP app as a reply.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BodyError, BoxError, Reply, Route, WireStatus, headers};
use transport::client::AnswerError;

/// As many bytes of an answer that is shorter than its app declared are passed on as a whole, in no case more.
const LONGEST_SHORT: u64 = 4 * 1024;

/// Turns an answer into a reply. The body streams; if all of it is there already it is one piece. The length that the
/// app declared is passed on only if it is all that the caller asked for, by `HEAD`.
pub(crate) async fn reply<B>(answer: Response<B>, wants_length: bool) -> Reply
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = answer.into_parts();
    let mut reply = Reply::new(WireStatus::http(parts.status), Route::Local);
    reply.headers = parts.headers;
    let length = declared(&reply.headers);
    let is_chunked = reply.headers.contains_key(header::TRANSFER_ENCODING);
    headers::remove_hop_by_hop(&mut reply.headers);
    reply.headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = length.filter(|_| wants_length) {
        reply.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    headers::leave_one_trace(&mut reply.headers);
    headers::join_lines(&mut reply.headers, &headers::BAGGAGE, b",");
    let content_type = reply.headers.get(header::CONTENT_TYPE);
    reply.content_type = content_type.filter(|value| !value.is_empty()).cloned();
    if reply.content_type.is_none() {
        reply.headers.remove(header::CONTENT_TYPE);
    }
    reply.body = Body::take_in(AppBody {
        body,
        declared: length.filter(|_| !is_chunked),
        actual: 0,
        is_over: false,
    })
    .await;
    reply
}

/// The length that an app declares. It may have done so twice.
fn declared(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| length.parse().ok())?
}

/// The body of an app's answer.
struct AppBody<B> {
    body: B,
    /// How long the app said that it is.
    declared: Option<u64>,
    /// How much of it has come.
    actual: u64,
    is_over: bool,
}

impl<B> AppBody<B> {
    /// Whether what has come passes for the whole. That is a fault of the app, but a common one, and callers have
    /// always been given what there is: an app that declares too much, says what it has to say at once, and closes.
    /// What is longer, comes in pieces, or ends later was cut, as are a reset and a chunked body without its end.
    fn is_short_and_whole(&self, error: &(dyn std::error::Error + 'static)) -> bool {
        let Some(declared) = self.declared else {
            return false;
        };
        let at_once = error.downcast_ref().is_some_and(AnswerError::ended_at_once);
        let is_whole = at_once && (1..=LONGEST_SHORT).contains(&self.actual);
        if is_whole {
            let actual = self.actual;
            tracing::warn!(
                target: "dapr.runtime",
                "The app declared a body of {declared} bytes, sent {actual} and closed the connection: \
                 this is passed on as the whole answer"
            );
        }
        is_whole
    }
}

impl<B> http_body::Body for AppBody<B>
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
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                // Trailers of apps are not passed on.
                Some(Ok(frame)) if frame.is_trailers() => continue,
                Some(Ok(frame)) => {
                    this.actual += frame.data_ref().map_or(0, Bytes::len) as u64;
                    Some(Ok(frame))
                }
                Some(Err(error)) => {
                    let error = error.into();
                    if this.is_short_and_whole(&*error) {
                        this.is_over = true;
                        None
                    } else {
                        Some(Err(BodyError::transport(error)))
                    }
                }
                None => None,
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The declared length may be wrong: it is not passed on.
        if self.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::new()
        }
    }
}
