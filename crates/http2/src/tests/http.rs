//! What servers of more than gRPC need: HEAD, `Expect`, uploads that are answered early, and the way up from HTTP/1.1.

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::duplex;
use tokio::time::Duration;

use crate::config::Linger;
use crate::frame::{PREFACE, flag, kind, setting};
use crate::state::tests::NOTHING;
use crate::testing::*;
use crate::{Config, Error, Reason, RecvBody, server};

const END: u8 = flag::END_STREAM;
/// `HEAD /` over http, as a header block.
const HEAD: &[u8] = &[0x02, 4, b'H', b'E', b'A', b'D', 0x86, 0x84];
/// `expect: 100-continue`
const EXPECT: &[u8] = b"\x0f\x14\x0c100-continue";

fn lingering() -> Config {
    Config {
        linger: Some(Linger {
            bytes: 100_000,
            time: Duration::from_secs(2),
        }),
        ..Config::default()
    }
}

async fn five(_: Request<RecvBody>) -> Response<Body> {
    Response::new(full("12345"))
}

#[tokio::test]
async fn the_answer_to_head_has_no_data() {
    let mut served = served(five).await;
    served.peer.send(headers(END, 1, HEAD)).await;
    assert!(served.peer.next(&[kind::HEADERS, kind::DATA]).await.is_end());
    served.peer.send(headers(END, 3, POST)).await;
    assert!(!served.peer.next(&[kind::HEADERS]).await.is_end());
    assert_eq!(served.peer.next(&[kind::DATA]).await.payload, b"12345");
    until(|| served.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn answers_without_content_have_none() {
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let mut served = served(move |_| async move {
            let mut answer = Response::new(full("12345"));
            *answer.status_mut() = status;
            answer
        })
        .await;
        served.peer.send(headers(END, 1, POST)).await;
        assert!(served.peer.next(&[kind::HEADERS, kind::DATA]).await.is_end());
    }
}

#[tokio::test]
async fn a_client_is_asked_for_its_body_once_and_when_it_is_read() {
    let mut served = served(echo).await;
    let block = [POST, EXPECT].concat();
    served.peer.send(headers(0, 1, &block)).await;
    let asked = served.peer.next(&[kind::HEADERS]).await;
    assert!(!asked.is_end());
    assert!(asked.payload.ends_with(b"100"), "{asked:?}");
    served.peer.send(data(0, 1, b"abc")).await;
    served.peer.send(data(END, 1, b"de")).await;
    assert_eq!(served.peer.next(&[kind::HEADERS]).await.payload, HEAD_OK);
    assert_eq!(served.peer.next(&[kind::DATA]).await.payload, b"abcde");
    // Whoever has sent it, or has none, is not asked.
    served
        .peer
        .send([headers(0, 3, &block), data(END, 3, b"x")].concat())
        .await;
    assert_eq!(served.peer.next(&[kind::HEADERS]).await.payload, HEAD_OK);
    served.peer.send(headers(END, 5, &block)).await;
    assert_eq!(served.peer.next(&[kind::HEADERS]).await.payload, HEAD_OK);
}

#[tokio::test]
async fn an_answered_upload_may_end_by_itself() {
    let mut served = served_with(lingering(), &[], 1 << 20, at_once).await;
    served.peer.send(headers(0, 1, POST)).await;
    assert!(served.peer.next(&[kind::HEADERS]).await.is_end());
    // More than the window that the stream had at first.
    for _ in 0..6 {
        served.peer.send(data(0, 1, vec![0; 15_000])).await;
    }
    let seen = served.peer.sync().await;
    assert!(
        seen.iter().all(|frame| frame.kind != kind::RST_STREAM),
        "{seen:?}"
    );
    assert_eq!(served.shared.lock().left().streams, 1);
    served.peer.send(headers(END, 1, FIELD)).await;
    let seen = served.peer.sync().await;
    assert!(
        seen.iter().all(|frame| frame.kind != kind::RST_STREAM),
        "{seen:?}"
    );
    until(|| served.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn an_answered_upload_of_known_length_needs_its_end_alone() {
    let mut served = served_with(lingering(), &[], 1 << 20, at_once).await;
    served.peer.send(headers(0, 1, [POST, LENGTH_5].concat())).await;
    served.peer.send(data(0, 1, b"12345")).await;
    assert!(served.peer.next(&[kind::HEADERS]).await.is_end());
    assert!(served.peer.sync().await.is_empty());
    served.peer.send(data(END, 1, b"")).await;
    until(|| served.shared.lock().left() == NOTHING).await;
    assert!(served.peer.sync().await.is_empty());
}

#[tokio::test]
async fn an_answered_upload_is_reset_when_it_has_had_its_share() {
    let mut served = served_with(lingering(), &[], 1 << 20, at_once).await;
    served.peer.send(headers(0, 1, POST)).await;
    assert!(served.peer.next(&[kind::HEADERS]).await.is_end());
    for _ in 0..10 {
        served.peer.send(data(0, 1, vec![0; 10_000])).await;
    }
    assert_eq!(served.peer.reset().await, (1, Reason::NO_ERROR));
    until(|| served.shared.lock().left() == NOTHING).await;
}

#[tokio::test(start_paused = true)]
async fn an_answered_upload_is_reset_when_its_time_is_over() {
    let mut served = served_with(lingering(), &[], 1 << 20, at_once).await;
    served.peer.send(headers(0, 1, POST)).await;
    assert!(served.peer.next(&[kind::HEADERS]).await.is_end());
    let begun = tokio::time::Instant::now();
    assert_eq!(served.peer.reset().await, (1, Reason::NO_ERROR));
    assert_eq!(begun.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answered_upload_that_is_read_has_all_the_time() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let service = move |request: Request<RecvBody>| {
        let sender = sender.lock().unwrap().take();
        async move {
            let _ = sender.unwrap().send(request.into_body());
            Response::new(empty())
        }
    };
    let mut served = served_with(lingering(), &[], 1 << 20, service).await;
    served.peer.send(headers(0, 1, POST)).await;
    assert!(served.peer.next(&[kind::HEADERS]).await.is_end());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let body = receiver.await.unwrap();
    served.peer.send(data(END, 1, b"late")).await;
    assert_eq!(body.collect().await.unwrap().to_bytes(), "late");
}

#[tokio::test]
async fn an_upload_that_is_reset_lingers_no_more() {
    let mut served = served_with(lingering(), &[], 1 << 20, at_once).await;
    served.peer.send(headers(0, 1, POST)).await;
    assert!(served.peer.next(&[kind::HEADERS]).await.is_end());
    served.peer.send(reset(1, Reason::CANCEL)).await;
    until(|| served.shared.lock().left() == NOTHING).await;
}

/// A connection that was upgraded with these settings, and its client, which has said nothing yet.
fn upgraded(settings: &[u8]) -> Result<Served, Error> {
    let (io, other) = duplex(1 << 20);
    let request = Request::get("http://peer/first").body(()).unwrap();
    let service = |request: Request<RecvBody>| async move {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap();
        Response::new(full(format!("{path} {}", body.to_bytes().len())))
    };
    let connection = server::serve(other, Config::default(), service).upgraded(settings, request)?;
    let shared = connection.shared();
    Ok(Served {
        peer: Peer { io },
        shared,
        task: tokio::spawn(connection),
    })
}

#[tokio::test]
async fn a_connection_may_begin_with_a_request_of_http1() {
    // A window of four bytes: the rest waits.
    let window = [0, 4, 0, 0, 0, 4];
    let mut served = upgraded(&window).unwrap();
    served.peer.next(&[kind::SETTINGS]).await;
    served.peer.send(PREFACE).await;
    served.peer.send(settings(&[])).await;
    // The settings of the upgrade are not acknowledged, those of the client are.
    assert_eq!(served.peer.next(&[kind::SETTINGS]).await.flags, flag::ACK);
    let head = served.peer.next(&[kind::HEADERS]).await;
    assert_eq!((head.stream, &head.payload[..]), (1, HEAD_OK));
    assert_eq!(served.peer.next(&[kind::DATA]).await.payload, b"/fir");
    served.peer.send(window_update(1, 100)).await;
    assert!(served.peer.next(&[kind::DATA]).await.payload.starts_with(b"st"));
    // Its half of the client is over.
    served.peer.send(headers(END, 3, POST)).await;
    assert_eq!(served.peer.next(&[kind::HEADERS]).await.stream, 3);
    served.peer.send(headers(END, 1, POST)).await;
    assert_eq!(served.peer.breach().await, Some(Reason::STREAM_CLOSED));
}

#[tokio::test]
async fn the_request_waits_until_the_client_speaks_http2() {
    let mut served = upgraded(&[]).unwrap();
    served.peer.next(&[kind::SETTINGS]).await;
    served.peer.try_send(b"GET / HTTP/1.1\r\n\r\n").await;
    let seen = served.peer.rest().await;
    assert!(seen.iter().all(|frame| frame.stream == 0), "{seen:?}");
    assert!(soon(served.task).await.unwrap().is_err());
}

#[tokio::test]
async fn settings_that_are_none_are_refused() {
    let frame_size = [0, 5, 0, 0, 0, 1];
    let push = [[0, 2], [0, 0], [0, 2]].concat();
    for settings in [&frame_size[..], &frame_size[..5], &push] {
        assert!(
            matches!(upgraded(settings), Err(Error::GoAway { .. })),
            "{settings:?}"
        );
    }
    let table = setting::HEADER_TABLE_SIZE.to_be_bytes();
    assert!(upgraded(&[&table[..], &[0, 0, 0, 0]].concat()).is_ok());
}
