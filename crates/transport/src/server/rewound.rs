//! Bytes that are read a second time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};

use crate::writes::pass_writes_on;

/// A connection, with bytes that were read from it and are read again first.
pub(super) struct Rewound<S> {
    pub(super) first: Bytes,
    pub(super) io: S,
}

impl<S> Rewound<S> {
    /// The connection that hyper gives back, with what it had read and not used.
    pub(super) fn of<V>(parts: http1::Parts<TokioIo<Self>, V>) -> Self {
        let Self { first, io } = parts.io.into_inner();
        // An empty piece of hyper's buffer would keep all of it. What hyper has read and not used came before what it
        // has not read.
        let read = parts.read_buf;
        let first = match (read.is_empty(), first.is_empty()) {
            (true, true) => Bytes::new(),
            (true, false) => first,
            (false, _) => [read, first].concat().into(),
        };
        Self { first, io }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.first.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let count = this.first.len().min(buf.remaining());
        buf.put_slice(&this.first[..count]);
        this.first.advance(count);
        if this.first.is_empty() {
            // An empty piece would keep its buffer as long as the connection lasts.
            this.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

pass_writes_on!(Rewound);
