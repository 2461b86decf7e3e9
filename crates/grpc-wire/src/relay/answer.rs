//! The answer to a call that is passed on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::header::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};

use super::{
    Coupling, GRPC_STATUS, INTERNAL, RESOURCE_EXHAUSTED, Relay, deadline_exceeded, is_between, is_over,
};
use crate::scanner::Scanner;
use crate::unpack::Unpacker;
use crate::{Accepted, Encoding, GrpcStatus};
use transport::client::CountedBody;

/// The body of the answer to a call that is passed on. It never fails: its last frame has the status.
#[derive(Debug)]
pub struct RelayedAnswer {
    body: Option<CountedBody>,
    scanner: Scanner,
    max_message: usize,
    unpacker: Option<Box<Unpacker>>,
    /// The head has a status already.
    has_status: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    shared: Option<Coupling>,
}

impl Default for RelayedAnswer {
    /// An answer without a body.
    fn default() -> Self {
        Self {
            body: None,
            scanner: Scanner::new(0),
            max_message: 0,
            unpacker: None,
            has_status: true,
            deadline: None,
            shared: None,
        }
    }
}

impl RelayedAnswer {
    /// The answer to `relay`, whose head has a status already or has not.
    pub(super) fn new(body: CountedBody, has_status: bool, relay: Relay) -> Self {
        let deadline = relay.deadline;
        Self {
            body: Some(body),
            scanner: Scanner::new(relay.max_message),
            max_message: relay.max_message,
            unpacker: None,
            has_status,
            deadline: deadline.map(|deadline| Box::pin(sleep_until(deadline.into()))),
            shared: Some(relay.shared),
        }
    }

    /// Unpacks the messages if they are packed in a way that the caller, whose head is `asked`, did not name.
    pub fn unpacked_for(asked: &HeaderMap, mut answer: Response<Self>) -> Response<Self> {
        if let Some(encoding) = Encoding::packed(answer.headers())
            && !Accepted::of_caller(asked).has(encoding)
        {
            Encoding::remove(answer.headers_mut());
            let body = answer.body_mut();
            body.unpacker = Some(Box::new(Unpacker::new(encoding, body.max_message)));
        }
        answer
    }

    /// Ends the answer here; the stream behind it is dropped.
    fn end(&mut self, status: GrpcStatus) -> Frame<Bytes> {
        // Why the request was broken off here says more than the reset that came of it.
        let refused = self.shared.as_ref().and_then(|shared| shared.0.refused.get());
        let status = refused.unwrap_or(&status).to_trailers();
        self.close();
        Frame::trailers(status)
    }

    fn close(&mut self) {
        self.body = None;
        self.deadline = None;
        self.shared = None;
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.deadline.as_mut();
        deadline.is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }

    /// The end of the answer, or what becomes of it.
    fn last(&mut self, next: Option<Result<Frame<Bytes>, http2::Error>>) -> Option<Frame<Bytes>> {
        let frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let deadline = self.deadline.as_ref().map(|sleep| sleep.deadline().into_std());
                let is_cancelled = error.reset_reason() == Some(http2::Reason::CANCEL);
                return Some(self.end(if is_cancelled && deadline.is_some_and(is_over) {
                    deadline_exceeded()
                } else {
                    GrpcStatus::of_broken_answer(&error)
                }));
            }
            None if self.has_status => {
                self.close();
                return None;
            }
            // The words of gRPC for Go. An answer without a status must not look like a success.
            None => {
                let text = "server closed the stream without sending trailers";
                return Some(self.end(GrpcStatus::new(INTERNAL, text)));
            }
        };
        let trailers = frame.into_trailers().unwrap_or_default();
        if !trailers.contains_key(GRPC_STATUS) && !self.has_status {
            let text = "server closed the stream without sending trailers";
            return Some(self.end(GrpcStatus::new(INTERNAL, text)));
        }
        if !is_between(self.unpacker.as_deref()) && trailers.get(GRPC_STATUS).is_none_or(|code| code == "0") {
            // What there was of the last message is not passed on, so that nobody else would notice.
            return Some(self.end(Unpacker::truncated()));
        }
        self.close();
        Some(Frame::trailers(trailers))
    }
}

impl Body for RelayedAnswer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        let this = &mut *self;
        let polled = loop {
            let Some(body) = &mut this.body else {
                return Poll::Ready(None);
            };
            if let Some(unpacker) = &mut this.unpacker {
                match unpacker.next() {
                    Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(None) => {}
                    Err(status) => return Poll::Ready(Some(Ok(this.end(status)))),
                }
            }
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    let data = frame.into_data().unwrap_or_default();
                    // As in the other direction, frames without data are left out.
                    if data.is_empty() {
                        continue;
                    }
                    if let Err(error) = this.scanner.feed(&data) {
                        let status = GrpcStatus::new(RESOURCE_EXHAUSTED, error.to_string());
                        return Poll::Ready(Some(Ok(this.end(status))));
                    }
                    match &mut this.unpacker {
                        Some(unpacker) => unpacker.push(data),
                        None => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    }
                }
                polled => break polled,
            }
        };
        // The deadline is looked at only when nothing has come: what is there already is passed on, status included.
        let next = match polled {
            Poll::Ready(next) => this.last(next),
            Poll::Pending if this.is_late(cx) => Some(this.end(deadline_exceeded())),
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(next.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.body {
            None => SizeHint::with_exact(0),
            Some(_) => SizeHint::new(),
        }
    }
}
