//! Answers of the metrics port that are on their way: a bound on what scrapers can hold that do not read.
//!
//! An exposition may have megabytes, and each scraper has one of its own. Those that read are done in a moment. When there
//! are more than a few on their way, the one that began first gives up what it has not handed on: its scraper sees that
//! the answer breaks off, and holds a connection and what is in its buffers.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// So many may be on their way as a whole.
const MOST: usize = 4;
/// How much is handed on at once.
const PIECE: usize = 32 * 1024;

/// What of an answer is still to be handed on; nothing once it was given up.
type Rest = Mutex<Option<Bytes>>;

/// The answers that are on their way. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<Mutex<VecDeque<Weak<Rest>>>>);

/// The body of one answer.
#[derive(Debug)]
pub(super) struct Exposed {
    rest: Arc<Rest>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answers {
    /// One more; if that are too many, the oldest gives way.
    pub(super) fn begin(&self, text: Bytes) -> Exposed {
        let rest = Arc::new(Mutex::new(Some(text)));
        let mut all = lock(&self.0);
        all.retain(|answer| answer.strong_count() > 0);
        all.push_back(Arc::downgrade(&rest));
        while all.len() > MOST {
            if let Some(oldest) = all.pop_front().and_then(|oldest| oldest.upgrade()) {
                lock(&oldest).take();
            }
        }
        Exposed { rest }
    }
}

impl Body for Exposed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut rest = lock(&self.rest);
        let Some(rest) = rest.as_mut() else {
            let text = "it was not read while others wanted theirs";
            return Poll::Ready(Some(Err(io::Error::other(text))));
        };
        if rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        // A piece must not keep the whole of it: what is buffered for a scraper that does not read stays.
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&piece)))))
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.rest).as_ref().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.rest)
            .as_ref()
            .map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn read(body: Exposed) -> io::Result<Bytes> {
        Ok(body.collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn answers_are_whole_as_long_as_there_are_few() {
        let answers = Answers::default();
        let text = Bytes::from("x".repeat(3 * PIECE + 7));
        for _ in 0..3 * MOST {
            let body = answers.begin(text.clone());
            assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
            assert_eq!(read(body).await.unwrap(), text);
        }
        assert_eq!(read(answers.begin(Bytes::new())).await.unwrap(), "");
        let many: Vec<_> = (0..MOST).map(|_| answers.begin(text.clone())).collect();
        for body in many {
            assert_eq!(read(body).await.unwrap(), text);
        }
    }

    #[tokio::test]
    async fn the_oldest_gives_way() {
        let answers = Answers::default();
        let text = Bytes::from(vec![b'x'; 3 * PIECE]);
        let mut oldest = answers.begin(text.clone());
        oldest.frame().await.unwrap().unwrap();
        let others: Vec<_> = (0..MOST).map(|_| answers.begin(text.clone())).collect();
        assert!(read(oldest).await.is_err());
        for body in others {
            assert_eq!(read(body).await.unwrap(), text);
        }
    }
}
