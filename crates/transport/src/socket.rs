//! A connected socket, whatever carries it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::counted::Counted;
use crate::tls::Session;

/// A connection on which nothing comes for so long is asked whether the other side is still there, this often, and so
/// many times. A host that has vanished says nothing by itself, and calls would wait for it for ever.
const QUIET: Duration = Duration::from_secs(15);
const INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 6;

/// Lets the system find out whether the other side is still there (RFC 9293, section 3.8.4).
///
/// `TCP_USER_TIMEOUT` would also end a connection whose peer does not acknowledge what was sent. It is not set: Linux
/// applies it to a closed window, too, however many probes are answered. An app that is slow to read would lose its
/// calls.
pub(crate) fn keep_alive(tcp: &TcpStream) {
    let keep_alive = TcpKeepalive::new()
        .with_time(QUIET)
        .with_interval(INTERVAL)
        .with_retries(PROBES);
    // A system that cannot do it is no reason to have no connection.
    let _ = SockRef::from(tcp).set_tcp_keepalive(&keep_alive);
}

/// A connected byte stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum Socket {
    /// TCP.
    Tcp(Counted<TcpStream>),
    /// A Unix domain socket.
    Unix(Counted<UnixStream>),
    /// TLS on another socket. Boxed once, since a session is large.
    Tls(Box<Session>),
}

impl Socket {
    /// The TCP connection beneath, if there is one.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Unix(_) => None,
            Self::Tls(session) => session.socket().tcp(),
        }
    }
}

macro_rules! each {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Tcp($inner) => $call,
            Socket::Unix($inner) => $call,
            Socket::Tls($inner) => $call,
        }
    };
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Tls(session) => session.socket().as_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
