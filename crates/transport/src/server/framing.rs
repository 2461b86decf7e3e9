//! A second pair of eyes on the heads of HTTP/1 requests.
//!
//! hyper resolves a request that has both `Content-Length` and `Transfer-Encoding` in favour of the latter and
//! hides the former, and its own header time-out closes idle connections. Both matter to a sidecar: the first is
//! how a second request is smuggled past a proxy in front of it (RFC 9112, section 6.1), the second breaks
//! clients that keep connections. So the read side of each connection passes through [`Watched`], which notes
//! the two header names while a head goes by, and times heads (but not the silence between requests).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// What the handler's side and the read side of one connection know together.
#[derive(Debug)]
pub(super) struct Watch {
    phase: AtomicU8,
    /// The head that went by last was seen from its first to its last byte.
    whole: AtomicBool,
    content_length: AtomicBool,
    /// How many bytes were read after that head, and the last five of them (a chunked body ends in `0\r\n\r\n`).
    beyond: AtomicU64,
    tail: AtomicU64,
    /// What the body of the request in progress ends with.
    expected: AtomicU64,
    /// Whether the next head starts where reading stands.
    aligned: AtomicBool,
    /// Whether all that was written is out.
    flushed: AtomicBool,
    /// How many requests were parsed.
    calls: AtomicU64,
}

/// `expected` for a chunked body.
const CHUNKED: u64 = u64::MAX;
const LAST_CHUNK: u64 = u64::from_be_bytes([0, 0, 0, b'0', b'\r', b'\n', b'\r', b'\n']);
const TAIL_MASK: u64 = 0x00ff_ffff_ffff;

/// What the head of a request said of its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFraming {
    /// No `Content-Length` went by.
    Chunked,
    /// A `Content-Length` went by, too.
    Both,
    /// The head was not seen as a whole (pipelined requests).
    Unknown,
}

impl Watch {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(HEAD),
            whole: AtomicBool::new(false),
            content_length: AtomicBool::new(false),
            beyond: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            aligned: AtomicBool::new(true),
            flushed: AtomicBool::new(true),
            calls: AtomicU64::new(0),
        })
    }

    /// How many requests were parsed so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether the last answer is complete, all of its request was read, and nothing beyond.
    pub(super) fn is_between_calls(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == IDLE && self.aligned.load(Ordering::Relaxed)
    }

    /// Whether nothing of a call is left anywhere on this side.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_between_calls() && self.flushed.load(Ordering::Relaxed)
    }

    /// A request was parsed. `length` is the length of its body, `None` when it is chunked.
    pub(super) fn begin(&self, length: Option<u64>) -> HeadFraming {
        self.phase.store(BUSY, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.expected.store(length.unwrap_or(CHUNKED), Ordering::Relaxed);
        if !self.whole.swap(false, Ordering::Relaxed) {
            return HeadFraming::Unknown;
        }
        if self.content_length.load(Ordering::Relaxed) {
            HeadFraming::Both
        } else {
            HeadFraming::Chunked
        }
    }

    /// The answer is complete: the next byte begins a head, if the body of the request was read to its end and
    /// no further.
    pub(super) fn finish(&self) {
        let aligned = match self.expected.load(Ordering::Relaxed) {
            CHUNKED => self.tail.load(Ordering::Relaxed) & TAIL_MASK == LAST_CHUNK,
            length => self.beyond.load(Ordering::Relaxed) == length,
        };
        self.aligned.store(aligned, Ordering::Relaxed);
        self.phase.store(IDLE, Ordering::Relaxed);
    }
}

/// The read side of a connection, watched.
pub(super) struct Watched<S> {
    io: S,
    watch: Arc<Watch>,
    timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    line: Line,
}

/// Where in a head the scanner is.
#[derive(Debug, Default)]
struct Line {
    /// The first bytes of the line, lower-cased; enough for the longest name.
    start: [u8; 15],
    len: usize,
    lines: u32,
    content_length: bool,
    complete: bool,
}

impl<S> Watched<S> {
    pub(super) fn new(io: S, watch: Arc<Watch>, timeout: Duration) -> Self {
        Self {
            io,
            watch,
            timeout,
            deadline: None,
            line: Line::default(),
        }
    }

    fn saw(&mut self, bytes: &[u8]) {
        let watch = &self.watch;
        if watch.phase.load(Ordering::Relaxed) == IDLE {
            self.line = Line {
                complete: !watch.aligned.load(Ordering::Relaxed),
                ..Line::default()
            };
            watch.phase.store(HEAD, Ordering::Relaxed);
            watch.beyond.store(0, Ordering::Relaxed);
            watch.whole.store(false, Ordering::Relaxed);
        }
        let mut rest = bytes;
        if watch.phase.load(Ordering::Relaxed) == HEAD && !self.line.complete {
            let used = self.line.feed(bytes);
            rest = &bytes[used..];
            if self.line.complete {
                watch
                    .content_length
                    .store(self.line.content_length, Ordering::Relaxed);
                watch.whole.store(true, Ordering::Relaxed);
                watch.beyond.store(0, Ordering::Relaxed);
                watch.tail.store(0, Ordering::Relaxed);
            }
        }
        if !rest.is_empty() {
            watch.beyond.fetch_add(rest.len() as u64, Ordering::Relaxed);
            let mut tail = watch.tail.load(Ordering::Relaxed);
            for byte in &rest[rest.len().saturating_sub(5)..] {
                tail = tail << 8 | u64::from(*byte);
            }
            watch.tail.store(tail, Ordering::Relaxed);
        }
    }

    /// An error when the head in progress takes too long.
    fn check_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.watch.phase.load(Ordering::Relaxed) != HEAD || self.line.complete {
            self.deadline = None;
            return Ok(());
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the request head took too long",
            )),
            Poll::Pending => Ok(()),
        }
    }
}

impl Line {
    /// Reads on; returns how many bytes belong to the head.
    fn feed(&mut self, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' => {
                    if self.ends_head() {
                        self.complete = true;
                        return index + 1;
                    }
                    self.lines += u32::from(self.len > 0);
                    self.len = 0;
                }
                b'\r' => {}
                other => {
                    if let Some(slot) = self.start.get_mut(self.len) {
                        *slot = other.to_ascii_lowercase();
                    }
                    self.len += 1;
                    if self.len == 15 && &self.start == b"content-length:" {
                        self.content_length = true;
                    }
                }
            }
        }
        bytes.len()
    }

    /// Whether an empty line ends the head; empty lines before the request line do not.
    fn ends_head(&self) -> bool {
        self.len == 0 && self.lines > 0
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Pending => match this.check_deadline(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            Poll::Ready(Ok(())) => {
                let read = &buf.filled()[before..];
                if !read.is_empty() {
                    this.saw(read);
                }
                Poll::Ready(this.check_slow_drip(cx))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl<S> Watched<S> {
    /// A client that sends a byte now and then never lets a read come back empty; its time runs all the same.
    fn check_slow_drip(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.deadline.is_some() {
            self.check_deadline(cx)
        } else {
            Ok(())
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.watch.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.watch.flushed.store(true, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pieces: &[&str]) -> (HeadFraming, Arc<Watch>) {
        let watch = Watch::new();
        let mut watched = Watched::new((), watch.clone(), Duration::from_secs(1));
        for piece in pieces {
            watched.saw(piece.as_bytes());
        }
        (watch.begin(None), watch)
    }

    #[test]
    fn both_lengths_are_seen_in_any_order_and_any_pieces() {
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n";
        assert_eq!(head(&[chunked]).0, HeadFraming::Chunked);
        let both = "POST / HTTP/1.1\r\nCONTENT-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        for split in 0..both.len() {
            assert_eq!(
                head(&[&both[..split], &both[split..]]).0,
                HeadFraming::Both,
                "{split}"
            );
        }
        let bare = "\n\nPOST / HTTP/1.1\nTransfer-Encoding: chunked\ncontent-length:5\n\n";
        assert_eq!(head(&[bare]).0, HeadFraming::Both);
        assert_eq!(head(&["POST / HTTP/1.1\r\nTransfer"]).0, HeadFraming::Unknown);
    }

    #[test]
    fn the_next_head_is_seen_if_the_body_ended_where_reading_stands() {
        let first = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let second = "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (body, wanted) in [
            ("1\r\na\r\n0\r\n\r\n", HeadFraming::Both),
            (
                "1\r\na\r\n0\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\n",
                HeadFraming::Unknown,
            ),
            ("1\r\na\r\n", HeadFraming::Unknown),
        ] {
            let watch = Watch::new();
            let mut watched = Watched::new((), watch.clone(), Duration::from_secs(1));
            watched.saw(first.as_bytes());
            assert_eq!(watch.begin(None), HeadFraming::Chunked);
            watched.saw(body.as_bytes());
            watch.finish();
            watched.saw(second.as_bytes());
            assert_eq!(watch.begin(None), wanted, "{body:?}");
        }
    }

    #[test]
    fn the_end_of_an_earlier_body_is_not_the_end_of_this_one() {
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let watch = Watch::new();
        let mut watched = Watched::new((), watch.clone(), Duration::from_secs(1));
        watched.saw(head);
        watch.begin(None);
        watched.saw(b"0\r\n\r\n");
        watch.finish();
        assert!(watch.aligned.load(Ordering::Relaxed));
        watched.saw(head);
        watch.begin(None);
        watch.finish();
        assert!(
            !watch.aligned.load(Ordering::Relaxed),
            "its body is still to come"
        );
    }

    #[test]
    fn a_declared_length_is_counted() {
        let watch = Watch::new();
        let mut watched = Watched::new((), watch.clone(), Duration::from_secs(1));
        watched.saw(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na");
        watch.begin(Some(3));
        watched.saw(b"bc");
        watch.finish();
        assert!(watch.aligned.load(Ordering::Relaxed));
        watched.saw(b"GET / HTTP/1.1\r\n\r\nGET");
        watch.begin(Some(0));
        watch.finish();
        assert!(!watch.aligned.load(Ordering::Relaxed), "a pipelined request");
    }
}
