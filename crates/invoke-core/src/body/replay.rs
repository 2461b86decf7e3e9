//! A body that several attempts of one call may send.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::{Body, BodyError};
use crate::sync::{Mutex, MutexGuard};

/// Lends one body to one attempt after the other.
///
/// A body that is at hand is cloned by reference count. Of a stream, the pieces that went by are kept (as the
/// `Bytes` that they are, nothing is copied) up to a bound, and only while another attempt is possible; beyond
/// the bound they are let go and the body goes on, but cannot be sent again. A stream of which nothing was read
/// can be lent again whatever its length.
///
/// Of a stream only the latest attempt gets anything. A connection lets go of a body some time after its call has, and
/// would else read on what the next attempt needs.
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
    /// How many pieces went by, whether they were kept or not.
    passed: usize,
    /// Whether a piece went by that was not kept.
    lost: bool,
    /// Which attempt is the latest.
    latest: u32,
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
            passed: 0,
            lost: false,
            latest: 0,
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

    /// The body for one attempt, from its first byte. That of the attempt before breaks if it is a stream.
    pub fn attempt(&self) -> Body {
        match &self.0 {
            Source::AtHand(data) => Body::full(data.clone()),
            Source::Stream(shared) => {
                let (number, hint) = {
                    let mut shared = lock(shared);
                    shared.latest += 1;
                    // Whoever waits hears that it is not the latest any more.
                    shared.wake();
                    (shared.latest, shared.hint)
                };
                Body::stream(Attempt {
                    shared: Arc::clone(shared),
                    number,
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
    number: u32,
    /// The kept piece that is to be sent next.
    next: usize,
    sent: u64,
    rest: Option<Body>,
    hint: SizeHint,
}

impl Attempt {
    /// A piece that an earlier attempt kept, or the loan of the rest.
    fn poll_kept(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let mut shared = lock(&self.shared);
        if shared.latest != self.number {
            shared.take_back(self.rest.take());
            return Poll::Ready(Err(BodyError::Superseded));
        }
        if self.rest.is_some() {
            return Poll::Ready(Ok(None));
        }
        if let Some(piece) = shared.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Ok(Some(piece.clone())));
        }
        if self.next < shared.passed {
            // The rest alone would look like a whole body.
            return Poll::Ready(Err(BodyError::Lost));
        }
        self.rest = shared.rest.take();
        if self.rest.is_none() {
            // An attempt that failed has not been dropped yet; it hands the rest back when it is.
            shared.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(None))
    }

    fn keep(&mut self, data: &Bytes) {
        let mut shared = lock(&self.shared);
        shared.passed += 1;
        if shared.latest != self.number {
            // The next attempt began while this piece was read, and needs it, whatever the bound. It is the only one.
            shared.kept_len += data.len() as u64;
            shared.kept.push(data.clone());
            return;
        }
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

impl Shared {
    /// An attempt needs the rest no more.
    fn take_back(&mut self, rest: Option<Body>) {
        if rest.is_some() {
            self.rest = rest;
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
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
        if let Some(piece) = ready!(this.poll_kept(cx))? {
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
            let mut shared = lock(&this.shared);
            shared.passed += 1;
            shared.lost = true;
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
            lock(&self.shared).take_back(Some(rest));
        }
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;

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

    async fn frame(body: &mut Body) -> Result<Bytes, BodyError> {
        let frame = body.frame().await.unwrap();
        frame.map(|frame| frame.into_data().unwrap())
    }

    #[tokio::test]
    async fn an_attempt_that_goes_on_takes_nothing_from_the_next() {
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(8);
        let replay = Replay::new(Body::stream(body), 2);
        for piece in ["a", "b", "c"] {
            sender.send_data(piece.into()).await.unwrap();
        }
        drop(sender);
        let mut first = replay.attempt();
        assert_eq!(frame(&mut first).await.unwrap(), "a");
        assert_eq!(frame(&mut first).await.unwrap(), "b");
        let mut second = replay.attempt();
        assert_eq!(frame(&mut second).await.unwrap(), "a");
        // Its connection has not heard yet. The next piece would be more than is kept.
        assert!(matches!(frame(&mut first).await, Err(BodyError::Superseded)));
        assert_eq!(all(second).await, "bc");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_hears_of_a_later_attempt() {
        let (_sender, body) = Channel::<Bytes, BodyError>::new(8);
        let replay = Replay::new(Body::stream(body), 2);
        let mut first = replay.attempt();
        let read = tokio::time::timeout(std::time::Duration::ZERO, first.frame()).await;
        assert!(read.is_err(), "it has the rest, of which nothing came");
        let mut second = replay.attempt();
        let second = tokio::spawn(async move { frame(&mut second).await });
        tokio::task::yield_now().await;
        let _third = replay.attempt();
        assert!(matches!(second.await.unwrap(), Err(BodyError::Superseded)));
    }

    #[tokio::test]
    async fn a_part_is_not_taken_for_the_whole() {
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(8);
        let replay = Replay::new(Body::stream(body), 1);
        sender.send_data("ab".into()).await.unwrap();
        drop(sender);
        frame(&mut replay.attempt()).await.unwrap();
        assert!(!replay.is_possible());
        assert!(matches!(frame(&mut replay.attempt()).await, Err(BodyError::Lost)));
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
