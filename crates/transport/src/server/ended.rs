//! Tells when an answer is complete.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::watch::Watch;

pin_project_lite::pin_project! {
    /// The body of an answer; when it is dropped that half of the call is over.
    ///
    /// hyper closes the connection of a body that breaks and throws away what it has not written yet, the head of the
    /// answer, too, if the body breaks at once. So an error waits until hyper has been idle once: before that it writes.
    pub(super) struct Ended<B: Body> {
        #[pin]
        body: B,
        broken: Option<B::Error>,
        end: End,
    }
}

struct End(Arc<Watch>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl<B: Body> Ended<B> {
    pub(super) fn new(body: B, watch: Arc<Watch>) -> Self {
        Self {
            body,
            broken: None,
            end: End(watch),
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Ended<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(this.body.poll_frame(cx)) {
            Some(Err(error)) => {
                *this.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::channel::Channel;

    use super::*;

    #[test]
    fn an_error_waits_until_the_head_is_written() {
        let (sender, body) = Channel::<Bytes, &str>::new(1);
        sender.abort("broken");
        let mut body = Ended::new(body, Watch::new());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut body).poll_frame(&mut cx).is_pending());
        assert!(!body.is_end_stream());
        let Poll::Ready(Some(Err("broken"))) = Pin::new(&mut body).poll_frame(&mut cx) else {
            panic!("the error is told once, and then");
        };
    }
}
