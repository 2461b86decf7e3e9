//! The end of a proxied call, which brings its status.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http::header::{HeaderMap, HeaderName};
use http_body::{Frame, SizeHint};

use super::{OpenExchange, Ticket};
use crate::body::{Body, BodyError, End};
use crate::error::code;

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The gRPC status in a head or in trailers.
pub(crate) fn status_in(headers: &HeaderMap) -> Option<i32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

pub(super) fn follow<T: Ticket>(mut open: OpenExchange<T>, answer: Response<Body>) -> Response<Body> {
    if let Some(status) = status_in(answer.headers()) {
        open.status(status);
        if status != code::OK {
            open.reason(answer.headers());
        }
    }
    answer.map(|body| {
        Body::stream(Followed {
            body,
            open: Some(open),
            bytes: 0,
        })
    })
}

/// A body with the exchange that it ends.
struct Followed<T: Ticket> {
    body: Body,
    open: Option<OpenExchange<T>>,
    bytes: u64,
}

impl<T: Ticket> Followed<T> {
    fn end(&mut self, end: End<'_>) {
        if let Some(open) = self.open.take() {
            open.end(end, self.bytes);
        }
    }
}

impl<T: Ticket> http_body::Body for Followed<T> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let next = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => {
                this.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                if let Some(trailers) = frame.trailers_ref() {
                    if let Some(open) = &mut this.open {
                        let status = status_in(trailers).unwrap_or(code::UNKNOWN);
                        open.status(status);
                        if status != code::OK {
                            open.reason(trailers);
                        }
                    }
                    this.end(End::Whole);
                }
            }
            Some(Err(error)) => this.end(End::Failed(error)),
            None => this.end(End::Whole),
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
