//! Which version of HTTP a client speaks, by the first bytes it sends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// The client connection preface of RFC 9113, section 3.4.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes were read already; they are read again from here.
pub(super) struct Rewound<S> {
    first: [u8; PREFACE.len()],
    read: usize,
    len: usize,
    io: S,
}

/// Reads until the client has shown what it speaks: `true` for HTTP/2 by prior knowledge.
pub(super) async fn detect<S>(mut io: S, patience: Duration) -> io::Result<(bool, Rewound<S>)>
where
    S: AsyncRead + Unpin,
{
    let mut first = [0; PREFACE.len()];
    let mut len = 0;
    let is_http2 = timeout(patience, async {
        loop {
            let read = io.read(&mut first[len..]).await?;
            len += read;
            if read == 0 || first[..len] != PREFACE[..len] {
                return io::Result::Ok(false);
            }
            if len == PREFACE.len() {
                return Ok(true);
            }
        }
    })
    .await??;
    Ok((
        is_http2,
        Rewound {
            first,
            read: 0,
            len,
            io,
        },
    ))
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.read < this.len {
            let piece = &this.first[this.read..this.len];
            let count = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..count]);
            this.read += count;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
