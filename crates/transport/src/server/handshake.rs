//! A time limit on the first bytes of an HTTP/2 connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::preface::PREFACE;
use crate::writes::pass_writes_on;

/// A stream that breaks if the client's preface is not there when waiting is over: half a preface must not hold
/// a connection for ever.
pub(super) struct Handshaking<S> {
    io: S,
    missing: usize,
    end_of_waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Handshaking<S> {
    pub(super) fn new(io: S, end_of_waiting: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            io,
            missing: PREFACE.len(),
            end_of_waiting: Some(Box::pin(end_of_waiting)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Handshaking<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        let Some(end_of_waiting) = &mut this.end_of_waiting else {
            return polled;
        };
        this.missing = this.missing.saturating_sub(buf.filled().len() - before);
        if this.missing == 0 {
            this.end_of_waiting = None;
        } else if end_of_waiting.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no connection preface",
            )));
        }
        polled
    }
}

pass_writes_on!(Handshaking);
