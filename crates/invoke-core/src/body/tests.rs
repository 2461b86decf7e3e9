//! Bodies, how they are taken in, and how they end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body::Body as _;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};

use super::*;

async fn pieces(pieces: &[&'static str]) -> Channel<Bytes, BodyError> {
    let (mut sender, body) = Channel::new(pieces.len());
    for piece in pieces {
        sender
            .send_data(Bytes::from_static(piece.as_bytes()))
            .await
            .unwrap();
    }
    body
}

#[tokio::test]
async fn what_has_come_already_is_one_piece() {
    let whole = Body::take_in(Full::new(Bytes::from_static(b"abc"))).await;
    assert_eq!(whole.as_full(), Some(&b"abc"[..]));
    assert_eq!(
        Body::take_in(Full::new(Bytes::new())).await.as_full(),
        Some(&b""[..])
    );
    let late = Body::take_in(pieces(&["a", "b"]).await).await;
    assert_eq!(late.as_full(), None, "an end that has not come is not guessed");
    assert_eq!(late.collect().await.unwrap().to_bytes(), "ab");
    let (sender, body) = Channel::<Bytes, BodyError>::new(1);
    let nothing = Body::take_in(body).await;
    sender.abort(BodyError::TooLarge);
    assert!(
        nothing.collect().await.is_err(),
        "nobody waits for what has not come"
    );
}

#[tokio::test]
async fn a_small_body_of_declared_length_is_one_piece() {
    let body = Body::receive(Full::new(Bytes::from_static(b"abc")))
        .await
        .unwrap();
    assert_eq!(body.as_full(), Some(b"abc".as_slice()));
    assert_eq!(body.size_hint().exact(), Some(3));
}

#[tokio::test]
async fn a_body_of_unknown_length_is_not_awaited() {
    let body = Body::receive(pieces(&["a", "b"]).await).await.unwrap();
    assert_eq!(body.as_full(), None);
    assert!(!body.has_known_length());
    assert_eq!(body.collect().await.unwrap().to_bytes(), "ab");
}

#[test]
fn an_empty_piece_is_an_empty_body() {
    assert!(Body::full(Bytes::new()).is_end_stream());
    assert!(!Body::full("x").is_end_stream());
}

/// What is told of a body, once or more.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<String>>>);

impl Ends {
    fn of(&self, body: Body) -> Body {
        let ends = self.clone();
        body.on_end(move |end, bytes| ends.0.lock().unwrap().push(format!("{end:?} {bytes}")))
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).join(" ")
    }
}

async fn two() -> Body {
    Body::stream(pieces(&["a", "b"]).await)
}

fn broken() -> Body {
    let (sender, body) = Channel::<Bytes, BodyError>::new(1);
    sender.abort(BodyError::TooLarge);
    Body::stream(body)
}

#[tokio::test]
async fn the_end_is_told_once() {
    let ends = Ends::default();
    let full = || Body::full("abc");
    // Read to the end, as clients and servers do.
    for (body, wanted) in [
        (Body::empty(), "Whole 0"),
        (full(), "Whole 3"),
        (two().await, "Whole 2"),
        (broken(), "Failed(TooLarge) 0"),
    ] {
        let mut body = ends.of(body);
        while let Some(Ok(_)) = body.frame().await {}
        assert_eq!(ends.take(), wanted);
        drop(body);
        assert_eq!(ends.take(), "", "nothing is told twice");
    }
    // Dropped before that.
    for (body, wanted) in [
        (Body::empty(), "Whole 0"),
        (full(), "Dropped 0"),
        (two().await, "Dropped 0"),
        (broken(), "Dropped 0"),
    ] {
        drop(ends.of(body));
        assert_eq!(ends.take(), wanted);
    }
    assert!(ends.of(full()).take_full().is_some());
    assert_eq!(ends.take(), "Whole 3");
}

#[tokio::test]
async fn who_stops_after_the_last_byte_has_read_the_whole() {
    let ends = Ends::default();
    let replay = Replay::new(Body::stream(Full::new(Bytes::from_static(b"abc"))), 0);
    let mut body = ends.of(replay.attempt());
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(ends.take(), "Whole 3");
    let mut body = ends.of(Body::full("b").preceded_by(Ok(Frame::data("a".into()))));
    body.frame().await.unwrap().unwrap();
    assert_eq!(ends.take(), "");
    body.frame().await.unwrap().unwrap();
    assert_eq!(ends.take(), "Whole 2", "the last frame says that it is the last");
}

#[tokio::test]
async fn trailers_are_the_end() {
    let (mut sender, body) = Channel::<Bytes, BodyError>::new(2);
    sender.send_trailers(http::HeaderMap::new()).await.unwrap();
    let ends = Ends::default();
    let mut body = ends.of(Body::stream(body));
    body.frame().await.unwrap().unwrap();
    assert_eq!(ends.take(), "Whole 0");
}

#[tokio::test]
async fn all_who_ask_are_told() {
    let (first, second, third) = (Ends::default(), Ends::default(), Ends::default());
    let mut body = third.of(second.of(first.of(two().await)));
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!([first, second, third].map(|ends| ends.take()), ["Dropped 1"; 3]);
}

#[tokio::test]
async fn what_a_body_holds_goes_with_its_last_byte() {
    let place = Arc::new(());
    let mut body = two().await.holding(Arc::clone(&place));
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(Arc::strong_count(&place), 2);
    while body.frame().await.is_some() {}
    assert_eq!(Arc::strong_count(&place), 1);
    let at_hand = Body::full("abc").holding(Arc::clone(&place));
    assert_eq!(Arc::strong_count(&place), 1, "all of it has come");
    drop(at_hand);
}

#[tokio::test(start_paused = true)]
async fn a_late_end_breaks_the_body() {
    let soon = Instant::now() + Duration::from_secs(1);
    let ends = Ends::default();
    let (mut sender, body) = Channel::<Bytes, BodyError>::new(2);
    sender.send_data("a".into()).await.unwrap();
    let mut body = ends.of(Body::stream(body)).until(soon);
    assert!(body.frame().await.unwrap().is_ok());
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "context deadline exceeded");
    assert_eq!(Instant::now(), soon);
    assert_eq!(ends.take(), "Failed(DeadlineExceeded) 1");
    assert!(body.frame().await.is_none());
    assert!(
        sender.send_data("b".into()).await.is_err(),
        "the sender learns that nobody reads"
    );
    let at_hand = Body::full("abc").until(soon);
    assert_eq!(at_hand.collect().await.unwrap().to_bytes(), "abc");
}

/// Two pieces, of which the second look shows that there is no third.
#[tokio::test]
async fn an_end_that_shows_at_the_second_look_is_seen() {
    struct Late(Vec<Option<&'static str>>, bool);
    impl http_body::Body for Late {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            if self.0.is_empty() {
                self.1 = true;
                return Poll::Ready(None);
            }
            match self.0.remove(0) {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
                None => Poll::Pending,
            }
        }

        fn is_end_stream(&self) -> bool {
            self.1
        }
    }
    for (frames, at_hand) in [
        (vec![], Some("")),
        (vec![Some("a")], Some("a")),
        (vec![Some("a"), None], None),
        (vec![Some("a"), Some("b")], None),
        (vec![None], None),
    ] {
        let all: String = frames.iter().flatten().copied().collect();
        let waits = frames.contains(&None);
        let body = Body::take_in(Late(frames.clone(), false)).await;
        assert_eq!(body.as_full(), at_hand.map(str::as_bytes));
        let streamed = Body::take_in_stream(Late(frames, false)).await;
        assert_eq!(
            streamed.as_full().is_some(),
            all.is_empty() && !waits,
            "it stays a stream"
        );
        if !waits {
            assert_eq!(body.collect().await.unwrap().to_bytes(), all);
        }
    }
}

#[tokio::test]
async fn what_breaks_has_no_length() {
    let broken = || Err(BodyError::Protocol("broken".into()));
    for body in [Body::empty(), Body::full("rest")] {
        let mut body = body.preceded_by(broken());
        assert_eq!(body.size_hint().exact(), None);
        assert!(!body.is_end_stream());
        assert!(body.frame().await.unwrap().is_err());
    }
}
