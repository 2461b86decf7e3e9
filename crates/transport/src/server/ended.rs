//! Tells when an answer is complete.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::framing::Watch;

pin_project_lite::pin_project! {
    /// The body of an answer; when it is dropped the connection waits for the next request.
    pub(super) struct Ended<B> {
        #[pin]
        body: B,
        end: End,
    }
}

struct End(Arc<Watch>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl<B> Ended<B> {
    pub(super) fn new(body: B, watch: Arc<Watch>) -> Self {
        Self {
            body,
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
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
