//! Dropping anything frees its stream at the peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::Response;

use crate::frame::{flag, kind, setting};
use crate::state::tests::NOTHING;
use crate::testing::*;
use crate::{Config, Reason};

const END: u8 = flag::END_STREAM;

#[tokio::test]
async fn a_call_that_waits_for_its_answer() {
    for body in [empty(), full("body"), pieces().1, full(vec![7; 1 << 20])] {
        let mut connected = connected().await;
        let call = connected.call(post(body));
        connected.peer.next(&[kind::HEADERS]).await;
        connected.peer.sync().await;
        call.abort();
        assert_eq!(connected.peer.reset().await, (1, Reason::CANCEL));
        until(|| connected.shared.lock().left() == NOTHING).await;
        // What was on its way is thrown away, and its window given back.
        let late = [
            headers(0, 1, HEAD_OK),
            data(0, 1, "late"),
            window_update(1, 1),
            headers(END, 1, FIELD),
        ];
        connected.peer.send(late.concat()).await;
        let seen = connected.peer.sync().await;
        assert!(seen.iter().all(|frame| frame.stream != 1), "{seen:?}");
        assert_eq!(connected.shared.lock().left(), NOTHING);
    }
}

#[tokio::test]
async fn a_call_that_waits_for_its_turn() {
    let limit = (setting::MAX_CONCURRENT_STREAMS, 0);
    let mut connected = connected_with(Config::default(), &[limit], 1 << 20).await;
    let call = connected.call(post(empty()));
    connected.peer.sync().await;
    call.abort();
    assert!(soon(call).await.is_err());
    connected
        .peer
        .send(settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)]))
        .await;
    let seen = connected.peer.sync().await;
    assert!(seen.iter().all(|frame| frame.stream == 0), "{seen:?}");
}

#[tokio::test]
async fn the_body_of_an_answer() {
    let mut connected = connected().await;
    let call = connected.call(post(pieces().1));
    connected.peer.next(&[kind::HEADERS]).await;
    connected
        .peer
        .send([headers(0, 1, HEAD_OK), data(0, 1, "unread")].concat())
        .await;
    let answer = soon(call).await.unwrap().unwrap();
    drop(answer);
    assert_eq!(connected.peer.reset().await, (1, Reason::CANCEL));
    until(|| connected.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn the_body_of_an_answer_that_is_whole_does_not_stop_the_request() {
    let mut connected = connected().await;
    let (mut sender, body) = pieces();
    let call = connected.call(post(body));
    connected.peer.next(&[kind::HEADERS]).await;
    connected.peer.send(headers(END, 1, HEAD_OK)).await;
    drop(soon(call).await.unwrap().unwrap());
    soon(sender.send_data("more".into())).await.unwrap();
    drop(sender);
    assert_eq!(connected.peer.next(&[kind::DATA]).await.payload, b"more");
    assert!(connected.peer.next(&[kind::DATA]).await.is_end());
    until(|| connected.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn a_request_body_that_fails() {
    let mut connected = connected().await;
    let (sender, body) = pieces();
    let call = connected.call(post(body));
    connected.peer.next(&[kind::HEADERS]).await;
    sender.abort("a failure".into());
    assert_eq!(connected.peer.reset().await, (1, Reason::INTERNAL_ERROR));
    let error = soon(call).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, crate::Error::Body(_)) && error.to_string() == "a failure",
        "{error:?}"
    );
    until(|| connected.shared.lock().left() == NOTHING).await;
}

/// Counts those that were not dropped.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_is_dropped_at_the_server() {
    let alive = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&alive);
    let mut served = served(move |request| {
        let alive = Alive::new(&count);
        async move {
            let _alive = alive;
            never(request).await
        }
    })
    .await;
    served
        .peer
        .send([headers(0, 1, POST), headers(END, 3, POST), headers(0, 5, POST)].concat())
        .await;
    until(|| alive.load(Relaxed) == 3).await;
    served
        .peer
        .send([reset(1, Reason::CANCEL), reset(3, Reason::from(77))].concat())
        .await;
    until(|| alive.load(Relaxed) == 1).await;
    // What breaks the protocol ends as early.
    served.peer.send(window_update(5, 0)).await;
    until(|| alive.load(Relaxed) == 0).await;
    until(|| served.shared.lock().left() == NOTHING).await;
    // And the end of the connection.
    served.peer.send(headers(0, 7, POST)).await;
    until(|| alive.load(Relaxed) == 1).await;
    drop(served.peer);
    until(|| alive.load(Relaxed) == 0).await;
}

#[tokio::test]
async fn calls_that_are_given_up_at_once_never_begin() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let mut served = served(move |request| {
        count.fetch_add(1, Relaxed);
        never(request)
    })
    .await;
    let both = |id| [headers(0, id, POST), reset(id, Reason::CANCEL)].concat();
    served
        .peer
        .send([both(1), both(3), headers(0, 5, POST)].concat())
        .await;
    served.peer.sync().await;
    assert_eq!(begun.load(Relaxed), 1);
    assert_eq!(served.shared.lock().left().streams, 1);
}

#[tokio::test]
async fn an_answer_that_its_client_gives_up_drops_its_body() {
    let alive = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&alive);
    let mut served = served(move |_| {
        let alive = Alive::new(&count);
        async move {
            let (mut sender, body) = pieces();
            tokio::spawn(async move {
                let _alive = alive;
                while sender.send_data(vec![7; 1000].into()).await.is_ok() {}
            });
            Response::new(body)
        }
    })
    .await;
    served.peer.send(headers(END, 1, POST)).await;
    served.peer.next(&[kind::DATA]).await;
    served.peer.send(reset(1, Reason::CANCEL)).await;
    until(|| alive.load(Relaxed) == 0).await;
    until(|| served.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn an_answer_whose_body_fails_resets_its_stream() {
    let mut served = served(|_| async {
        let (sender, body) = pieces();
        sender.abort("a failure".into());
        Response::new(body)
    })
    .await;
    served.peer.send(headers(END, 1, POST)).await;
    assert_eq!(served.peer.reset().await, (1, Reason::INTERNAL_ERROR));
    until(|| served.shared.lock().left() == NOTHING).await;
}
