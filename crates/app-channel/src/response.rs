//! The answer of an HTTP app as a reply.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, header};
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BodyError, BoxError, Reply, Route, WireStatus, headers};

/// Turns an answer into a reply. The body streams; if all of it is there already it is one piece.
pub(crate) async fn reply<B>(answer: Response<B>) -> Reply
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = answer.into_parts();
    let mut reply = Reply::new(WireStatus::http(parts.status), Route::Local);
    reply.headers = parts.headers;
    let is_of_declared_length = reply.headers.contains_key(header::CONTENT_LENGTH)
        && !reply.headers.contains_key(header::TRANSFER_ENCODING);
    headers::remove_hop_by_hop(&mut reply.headers);
    reply.headers.remove(header::CONTENT_LENGTH);
    reply.content_type = reply.headers.get(header::CONTENT_TYPE).cloned();
    reply.body = Body::take_in(AppBody {
        body,
        is_of_declared_length,
        is_over: false,
    })
    .await;
    reply
}

/// The body of an app's answer.
struct AppBody<B> {
    body: B,
    is_of_declared_length: bool,
    is_over: bool,
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
                Some(Ok(frame)) => Some(Ok(frame)),
                Some(Err(error)) => {
                    let error = error.into();
                    // An app that declares too much and closes is common, and callers have always been given
                    // what there is. A reset, or a chunked body without its end, is no end.
                    if this.is_of_declared_length && is_clean_end(&*error) {
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

/// Whether the connection was closed in good order before the declared length was reached.
fn is_clean_end(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::UnexpectedEof;
        }
        cause = error.source();
    }
    error
        .to_string()
        .contains("end of file before message length reached")
}
