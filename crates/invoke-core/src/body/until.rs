//! An end in time.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{BodyError, BoxStream};

/// A stream that breaks when its end has not come in time. The timer begins when the stream is waited for: most have
/// come by then.
pub(super) struct Until {
    stream: BoxStream,
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Until {
    pub(super) fn new(stream: BoxStream, deadline: Instant) -> Self {
        Self {
            stream,
            deadline,
            timer: None,
        }
    }
}

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = this.stream.as_mut().poll_frame(cx);
        if polled.is_ready() {
            return polled;
        }
        let deadline = this.deadline;
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        let broken = |()| Some(Err(BodyError::DeadlineExceeded));
        timer.as_mut().poll(cx).map(broken)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.stream.size_hint()
    }
}
