//! A second pair of eyes on the heads of HTTP/1 requests.
//!
//! hyper resolves a request that has both `Content-Length` and `Transfer-Encoding` in favour of the latter and
//! hides the former, and its own header time-out closes idle connections. Both matter to a sidecar: the first is
//! how a second request is smuggled past a proxy in front of it (RFC 9112, section 6.1), the second breaks
//! clients that keep connections. So the read side of each connection passes through [`Watched`], which notes
//! the two header names while a head goes by, and times heads (but not the silence between requests). Where a client
//! sends what hyper refuses and others take, or refuses without a word, hyper reads it as [`Edit`]s say.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::scan::{self, Edit, HeadEdits, Scan};
use super::watch::{HEAD, IDLE, Watch};

/// The read side of a connection, watched.
pub(super) struct Watched<S> {
    io: S,
    watch: Arc<Watch>,
    timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    scan: Scan,
    /// What was edited and did not fit into the reader's buffer.
    edited: Bytes,
}

impl<S> Watched<S> {
    pub(super) fn new(io: S, watch: Arc<Watch>, timeout: Duration) -> Self {
        Self {
            io,
            watch,
            timeout,
            deadline: None,
            scan: Scan::default(),
            edited: Bytes::new(),
        }
    }

    /// Takes note of what was read; what must be read otherwise comes back.
    fn saw(&mut self, bytes: &[u8]) -> Vec<Edit> {
        let mut found = HeadEdits::default();
        let watch = &self.watch;
        if watch.phase.load(Ordering::Relaxed) == IDLE {
            self.scan = if watch.aligned.load(Ordering::Relaxed) {
                Scan::default()
            } else {
                Scan::blind()
            };
            watch.phase.store(HEAD, Ordering::Relaxed);
            watch.beyond.store(0, Ordering::Relaxed);
            watch.whole.store(false, Ordering::Relaxed);
        }
        let mut rest = bytes;
        if watch.phase.load(Ordering::Relaxed) == HEAD && !self.scan.complete {
            let used = self.scan.feed(bytes, &mut found);
            if let Some(query) = found.query {
                watch.keep_raw_query(Bytes::copy_from_slice(&bytes[query]));
            }
            rest = &bytes[used..];
            if self.scan.complete {
                watch
                    .content_length
                    .store(self.scan.content_length, Ordering::Relaxed);
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
        found.edits
    }

    /// Puts what was edited before into a buffer, as far as it fits.
    fn put_edited(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.edited.len().min(buf.remaining());
        buf.put_slice(&self.edited[..count]);
        self.edited.advance(count);
    }

    /// An error when the head in progress takes too long.
    fn check_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.watch.phase.load(Ordering::Relaxed) != HEAD || self.scan.complete {
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

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.edited.is_empty() {
            this.put_edited(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Pending => match this.check_deadline(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            Poll::Ready(Ok(())) => {
                let read = &buf.filled()[before..];
                if !read.is_empty() {
                    let edits = this.saw(read);
                    if !edits.is_empty() {
                        this.edited = scan::edited(read, &edits).into();
                        buf.set_filled(before);
                        this.put_edited(buf);
                    }
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
    use crate::server::watch::HeadFraming;

    fn head(pieces: &[&str]) -> (HeadFraming, Arc<Watch>) {
        let watch = Watch::new();
        let mut watched = Watched::new((), watch.clone(), Duration::from_secs(1));
        for piece in pieces {
            watched.saw(piece.as_bytes());
        }
        (watch.begin(None), watch)
    }

    /// The request and its answer are over.
    fn both_end(watch: &Watch) {
        watch.finish();
        watch.finish();
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
            both_end(&watch);
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
        both_end(&watch);
        assert!(watch.aligned.load(Ordering::Relaxed));
        watched.saw(head);
        watch.begin(None);
        both_end(&watch);
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
        both_end(&watch);
        assert!(watch.aligned.load(Ordering::Relaxed));
        watched.saw(b"GET / HTTP/1.1\r\n\r\nGET");
        watch.begin(Some(0));
        both_end(&watch);
        assert!(!watch.aligned.load(Ordering::Relaxed), "a pipelined request");
    }
}
