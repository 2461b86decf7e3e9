//! Whether the other side speaks HTTP/2 at all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::tls;
use crate::writes::pass_writes_on;

/// The length of a frame's head, and where its kind stands (RFC 9113, section 4.1).
const FRAME_HEAD: usize = 9;
const KIND: usize = 3;
const SETTINGS: u8 = 4;

/// A stream that notes when the first frame begins, which must be SETTINGS (RFC 9113, section 3.4). A server that
/// wants TLS, or another protocol, never comes so far, and what fails then is not a call.
pub(super) struct Greeting<S> {
    io: S,
    /// `None` once the frame was there, or cannot come any more.
    awaited: Option<(Arc<AtomicBool>, usize)>,
}

impl<S> Greeting<S> {
    /// The stream, and whether the frame was there.
    pub(super) fn await_on(io: S) -> (Self, Arc<AtomicBool>) {
        let is_there = Arc::new(AtomicBool::new(false));
        let awaited = Some((Arc::clone(&is_there), 0));
        (Self { io, awaited }, is_there)
    }

    fn look_at(&mut self, bytes: &[u8]) {
        let Some((is_there, seen)) = &mut self.awaited else {
            return;
        };
        let kind = KIND.checked_sub(*seen).and_then(|at| bytes.get(at));
        if kind.is_some_and(|kind| *kind != SETTINGS) {
            self.awaited = None;
            return;
        }
        *seen = seen.saturating_add(bytes.len());
        if *seen >= FRAME_HEAD {
            is_there.store(true, Ordering::Release);
            self.awaited = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        if this.awaited.is_some() {
            this.look_at(&buf.filled()[before..]);
            // Only its text survives the layers above.
            return polled.map_err(|error| io::Error::new(error.kind(), tls::go_words(&error)));
        }
        polled
    }
}

pass_writes_on!(Greeting);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_is_looked_for_in_any_cut() {
        let settings = [0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        let alert = [21, 3, 3, 0, 2, 2, 40];
        let greeted = |bytes: &[u8], cut: usize| {
            let (mut greeting, is_there) = Greeting::await_on(());
            for piece in bytes.chunks(cut) {
                greeting.look_at(piece);
            }
            is_there.load(Ordering::Acquire)
        };
        for cut in 1..=15 {
            assert!(greeted(&settings, cut), "{cut}");
            assert!(!greeted(&settings[..8], cut), "{cut}");
            assert!(!greeted(&alert, cut), "{cut}");
            assert!(!greeted(b"HTTP/1.1 400 Bad Request", cut), "{cut}");
        }
    }
}
