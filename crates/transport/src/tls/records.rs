//! A session of TLS that ends as Go's does: also without a word, if it ends between two records.
//!
//! TLS wants an end to be announced (RFC 8446, section 6.1), so that nobody can cut what has no length. Many servers do
//! not announce it (those of Python's `ssl` among them), and Go's clients take it from them. What ends in the middle of a
//! record was cut for certain.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::socket::Socket;

/// The head of a record: its type, its version, and the length of what follows (RFC 8446, section 5.1).
const HEAD: usize = 5;

/// The socket beneath a session. It knows whether what was read so far ends with a record.
#[derive(Debug)]
pub(super) struct Records {
    socket: Socket,
    /// How much of a head was read, and what of its length.
    head: usize,
    length: usize,
    /// What is left of the record whose head was read.
    left: usize,
}

impl Records {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            head: 0,
            length: 0,
            left: 0,
        }
    }

    fn is_between(&self) -> bool {
        self.head == 0 && self.left == 0
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            self.length = (self.length << 8 | usize::from(*first)) & 0xffff;
            self.head += 1;
            if self.head == HEAD {
                (self.head, self.left) = (0, self.length);
            }
            bytes = rest;
        }
    }
}

impl AsyncRead for Records {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        this.follow(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Records {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// A session of TLS on a socket.
#[derive(Debug)]
pub struct Session(TlsStream<Records>);

impl Session {
    pub(super) fn new(stream: impl Into<TlsStream<Records>>) -> Self {
        Self(stream.into())
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.0.get_ref().0.socket
    }
}

impl AsyncRead for Session {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.get_mut().0;
        match ready!(Pin::new(&mut *stream).poll_read(cx, buf)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && stream.get_ref().0.is_between() => {
                Poll::Ready(Ok(()))
            }
            result => Poll::Ready(result),
        }
    }
}

impl AsyncWrite for Session {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;
    use crate::counted::{Counted, Side};

    #[tokio::test]
    async fn where_records_end() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let mut records = Records::new(Socket::Unix(Counted::new(socket, Side::Client)));
        // Two records, one of them empty, and one of 258 bytes.
        let mut bytes = vec![23, 3, 3, 0, 2, 9, 9, 23, 3, 3, 0, 0, 23, 3, 3, 1, 2];
        bytes.extend([7; 258]);
        let ends = [0, 7, 12, bytes.len()];
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(records.is_between(), ends.contains(&at), "{at}");
            records.follow(&[*byte]);
        }
        assert!(records.is_between());
        for cut in 1..=bytes.len() {
            let (socket, _other) = UnixStream::pair().unwrap();
            let mut records = Records::new(Socket::Unix(Counted::new(socket, Side::Client)));
            records.follow(&bytes[..cut]);
            assert_eq!(records.is_between(), ends.contains(&cut), "{cut}");
        }
    }
}
