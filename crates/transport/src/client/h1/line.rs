//! The socket of a connection, with what the pool must know of it.
//!
//! hyper reads and writes; the pool looks at the socket before it sends, and hears afterwards how an answer ended.
//! Both hold the same socket, one at a time.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::form;
use super::places::Reading;
use crate::Socket;

/// How long after an answer the end of its connection still counts as having come with it. Apps write and close in
/// one go, so that only schedulers stand between the two: that of the app, and ours. Both may be busy.
const MOMENT: Duration = Duration::from_millis(250);

/// hyper's end: dropping it closes the socket.
#[derive(Debug)]
pub(super) struct Line(Arc<Shared>);

/// The pool's end. It keeps no socket open.
#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<Shared>);

/// What both have.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) reading: Reading,
}

#[derive(Debug)]
struct State {
    /// `None` once hyper is done with it.
    socket: Option<Socket>,
    /// A request was given to it.
    is_used: bool,
    /// How many reads have brought something since the request began.
    reads: u32,
    first_read: Option<Instant>,
    ended_at_once: bool,
    /// The other side takes nothing more. What it has said already can still be read.
    deaf: Option<io::ErrorKind>,
    target: Option<Target>,
}

/// A request target that goes out in place of hyper's.
#[derive(Debug)]
struct Target {
    /// How many bytes of the head it replaces: the method, a blank and the target.
    replaced: usize,
    start: Bytes,
    written: usize,
}

/// What looking at an idle connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Nothing has come.
    Open,
    /// The other side has closed it.
    Closed,
    /// The other side has said something that nobody asked for.
    Talking,
}

/// Divides a socket between hyper and the pool.
pub(super) fn share(socket: Socket) -> (Line, Watch) {
    let state = Mutex::new(State {
        socket: Some(socket),
        is_used: false,
        reads: 0,
        first_read: None,
        ended_at_once: false,
        deaf: None,
        target: None,
    });
    let shared = Arc::new(Shared {
        state,
        reading: Reading::default(),
    });
    (Line(Arc::clone(&shared)), Watch(shared))
}

#[cfg(test)]
#[cfg(feature = "model")]
impl Watch {
    /// The pool's end of a connection whose socket is closed already.
    pub(super) fn of_nothing() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                socket: None,
                is_used: false,
                reads: 0,
                first_read: None,
                ended_at_once: false,
                deaf: None,
                target: None,
            }),
            reading: Reading::default(),
        }))
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// A request is about to be sent. `start` is what its head begins with in place of its first `replaced` bytes.
    pub(super) fn begin(&self, target: Option<(usize, Bytes)>) {
        let mut state = lock(&self.0);
        state.is_used = true;
        state.reads = 0;
        state.first_read = None;
        state.ended_at_once = false;
        state.target = target.map(|(replaced, start)| Target {
            replaced,
            start,
            written: 0,
        });
    }

    /// Whether it had a request already.
    pub(super) fn is_used(&self) -> bool {
        lock(&self.0).is_used
    }

    /// Whether this is the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the answer is read.
    pub(super) fn reading(&self) -> &Reading {
        &self.0.reading
    }

    pub(super) fn weak(&self) -> Weak<Shared> {
        Arc::downgrade(&self.0)
    }

    /// Whether all that came since the request began came in one read, and the end of the connection in good order
    /// right behind it.
    pub(super) fn ended_at_once(&self) -> bool {
        lock(&self.0).ended_at_once
    }

    /// Looks at an idle connection, without waiting for the reactor to hear of what has come.
    pub(super) fn look(&self) -> Sight {
        let state = lock(&self.0);
        let Some(tcp) = state.socket.as_ref().and_then(Socket::tcp) else {
            return Sight::Closed;
        };
        match SockRef::from(tcp).peek(&mut [MaybeUninit::uninit(); 1]) {
            Ok(0) => Sight::Closed,
            Ok(_) => Sight::Talking,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sight::Open,
            Err(_) => Sight::Closed,
        }
    }
}

impl State {
    fn read_something(&mut self) {
        self.reads = self.reads.saturating_add(1);
        if self.reads == 1 {
            self.first_read = Some(Instant::now());
        }
    }

    fn read_end(&mut self) {
        self.ended_at_once =
            self.reads == 1 && self.first_read.is_some_and(|first| first.elapsed() <= MOMENT);
    }

    /// What becomes of a write. An app that has answered and closed the connection without reading resets it, but
    /// what it said is there to be read: the rest of the request goes nowhere, and reading tells how it ended.
    fn written(&mut self, written: io::Result<usize>, all: usize) -> io::Result<usize> {
        match written {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.deaf = Some(error.kind());
                Ok(all)
            }
            other => other,
        }
    }

    /// Writes a target that hyper does not know; the number of bytes is that of what it stands for.
    fn poll_target(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let (Some(target), Some(socket)) = (&mut self.target, &mut self.socket) {
            let rest = &target.start[target.written..];
            if rest.is_empty() {
                let replaced = target.replaced;
                self.target = None;
                return Poll::Ready(Ok(replaced));
            }
            match ready!(Pin::new(socket).poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => target.written += written,
                Err(error) => {
                    let replaced = target.replaced;
                    self.target = None;
                    return Poll::Ready(self.written(Err(error), replaced));
                }
            }
        }
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        all: usize,
        write: impl FnOnce(Pin<&mut Socket>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.deaf.is_some() {
            return Poll::Ready(Ok(all));
        }
        // hyper writes the head of a request in one piece, and it is the first that goes out.
        if self.target.as_ref().is_some_and(|target| target.replaced <= all) {
            return self.poll_target(cx);
        }
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let written = ready!(write(Pin::new(socket), cx));
        Poll::Ready(self.written(written, all))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let socket = lock(&self.0).socket.take();
        // It is closed when nobody waits for the lock.
        drop(socket);
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        let before = buf.filled().len();
        let Some(socket) = &mut state.socket else {
            return Poll::Ready(Ok(()));
        };
        let read = ready!(Pin::new(socket).poll_read(cx, buf));
        if read.is_ok() {
            if buf.filled().len() > before {
                if state.reads == 0 {
                    form::mend(&mut buf.filled_mut()[before..]);
                }
                state.read_something();
            } else if let Some(how) = state.deaf {
                // The write took the reset away from the socket, which now looks as if it had ended well.
                return Poll::Ready(Err(how.into()));
            } else {
                state.read_end();
            }
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_write_with(cx, buf.len(), |socket, cx| socket.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        lock(&self.0).poll_write_with(cx, all, |socket, cx| socket.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        match (state.deaf, &mut state.socket) {
            (None, Some(socket)) => Pin::new(socket).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        match (state.deaf, &mut state.socket) {
            (None, Some(socket)) => Pin::new(socket).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}
