//! What the sockets of this process do, counted for the metrics.
//!
//! A count is an addition to an atomic beside a system call. It is global, as the sockets of a process are: a server or a
//! pool that kept its own would have to be found by whoever shows them.

use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Others connected to this process.
    Server,
    /// This process connected to others.
    Client,
}

/// What the sockets of one side have done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounts {
    /// Connections that were made.
    pub opened: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Bytes that came in, those of TLS included.
    pub received: u64,
    /// Bytes that went out.
    pub sent: u64,
    /// TLS handshakes that succeeded.
    pub handshakes: u64,
    /// Those that failed, or took too long.
    pub failed_handshakes: u64,
}

/// The counters of one side, on lines of the cache that no other side writes to.
#[derive(Debug)]
#[repr(align(128))]
struct Counters {
    opened: AtomicU64,
    closed: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    handshakes: AtomicU64,
    failed_handshakes: AtomicU64,
}

impl Counters {
    const fn new() -> Self {
        Self {
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            handshakes: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
        }
    }
}

static SERVER: Counters = Counters::new();
static CLIENT: Counters = Counters::new();

impl Side {
    fn counters(self) -> &'static Counters {
        match self {
            Self::Server => &SERVER,
            Self::Client => &CLIENT,
        }
    }

    /// What the sockets of this side have done so far.
    pub fn counts(self) -> SocketCounts {
        let counters = self.counters();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Read in this order, so that no more have ended than were made.
        let closed = of(&counters.closed);
        SocketCounts {
            opened: of(&counters.opened),
            closed,
            received: of(&counters.received),
            sent: of(&counters.sent),
            handshakes: of(&counters.handshakes),
            failed_handshakes: of(&counters.failed_handshakes),
        }
    }
}

fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}

/// A TLS handshake that goes on: failed, unless it is said to have succeeded.
#[derive(Debug)]
pub(crate) struct Handshake(Side, bool);

impl Handshake {
    pub(crate) fn begin(side: Side) -> Self {
        Self(side, false)
    }

    pub(crate) fn succeeded(mut self) {
        self.1 = true;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let counters = self.0.counters();
        let counter = if self.1 {
            &counters.handshakes
        } else {
            &counters.failed_handshakes
        };
        add(counter, 1);
    }
}

/// A socket that is counted: that it is there, and what goes through it.
#[derive(Debug)]
pub struct Counted<S> {
    socket: S,
    side: Side,
}

impl<S> Counted<S> {
    /// The connection is made.
    pub(crate) fn new(socket: S, side: Side) -> Self {
        add(&side.counters().opened, 1);
        Self { socket, side }
    }

    fn sent(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &polled {
            add(&self.side.counters().sent, *bytes);
        }
        polled
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        add(&self.side.counters().closed, 1);
    }
}

impl<S> Deref for Counted<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.socket
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        if polled.is_ready() {
            add(&self.side.counters().received, buf.filled().len() - before);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.sent(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.sent(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Other tests of the process count, too: what is looked at is what grows at least by so much.
    #[tokio::test]
    async fn what_goes_through_is_counted() {
        let before = [Side::Server, Side::Client].map(Side::counts);
        let (one, other) = tokio::net::UnixStream::pair().unwrap();
        let mut client = Counted::new(one, Side::Client);
        let mut server = Counted::new(other, Side::Server);
        client.write_all(&[0; 700]).await.unwrap();
        server.read_exact(&mut [0; 700]).await.unwrap();
        Handshake::begin(Side::Server).succeeded();
        drop(Handshake::begin(Side::Client));
        drop((client, server));
        let after = [Side::Server, Side::Client].map(Side::counts);
        let [server, client] = [0, 1].map(|side: usize| (before[side], after[side]));
        assert!(client.1.sent >= client.0.sent + 700);
        assert!(server.1.received >= server.0.received + 700);
        for (before, after) in [server, client] {
            assert!(after.opened > before.opened && after.closed > before.closed);
        }
        assert!(server.1.handshakes > server.0.handshakes);
        assert!(client.1.failed_handshakes > client.0.failed_handshakes);
    }
}
