//! What is left of a request of HTTP/1 that was answered before its end.
//!
//! The rest must be read before the next request on the connection. hyper reads it only if all of it has arrived when
//! the handler drops the body. Otherwise hyper closes the connection without telling the client, and the client loses
//! its next request (RFC 9112, section 9.3). So a dropped body comes here. A small rest is read. If the rest is large or
//! of unknown length, the answer says `Connection: close`.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep, timeout};

use super::watch::Watch;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// How much of a rest is read, as Go's `net/http` does.
const MOST: u64 = 256 * 1024;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an answer waits for the end of a body in chunks, which cannot be known beforehand.
const CHUNKS: Duration = Duration::from_millis(100);

/// The rest of a request, until it is read. Its body is hyper's, but in models.
#[derive(Debug)]
pub(super) struct Unread<B = Incoming> {
    rest: Mutex<Option<Rest<B>>>,
    /// Spares the lock where there is no rest.
    has_rest: AtomicBool,
    /// The body broke: where it ends is not known.
    is_broken: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct Rest<B> {
    body: B,
    read: u64,
    /// hyper was asked for it. A client that expects `100 Continue` has got it by then.
    was_asked_for: bool,
    limit: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes> + Unpin> Rest<B> {
    /// Ready when nothing more is read: `Ok` at the end of the body.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(_)) => return Poll::Ready(Err(())),
                Some(Ok(frame)) => self.read += frame.data_ref().map_or(0, Bytes::len) as u64,
            }
            if self.read > MOST {
                return Poll::Ready(Err(()));
            }
        }
    }
}

impl<B> Default for Unread<B> {
    fn default() -> Self {
        Self {
            rest: Mutex::default(),
            has_rest: AtomicBool::default(),
            is_broken: AtomicBool::default(),
            waker: AtomicWaker::default(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Unread<B> {
    fn leave(&self, rest: Rest<B>) {
        *self.rest() = Some(rest);
        self.has_rest.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn rest(&self) -> MutexGuard<'_, Option<Rest<B>>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Rest<B>> {
        self.has_rest.store(false, Ordering::Release);
        self.rest().take()
    }

    /// Nobody reads the rest. The connection closes.
    pub(super) fn give_up(&self, watch: &Watch<B>) {
        if self.has_rest.load(Ordering::Acquire) && self.take().is_some() {
            watch.finish();
        }
    }

    /// Decides before the head of an answer goes out: whether the connection must close after it, because the request
    /// has more left than is read. `is_expected` says that the client waits to be asked for the body.
    pub(super) async fn ends_connection(&self, watch: &Watch<B>, is_expected: bool) -> bool {
        if self.is_broken.load(Ordering::Acquire) {
            return true;
        }
        if !self.has_rest.load(Ordering::Acquire) {
            return false;
        }
        let Some(mut rest) = self.take() else {
            return false;
        };
        if is_expected && !rest.was_asked_for {
            // The client may send the body or not. To ask for it would be to invite what nobody reads.
            watch.finish();
            return true;
        }
        match rest.body.size_hint().exact() {
            Some(length) if length <= MOST => {
                self.leave(rest);
                false
            }
            Some(_) => {
                watch.finish();
                true
            }
            None => {
                let ended = timeout(CHUNKS, std::future::poll_fn(|cx| rest.poll_end(cx))).await;
                drop(rest);
                watch.finish();
                ended != Ok(Ok(()))
            }
        }
    }

    /// Reads what is there of a rest. Never ready: what comes of it shows on the connection.
    pub(super) fn poll_read(&self, watch: &Watch<B>, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before the flag is read: a rest that is left in between wakes this task.
        self.waker.register(cx.waker());
        if !self.has_rest.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let mut place = self.rest();
        let Some(rest) = place.as_mut() else {
            return Poll::Pending;
        };
        let is_over = rest.poll_end(cx).is_ready() || {
            let limit = rest.limit.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            limit.as_mut().poll(cx).is_ready()
        };
        if is_over {
            // If it has not ended, hyper closes the connection now.
            *place = None;
            drop(place);
            self.has_rest.store(false, Ordering::Release);
            watch.finish();
        }
        Poll::Pending
    }
}

/// The body of a request of HTTP/1. What is left of it when it is dropped goes to the connection.
#[derive(Debug)]
pub struct Http1Body<B: Body<Data = Bytes> + Unpin = Incoming> {
    body: Option<B>,
    was_asked_for: bool,
    watch: Arc<Watch<B>>,
}

impl<B: Body<Data = Bytes> + Unpin> Http1Body<B> {
    pub(super) fn new(body: B, watch: &Arc<Watch<B>>) -> Self {
        Self {
            body: Some(body),
            was_asked_for: false,
            watch: Arc::clone(watch),
        }
    }

    fn end(&mut self) {
        if self.body.take().is_some() {
            self.watch.finish();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Http1Body<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.was_asked_for = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            None => self.end(),
            Some(Err(_)) => {
                self.watch.unread.is_broken.store(true, Ordering::Release);
                self.end();
            }
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Drop for Http1Body<B> {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.end();
        } else if let Some(body) = self.body.take() {
            self.watch.unread.leave(Rest {
                body,
                read: 0,
                was_asked_for: self.was_asked_for,
                limit: None,
            });
        }
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;
