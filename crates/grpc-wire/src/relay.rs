//! A gRPC call that is passed on as it is: frames, trailers and status, in both directions.
//!
//! [`Relay`] couples the two bodies of such a call. The request breaks with CANCEL when its sender goes away, when
//! a message is too long, or when the answer is over; the answer never breaks: it ends in a status, as gRPC wants,
//! whatever became of the stream behind it.

mod answer;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::header::{self, HeaderName};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use super::scanner::Scanner;
use super::unpack::Unpacker;
use super::{Encoding, GrpcStatus};
use transport::BoxError;
use transport::client::{ClientError, CountedBody, Delivery, ErrorKind};

pub use answer::RelayedAnswer;

const DEADLINE_EXCEEDED: i32 = 4;
/// The code of HTTP/2 with which calls are broken off.
const CANCEL: u32 = 8;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// One call that is passed on.
#[derive(Debug)]
pub struct Relay {
    shared: Coupling,
    max_message: usize,
    deadline: Option<Instant>,
}

/// The answer's end of the coupling: when it is dropped the answer is over.
#[derive(Debug, Default)]
struct Coupling(Arc<Shared>);

impl Drop for Coupling {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What both directions know of each other.
#[derive(Debug, Default)]
struct Shared {
    /// The answer is over: nobody needs the rest of the request.
    is_over: AtomicBool,
    sender: AtomicWaker,
    /// Why the request was broken off here.
    refused: OnceLock<GrpcStatus>,
}

impl Shared {
    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.sender.wake();
    }
}

/// A call that no answer came to.
#[derive(Debug)]
pub struct RelayFailure {
    /// What the caller is told.
    pub status: GrpcStatus,
    /// Whether the other side may have begun to act on the call.
    pub seen: Delivery,
    /// Whether it was the request that broke.
    pub is_of_request: bool,
    /// Whether the other side is there, but refused the stream.
    pub is_refusal: bool,
    /// Whether a connection was there, and was lost.
    is_lost: bool,
}

impl RelayFailure {
    /// Whether a connection that was there gave the call back, and more of its body went out than the pool keeps: the
    /// other side went away without having taken it. It may be sent again at once. A call that was refused with
    /// `REFUSED_STREAM` is not: the pool has tried that for long enough.
    pub fn was_given_back(&self) -> bool {
        self.seen == Delivery::No && self.is_lost
    }
}

/// The request was broken off; the stream is reset with the code of the source.
#[derive(Debug, Error)]
#[error("the call was cancelled")]
struct Cancelled(#[source] http2::Error);

fn cancelled() -> BoxError {
    let (reason, by) = (http2::Reason::CANCEL, http2::Side::Us);
    Cancelled(http2::Error::Reset { reason, by }).into()
}

impl Relay {
    /// A call with this request body, which is to be sent as [`RelayedRequest`]. Messages of more than
    /// `max_message` bytes end the call, and so does the deadline.
    pub fn new<B>(body: B, max_message: usize, deadline: Option<Instant>) -> (Self, RelayedRequest<B>) {
        let shared = Coupling::default();
        let request = RelayedRequest {
            body,
            has_data: false,
            scanner: Scanner::new(max_message),
            max_message,
            unpacker: None,
            shared: Arc::clone(&shared.0),
        };
        let relay = Self {
            shared,
            max_message,
            deadline,
        };
        (relay, request)
    }

    /// Waits for the head of the answer. An answer that is not gRPC becomes one that says so.
    pub async fn answer<F>(self, answer: F) -> Result<Response<RelayedAnswer>, RelayFailure>
    where
        F: Future<Output = Result<Response<CountedBody>, ClientError>>,
    {
        let answered = match self.deadline {
            None => answer.await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), answer).await {
                Ok(answered) => answered,
                Err(_) => return Err(self.fails(deadline_exceeded(), Delivery::Maybe, true)),
            },
        };
        match answered {
            Ok(response) => Ok(self.relayed(response)),
            Err(error) => {
                let status = match error.kind() {
                    ErrorKind::StreamReset(CANCEL) if self.deadline.is_some_and(is_over) => {
                        deadline_exceeded()
                    }
                    _ => GrpcStatus::of_failure(&error),
                };
                let is_lost = !matches!(
                    error.kind(),
                    ErrorKind::Connect | ErrorKind::Busy | ErrorKind::StreamReset(_)
                );
                let failure = self.fails(status, error.seen(), is_lost);
                Err(RelayFailure {
                    is_refusal: error.is_refusal(),
                    ..failure
                })
            }
        }
    }

    fn fails(&self, status: GrpcStatus, seen: Delivery, is_lost: bool) -> RelayFailure {
        match self.shared.0.refused.get() {
            Some(refused) => RelayFailure {
                status: refused.clone(),
                seen: Delivery::Maybe,
                is_of_request: true,
                is_refusal: false,
                is_lost,
            },
            None => RelayFailure {
                status,
                seen,
                is_of_request: false,
                is_refusal: false,
                is_lost,
            },
        }
    }

    fn relayed(self, response: Response<CountedBody>) -> Response<RelayedAnswer> {
        let (mut parts, body) = response.into_parts();
        // The status may come to be ours.
        parts.headers.remove(header::CONTENT_LENGTH);
        if !parts.headers.contains_key(GRPC_STATUS)
            && let Some(status) = GrpcStatus::of_head(parts.status, &parts.headers)
        {
            return super::trailers_only(&status, header::HeaderValue::from_static("application/grpc"));
        }
        // The status of gRPC counts, whatever that of HTTP is. Clients read it with 200 only.
        parts.status = StatusCode::OK;
        let is_ended = parts.headers.contains_key(GRPC_STATUS) && body.is_end_stream();
        let answer = if is_ended {
            RelayedAnswer::default()
        } else {
            let has_status = parts.headers.contains_key(GRPC_STATUS);
            RelayedAnswer::new(body, has_status, self)
        };
        Response::from_parts(parts, answer)
    }
}

fn deadline_exceeded() -> GrpcStatus {
    GrpcStatus::new(DEADLINE_EXCEEDED, "context deadline exceeded")
}

/// Whether a deadline has come. The other side knows of it, too: when it was first to break the call off, that was why.
fn is_over(deadline: Instant) -> bool {
    deadline <= Instant::now()
}

/// The request body of a call that is passed on.
#[derive(Debug)]
pub struct RelayedRequest<B> {
    body: B,
    has_data: bool,
    scanner: Scanner,
    max_message: usize,
    unpacker: Option<Box<Unpacker>>,
    shared: Arc<Shared>,
}

impl<B> RelayedRequest<B> {
    /// Unpacks the messages, which are packed so. The head must not say any more that they are.
    #[must_use]
    pub fn unpacking(mut self, encoding: Encoding) -> Self {
        self.unpacker = Some(Box::new(Unpacker::new(encoding, self.max_message)));
        self
    }

    fn refuses(&self, status: GrpcStatus) -> BoxError {
        let _ = self.shared.refused.set(status);
        cancelled()
    }
}

impl<B> Body for RelayedRequest<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            // Registered before the flag is read: an answer that ends in between wakes this task.
            this.shared.sender.register(cx.waker());
            if this.shared.is_over.load(Ordering::Acquire) {
                return Poll::Ready(Some(Err(cancelled())));
            }
            if let Some(unpacker) = &mut this.unpacker {
                match unpacker.next() {
                    Ok(Some(data)) => {
                        this.has_data = true;
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Ok(None) => {}
                    Err(status) => return Poll::Ready(Some(Err(this.refuses(status)))),
                }
            }
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                // Only a body that came to its end is one: hyper shows some resets as ends.
                None if this.body.is_end_stream() && is_between(this.unpacker.as_deref()) => {
                    return Poll::Ready(None);
                }
                None if this.body.is_end_stream() => {
                    let truncated = this.refuses(Unpacker::truncated());
                    return Poll::Ready(Some(Err(truncated)));
                }
                None | Some(Err(_)) => return Poll::Ready(Some(Err(cancelled()))),
            };
            let Ok(data) = frame.into_data() else {
                // Requests of gRPC have no trailers.
                continue;
            };
            if data.is_empty() {
                // Frames without data say nothing, and peers close connections that have too many of them.
                continue;
            }
            if let Err(error) = this.scanner.feed(&data) {
                let status = GrpcStatus::new(RESOURCE_EXHAUSTED, error.to_string());
                return Poll::Ready(Some(Err(this.refuses(status))));
            }
            if let Some(unpacker) = &mut this.unpacker {
                unpacker.push(data);
                continue;
            }
            // The frame goes on as it came. Messages need not begin where frames do (gRPC over HTTP/2, "Data Frames").
            this.has_data = true;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        // A request of gRPC ends with data, even if it has none: servers need not look for its end in the head.
        self.has_data && self.body.is_end_stream() && is_between(self.unpacker.as_deref())
    }

    fn size_hint(&self) -> SizeHint {
        // A length is nothing that the caller said, even where it is known.
        SizeHint::new()
    }
}

/// Whether a stream is not within a message that is being unpacked.
fn is_between(unpacker: Option<&Unpacker>) -> bool {
    unpacker.is_none_or(Unpacker::is_between)
}

#[cfg(test)]
mod tests;
