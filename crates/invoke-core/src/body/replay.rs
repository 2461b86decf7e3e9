//! A body that several attempts of one call may send.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::{Body, BodyError};

/// Lends one body to one attempt after the other.
///
/// A body that is at hand is cloned by reference count. Of a stream, the pieces that went by are kept (as the
/// `Bytes` that they are, nothing is copied) up to a bound, and only while another attempt is possible; beyond
/// the bound they are let go and the body goes on, but cannot be sent again. A stream of which nothing was read
/// can be lent again whatever its length.
#[derive(Debug)]
pub struct Replay(Source);

#[derive(Debug)]
enum Source {
    AtHand(Bytes),
    Stream(Arc<Mutex<Shared>>),
}

#[derive(Debug)]
struct Shared {
    kept: Vec<Bytes>,
    kept_len: u64,
    /// How much may be kept; 0 once no further attempt is possible.
    bound: u64,
    /// Whether a piece went by that was not kept.
    lost: bool,
    /// The part that nobody has read yet; lent to the attempt that reads it.
    rest: Option<Body>,
    hint: SizeHint,
    waiting: Option<Waker>,
}

impl Replay {
    /// Takes the body of a call; `bound` is how many bytes of a stream may be kept.
    pub fn new(mut body: Body, bound: u64) -> Self {
        if let Some(data) = body.take_full() {
            return Self(Source::AtHand(data));
        }
        let hint = body.size_hint();
        Self(Source::Stream(Arc::new(Mutex::new(Shared {
            kept: Vec::new(),
            kept_len: 0,
            bound,
            lost: false,
            rest: Some(body),
            hint,
            waiting: None,
        }))))
    }

    /// Whether another attempt could send the whole body.
    pub fn is_possible(&self) -> bool {
        match &self.0 {
            Source::AtHand(_) => true,
            Source::Stream(shared) => !lock(shared).lost,
        }
    }

    /// Whether two attempts could send it at once.
    pub fn is_at_hand(&self) -> bool {
        matches!(self.0, Source::AtHand(_))
    }

    /// The body for one attempt, from its first byte.
    pub fn attempt(&self) -> Body {
        match &self.0 {
            Source::AtHand(data) => Body::full(data.clone()),
            Source::Stream(shared) => {
                let hint = lock(shared).hint;
                Body::stream(Attempt {
                    shared: Arc::clone(shared),
                    next: 0,
                    sent: 0,
                    rest: None,
                    hint,
                })
            }
        }
    }

    /// Says that no further attempt will follow: what was kept is let go.
    pub fn commit(self) {
        if let Source::Stream(shared) = self.0 {
            let mut shared = lock(&shared);
            shared.bound = 0;
            shared.lost = true;
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Attempt {
    shared: Arc<Mutex<Shared>>,
    /// The kept piece that is to be sent next.
    next: usize,
    sent: u64,
    rest: Option<Body>,
    hint: SizeHint,
}

impl Attempt {
    /// A piece that an earlier attempt kept, or the loan of the rest.
    fn poll_kept(&mut self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut shared = lock(&self.shared);
        if self.rest.is_some() {
            return Poll::Ready(None);
        }
        if let Some(piece) = shared.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(piece.clone()));
        }
        self.rest = shared.rest.take();
        if self.rest.is_none() {
            // An attempt that failed has not been dropped yet; it hands the rest back when it is.
            shared.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(None)
    }

    fn keep(&mut self, data: &Bytes) {
        let mut shared = lock(&self.shared);
        if shared.lost {
            shared.kept.clear();
            return;
        }
        shared.kept_len += data.len() as u64;
        if shared.kept_len > shared.bound {
            shared.lost = true;
            shared.kept = Vec::new();
        } else {
            shared.kept.push(data.clone());
            self.next = shared.kept.len();
        }
    }
}

impl http_body::Body for Attempt {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.rest.is_none()
            && let Some(piece) = ready!(this.poll_kept(cx))
        {
            this.sent += piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(rest) = this.rest.as_mut() else {
            return Poll::Ready(None);
        };
        let next = ready!(Pin::new(rest).poll_frame(cx));
        if let Some(Ok(frame)) = &next
            && let Some(data) = frame.data_ref()
        {
            this.sent += data.len() as u64;
            let data = data.clone();
            this.keep(&data);
        }
        if let Some(Err(_)) = &next {
            lock(&this.shared).lost = true;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match self.hint.exact() {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.sent)),
            None => SizeHint::new(),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take() {
            let mut shared = lock(&self.shared);
            shared.rest = Some(rest);
            if let Some(waker) = shared.waiting.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, channel::Channel};

    use super::*;

    async fn all(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_at_hand_is_sent_again() {
        let replay = Replay::new(Body::full("abc"), 0);
        assert_eq!(all(replay.attempt()).await, "abc");
        assert!(replay.is_possible());
        assert_eq!(all(replay.attempt()).await, "abc");
    }

    #[tokio::test]
    async fn a_stream_is_kept_up_to_the_bound() {
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(8);
        let replay = Replay::new(Body::stream(body), 6);
        sender.send_data("abc".into()).await.unwrap();
        let mut first = replay.attempt();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        drop(first);
        assert!(replay.is_possible());

        sender.send_data("def".into()).await.unwrap();
        let mut second = replay.attempt();
        assert_eq!(second.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!(second.frame().await.unwrap().unwrap().into_data().unwrap(), "def");
        sender.send_data("g".into()).await.unwrap();
        assert!(replay.is_possible());
        assert_eq!(second.frame().await.unwrap().unwrap().into_data().unwrap(), "g");
        assert!(!replay.is_possible());
    }

    #[tokio::test]
    async fn an_untouched_stream_can_be_lent_again() {
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(8);
        let replay = Replay::new(Body::stream(body), 0);
        drop(replay.attempt());
        assert!(replay.is_possible());
        sender.send_data("abc".into()).await.unwrap();
        drop(sender);
        assert_eq!(all(replay.attempt()).await, "abc");
        assert!(!replay.is_possible());
    }

    #[tokio::test]
    async fn after_the_commit_nothing_is_kept() {
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(8);
        let replay = Replay::new(Body::stream(body), 100);
        let mut attempt = replay.attempt();
        sender.send_data("abc".into()).await.unwrap();
        attempt.frame().await.unwrap().unwrap();
        let shared = match &replay.0 {
            Source::Stream(shared) => Arc::clone(shared),
            Source::AtHand(_) => unreachable!("a stream"),
        };
        replay.commit();
        sender.send_data("def".into()).await.unwrap();
        attempt.frame().await.unwrap().unwrap();
        assert!(lock(&shared).kept.is_empty());
    }

    #[tokio::test]
    async fn a_new_attempt_waits_for_the_rest_that_the_old_one_holds() {
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(8);
        let replay = Replay::new(Body::stream(body), 100);
        let mut first = replay.attempt();
        sender.send_data("a".into()).await.unwrap();
        first.frame().await.unwrap().unwrap();
        let second = replay.attempt();
        let reader = tokio::spawn(all(second));
        tokio::task::yield_now().await;
        drop(first);
        sender.send_data("b".into()).await.unwrap();
        drop(sender);
        assert_eq!(reader.await.unwrap(), "ab");
    }
}
