//! Who is told of requests: the API log and the metrics.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BodyError};

/// A request and its answer, after the last byte.
#[derive(Debug)]
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// The path, decoded.
    pub path: String,
    /// What the caller calls itself.
    pub user_agent: Option<HeaderValue>,
    /// The status of the answer.
    pub status: StatusCode,
    /// The bytes of the answer's body.
    pub size: u64,
    /// From the head of the request to the last byte of the answer.
    pub duration: Duration,
}

/// Told of requests and of error codes.
pub trait Observer: Send + Sync + 'static {
    /// Whether requests are to be told at all.
    fn wants_requests(&self) -> bool;

    /// A request was answered.
    fn finished(&self, exchange: Exchange);

    /// An answer carries an error code of Dapr.
    fn error_code(&self, code: &'static str);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn wants_requests(&self) -> bool {
        false
    }

    fn finished(&self, _: Exchange) {}

    fn error_code(&self, _: &'static str) {}
}

/// The body of an answer; tells the observer when it has ended or was dropped.
pub struct Observed<O: Observer> {
    body: Body,
    open: Option<Open<O>>,
}

/// An exchange that is not finished.
pub(crate) struct Open<O> {
    pub(crate) observer: Arc<O>,
    pub(crate) begun: Instant,
    pub(crate) exchange: Exchange,
}

impl<O: Observer> Observed<O> {
    pub(crate) fn new(body: Body, open: Option<Open<O>>) -> Self {
        Self { body, open }
    }

    fn finish(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.exchange.duration = open.begun.elapsed();
            open.observer.finished(open.exchange);
        }
    }
}

impl<O: Observer> Drop for Observed<O> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl<O: Observer> http_body::Body for Observed<O> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(open)) = (&polled, &mut self.open) {
            open.exchange.size += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
