//! The body of an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use super::lease::Lease;
use super::sending::Sent;

/// An answer that broke off.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The connection broke, or what came on it is not HTTP.
    #[error("{source}")]
    Broken {
        /// What happened.
        source: hyper::Error,
        /// See [`Self::ended_at_once`].
        ended_at_once: bool,
    },
    /// Nobody read it, while other calls waited for a connection.
    #[error("the answer was not read while other calls waited for a connection")]
    Unread,
}

impl AnswerError {
    /// Whether all of the answer that there is came in one read, head and body, and the end of the connection in good
    /// order right behind it: the app did not stop in the middle, it had no more to say.
    pub fn ended_at_once(&self) -> bool {
        matches!(
            self,
            Self::Broken {
                ended_at_once: true,
                ..
            }
        )
    }
}

/// The body of an answer; its end gives the connection back.
pub struct PooledBody<B> {
    body: Incoming,
    lease: Option<Lease<B>>,
    sent: Sent,
    /// The connection ends with this answer.
    is_last: bool,
}

impl<B> PooledBody<B> {
    pub(super) fn new(body: Incoming, lease: Lease<B>, sent: Sent, is_last: bool) -> Self {
        let mut pooled = Self {
            body,
            lease: Some(lease),
            sent,
            is_last,
        };
        pooled.give_back_at_end();
        pooled.has_some();
        pooled
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back(&self.sent, self.is_last);
        }
    }

    /// The reader has what there was, and has not asked for more.
    fn has_some(&self) {
        if let Some(lease) = &self.lease {
            lease.connection.watch.reading().has_some();
        }
    }

    /// The reader asks for more; `false` if the answer was given up.
    fn asks(&self) -> bool {
        self.lease
            .as_ref()
            .is_none_or(|lease| lease.connection.watch.reading().asks())
    }

    fn broken(&mut self, source: hyper::Error) -> AnswerError {
        let lease = self.lease.take();
        AnswerError::Broken {
            source,
            ended_at_once: lease.is_some_and(|lease| lease.connection.watch.ended_at_once()),
        }
    }
}

// Nothing here is pinned in place: `Incoming` moves freely.
impl<B> Unpin for PooledBody<B> {}

impl<B> Body for PooledBody<B> {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if !self.asks() {
            self.lease = None;
            return Poll::Ready(Some(Err(AnswerError::Unread)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            None => {
                self.give_back();
                None
            }
            Some(Ok(frame)) => {
                self.give_back_at_end();
                self.has_some();
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(self.broken(error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
