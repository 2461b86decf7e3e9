//! Proxied calls under a policy: their one message, and the status at their end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

use crate::attempts::Run;
use crate::body::{Body, BodyError, End};
use crate::error::{Cause, code};
use crate::observe::{GRPC_STATUS, status_in};

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The head of a message: a flag and a length.
const HEAD: usize = 5;

/// Whether a call that may be sent again had more than one message. Cloning shares the answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Messages(Arc<AtomicBool>);

impl Messages {
    /// Watches the body of a call.
    pub(super) fn watch(body: Body) -> (Body, Self) {
        let messages = Self::default();
        let mut count = Count::default();
        if let Some(data) = body.as_full() {
            count.add(data);
            messages.0.store(count.is_stream(), Ordering::Relaxed);
            return (body, messages);
        }
        let watched = OneMessage {
            body,
            count,
            messages: messages.clone(),
        };
        (Body::stream(watched), messages)
    }

    pub(super) fn are_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts messages that go by in pieces.
#[derive(Debug, Default)]
pub(super) struct Count {
    begun: u32,
    /// How much of the head of the next message there is.
    head: [u8; HEAD],
    filled: usize,
    /// What is left of the message whose head has come.
    left: u64,
}

impl Count {
    pub(super) fn add(&mut self, mut data: &[u8]) {
        while !data.is_empty() && !self.is_stream() {
            if self.left > 0 {
                let skipped = (data.len() as u64).min(self.left);
                self.left -= skipped;
                data = &data[skipped as usize..];
                continue;
            }
            if self.filled == 0 {
                self.begun += 1;
            }
            self.head[self.filled] = data[0];
            self.filled += 1;
            data = &data[1..];
            if self.filled == HEAD {
                let [_, length @ ..] = self.head;
                self.left = u64::from(u32::from_be_bytes(length));
                self.filled = 0;
            }
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.begun > 1
    }
}

/// The body of a call, which breaks at its second message.
struct OneMessage {
    body: Body,
    count: Count,
    messages: Messages,
}

impl http_body::Body for OneMessage {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &next
            && let Some(data) = frame.data_ref()
        {
            self.count.add(data);
            if self.count.is_stream() {
                self.messages.0.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(BodyError::Protocol(Cause::NotUnary.to_string()))));
            }
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

/// The body of an answer whose policy wants to know the status at its end. What breaks it here is told to the caller as
/// a status.
pub(super) struct Followed<R: Run> {
    body: Body,
    run: Option<R>,
    messages: Option<Messages>,
    is_over: bool,
}

impl<R: Run> Followed<R> {
    pub(super) fn new(body: Body, run: Option<R>, messages: Option<Messages>) -> Self {
        Self {
            body,
            run,
            messages,
            is_over: false,
        }
    }

    fn tell(&mut self, end: End<'_>, status: Option<i32>) {
        self.is_over = true;
        if let Some(run) = self.run.take() {
            run.ended(end, status);
        }
    }

    fn has_too_many(&self) -> bool {
        self.messages.as_ref().is_some_and(Messages::are_too_many)
    }

    /// The status for what broke the body, if it was broken on this side.
    fn broken(&self, error: &BodyError) -> Option<(i32, Cause)> {
        if self.has_too_many() {
            return Some((code::FAILED_PRECONDITION, Cause::NotUnary));
        }
        matches!(error, BodyError::DeadlineExceeded)
            .then_some((code::DEADLINE_EXCEEDED, Cause::DeadlineExceeded))
    }
}

impl<R: Run> http_body::Body for Followed<R> {
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
        let next = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &next {
            None => this.tell(End::Whole, None),
            Some(Ok(frame)) => {
                let Some(status) = frame.trailers_ref().map(status_in) else {
                    return Poll::Ready(next);
                };
                if this.has_too_many() {
                    // Whatever became of a call that was broken off, that is why.
                    this.tell(End::Whole, Some(code::FAILED_PRECONDITION));
                    let why = trailers(code::FAILED_PRECONDITION, &Cause::NotUnary);
                    return Poll::Ready(Some(Ok(Frame::trailers(why))));
                }
                this.tell(End::Whole, status);
            }
            Some(Err(error)) => {
                let broken = this.broken(error);
                this.tell(End::Failed(error), broken.as_ref().map(|(code, _)| *code));
                if let Some((code, cause)) = broken {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers(code, &cause)))));
                }
            }
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

impl<R: Run> Drop for Followed<R> {
    fn drop(&mut self) {
        self.tell(End::Dropped, None);
    }
}

fn trailers(code: i32, cause: &Cause) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, code.into());
    // Such texts are plain ASCII, and need no escaping.
    if let Ok(text) = HeaderValue::from_str(&cause.to_string()) {
        trailers.insert(GRPC_MESSAGE, text);
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let message = |length: u8| {
            let mut message = vec![0, 0, 0, 0, length];
            message.extend(vec![7; usize::from(length)]);
            message
        };
        for (messages, wanted) in [
            (vec![], false),
            (vec![0], false),
            (vec![9], false),
            (vec![0, 0], true),
            (vec![9, 1], true),
        ] {
            let bytes: Vec<u8> = messages.iter().flat_map(|length| message(*length)).collect();
            for size in 1..=bytes.len().max(1) {
                let mut count = Count::default();
                bytes.chunks(size).for_each(|piece| count.add(piece));
                assert_eq!(count.is_stream(), wanted, "{messages:?} in pieces of {size}");
            }
        }
    }
}
