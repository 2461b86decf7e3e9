//! Tells whether a request is still on its way out.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};

pin_project_lite::pin_project! {
    /// The body of a request; the connection drops it when it was written to its end or given up.
    #[derive(Debug)]
    pub(super) struct Sending<B> {
        #[pin]
        body: B,
        // Not there when there is nothing to send.
        alive: Option<Arc<()>>,
    }
}

/// The other end of a [`Sending`].
#[derive(Debug)]
pub(super) struct Sent(Weak<()>);

impl Sent {
    /// Whether the body of the request was written to its end or given up.
    pub(super) fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl<B: Body> Sending<B> {
    /// The request as the connection gets it.
    pub(super) fn watch(request: Request<B>) -> (Request<Self>, Sent) {
        let alive = (!request.body().is_end_stream()).then(Arc::default);
        let sent = Sent(alive.as_ref().map_or_else(Weak::new, Arc::downgrade));
        (request.map(|body| Self { body, alive }), sent)
    }

    /// The body as it was.
    pub(super) fn into_inner(self) -> B {
        self.body
    }
}

impl<B: Body<Data = Bytes>> Body for Sending<B> {
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
