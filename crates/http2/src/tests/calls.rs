//! What a client makes of answers.

use http::{Request, StatusCode};
use http_body::Body as _;

use crate::frame::{flag, kind, setting};
use crate::state::tests::NOTHING;
use crate::testing::*;
use crate::{Config, Error, Reason, Side};

const END: u8 = flag::END_STREAM;
/// `content-length: 5` after `:status: 200`
const OK_5: &[u8] = &[0x88, 0x0f, 0x0d, 1, b'5'];

/// What a call ends with when the peer sends these frames: the status, and the body if it is whole.
async fn ends(request: Request<Body>, frames: &[Vec<u8>]) -> Result<(u16, String), Error> {
    let mut connected = connected().await;
    let call = connected.call(request);
    connected.peer.next(&[kind::HEADERS]).await;
    connected.peer.send(frames.concat()).await;
    let ended = async {
        let answer = soon(call).await.unwrap()?;
        let status = answer.status().as_u16();
        let (body, _) = read(answer.into_body()).await?;
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    };
    let ended = ended.await;
    connected.peer.sync().await;
    until(|| connected.shared.lock().left() == NOTHING).await;
    ended
}

/// A request without a body.
fn request(method: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("http://peer/")
        .body(empty())
        .unwrap()
}

#[tokio::test]
async fn good_answers() {
    let not_modified = [&[0x8b][..], LENGTH_5].concat();
    let cases: &[(&str, &[Vec<u8>], u16, &str)] = &[
        ("GET", &[headers(END, 1, HEAD_OK)], 200, ""),
        ("GET", &[headers(0, 1, OK_5), data(END, 1, "12345")], 200, "12345"),
        (
            "GET",
            &[headers(0, 1, OK_5), data(0, 1, "12345"), data(END, 1, "")],
            200,
            "12345",
        ),
        (
            "GET",
            &[headers(0, 1, OK_5), data(0, 1, "12345"), headers(END, 1, FIELD)],
            200,
            "12345",
        ),
        // Lengths of what is not sent.
        ("HEAD", &[headers(END, 1, OK_5)], 200, ""),
        ("HEAD", &[headers(0, 1, OK_5), data(END, 1, "")], 200, ""),
        ("GET", &[headers(END, 1, not_modified.clone())], 304, ""),
        ("GET", &[headers(0, 1, not_modified), data(END, 1, "")], 304, ""),
        // Interim answers: 103, and 100 by its digits.
        (
            "GET",
            &[
                headers(0, 1, [&[0x08, 3, b'1', b'0', b'3'][..], FIELD].concat()),
                headers(0, 1, [0x08, 3, b'1', b'0', b'0']),
                headers(END, 1, HEAD_OK),
            ],
            200,
            "",
        ),
        // A whole answer stands, whatever becomes of its stream.
        (
            "GET",
            &[headers(END, 1, HEAD_OK), reset(1, Reason::NO_ERROR)],
            200,
            "",
        ),
        (
            "GET",
            &[
                headers(0, 1, OK_5),
                data(END, 1, "12345"),
                reset(1, Reason::CANCEL),
            ],
            200,
            "12345",
        ),
    ];
    for (method, frames, status, body) in cases {
        let ended = ends(request(method), frames).await.unwrap();
        assert_eq!(ended, (*status, (*body).to_owned()), "{method} {frames:?}");
    }
}

#[tokio::test]
async fn bad_answers() {
    let cases: &[(&str, &[Vec<u8>])] = &[
        ("data before the head", &[data(0, 1, "x")]),
        ("no status", &[headers(0, 1, FIELD)]),
        ("a path", &[headers(0, 1, [0x88, 0x84])]),
        (
            "an interim answer that is the end",
            &[headers(END, 1, [0x08, 3, b'1', b'0', b'0'])],
        ),
        ("another protocol", &[headers(0, 1, [0x08, 3, b'1', b'0', b'1'])]),
        (
            "a bad interim answer",
            &[headers(0, 1, [0x08, 3, b'1', b'0', b'0', 0, 1, b'A', 1, b'b'])],
        ),
        ("a length and no body", &[headers(END, 1, OK_5)]),
        ("too short", &[headers(0, 1, OK_5), data(END, 1, "1234")]),
        (
            "too short with trailers",
            &[headers(0, 1, OK_5), data(0, 1, "1234"), headers(END, 1, FIELD)],
        ),
        ("too long", &[headers(0, 1, OK_5), data(0, 1, "123456")]),
        ("two heads", &[headers(0, 1, HEAD_OK), headers(0, 1, FIELD)]),
        (
            "a status in the trailers",
            &[headers(0, 1, HEAD_OK), headers(END, 1, HEAD_OK)],
        ),
    ];
    for (name, frames) in cases {
        let error = ends(request("GET"), frames).await.unwrap_err();
        let wanted = (Reason::PROTOCOL_ERROR, Side::Us);
        assert!(
            matches!(error, Error::Reset { reason, by } if (reason, by) == wanted),
            "{name}: {error:?}"
        );
    }
    let body = &[headers(0, 1, OK_5), data(END, 1, "12345")];
    assert!(ends(request("HEAD"), body).await.is_err());
}

#[tokio::test]
async fn a_reset_in_the_middle_of_an_answer_is_an_error() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::from(0x1234)] {
        let frames = [headers(0, 1, HEAD_OK), data(0, 1, "half"), reset(1, reason)];
        let error = ends(request("GET"), &frames).await.unwrap_err();
        assert!(
            matches!(error, Error::Reset { reason: told, by: Side::Peer } if told == reason),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_request_that_the_peer_wants_no_more_of_is_let_go() {
    let mut connected = connected().await;
    let (mut sender, body) = pieces();
    let call = connected.call(post(body));
    soon(sender.send_data("first".into())).await.unwrap();
    connected.peer.next(&[kind::DATA]).await;
    connected
        .peer
        .send([headers(END, 1, HEAD_OK), reset(1, Reason::NO_ERROR)].concat())
        .await;
    let answer = soon(call).await.unwrap().unwrap();
    assert!(answer.body().is_end_stream());
    // The body is dropped, though nobody ended it, and with it the stream.
    until(|| connected.shared.lock().left().streams == 1).await;
    drop(answer);
    until(|| connected.shared.lock().left() == NOTHING).await;
    assert!(soon(sender.send_data("more".into())).await.is_err());
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_has_ended_does_not_end_it() {
    let mut connected = connected().await;
    let (mut sender, body) = pieces();
    let call = connected.call(post(body));
    connected.peer.next(&[kind::HEADERS]).await;
    connected.peer.send(headers(0, 1, HEAD_OK)).await;
    let answer = soon(call).await.unwrap().unwrap();
    soon(sender.send_data("question".into())).await.unwrap();
    assert_eq!(connected.peer.next(&[kind::DATA]).await.payload, b"question");
    connected.peer.send(data(0, 1, "answer")).await;
    drop(sender);
    assert!(connected.peer.next(&[kind::DATA]).await.is_end());
    connected.peer.send(headers(END, 1, FIELD)).await;
    let (body, trailers) = read(answer.into_body()).await.unwrap();
    assert_eq!(
        (&body[..], &trailers.unwrap()["a"]),
        (&b"answer"[..], &"b".parse().unwrap())
    );
    until(|| connected.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn a_body_that_turns_out_to_be_empty_ends_with_data() {
    let mut connected = connected().await;
    let (sender, body) = pieces();
    drop(sender);
    let _known = connected.call(post(empty()));
    let head = connected.peer.any().await.unwrap();
    assert_eq!((head.kind, head.is_end()), (kind::HEADERS, true));
    let _found = connected.call(post(body));
    let head = connected.peer.any().await.unwrap();
    assert_eq!((head.kind, head.is_end()), (kind::HEADERS, false));
    let end = connected.peer.any().await.unwrap();
    assert_eq!((end.kind, end.is_end(), end.payload.len()), (kind::DATA, true, 0));
}

#[tokio::test]
async fn what_a_body_knows_of_its_length() {
    let mut connected = connected().await;
    let call = connected.call(post(empty()));
    connected.peer.next(&[kind::HEADERS]).await;
    connected
        .peer
        .send([headers(0, 1, OK_5), data(0, 1, "12")].concat())
        .await;
    connected.peer.sync().await;
    let mut body = soon(call).await.unwrap().unwrap().into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    let first = soon(http_body_util::BodyExt::frame(&mut body))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.into_data().unwrap(), "12");
    assert_eq!(body.size_hint().exact(), Some(3));
    connected.peer.send(data(END, 1, "345")).await;
    connected.peer.sync().await;
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
    assert_eq!(read(body).await.unwrap().0, "345");
}

#[tokio::test]
async fn long_heads_go_out_in_several_frames_and_come_in_so() {
    let mut connected = connected().await;
    let request = Request::post("http://peer/")
        .header("long", "x".repeat(50_000))
        .body(empty())
        .unwrap();
    let call = connected.call(request);
    let first = connected.peer.any().await.unwrap();
    assert_eq!(
        (first.kind, first.flags, first.payload.len()),
        (kind::HEADERS, END, 16_384)
    );
    for is_last in [false, false, true] {
        let next = connected.peer.any().await.unwrap();
        let flags = if is_last { flag::END_HEADERS } else { 0 };
        assert_eq!(
            (next.kind, next.flags, next.stream),
            (kind::CONTINUATION, flags, 1)
        );
    }
    let block = [HEAD_OK, FIELD].concat();
    let (head, rest) = block.split_at(3);
    let frames: Vec<_> = rest
        .chunks(1)
        .map(|byte| frame(kind::CONTINUATION, 0, 1, byte))
        .collect();
    connected.peer.send(frame(kind::HEADERS, END, 1, head)).await;
    connected.peer.send(frames.concat()).await;
    connected
        .peer
        .send(frame(kind::CONTINUATION, flag::END_HEADERS, 1, ""))
        .await;
    let answer = soon(call).await.unwrap().unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["a"]),
        (StatusCode::OK, &"b".parse::<http::HeaderValue>().unwrap())
    );
}

#[tokio::test]
async fn calls_beyond_the_limit_of_the_peer_wait_in_line() {
    let limit = (setting::MAX_CONCURRENT_STREAMS, 1);
    let mut connected = connected_with(Config::default(), &[limit], 1 << 20).await;
    let first = connected.call(post(empty()));
    assert_eq!(connected.peer.next(&[kind::HEADERS]).await.stream, 1);
    let second = connected.call(post(empty()));
    let third = connected.call(post(empty()));
    assert_eq!(connected.peer.sync().await, []);
    // Who gives up leaves its place to the next.
    second.abort();
    assert!(soon(second).await.is_err());
    connected.peer.send(headers(END, 1, HEAD_OK)).await;
    soon(first).await.unwrap().unwrap();
    assert_eq!(connected.peer.next(&[kind::HEADERS]).await.stream, 3);
    let fourth = connected.call(post(empty()));
    assert_eq!(connected.peer.sync().await, []);
    // More room at once, and a limit of zero that is lifted.
    connected
        .peer
        .send(settings(&[(setting::MAX_CONCURRENT_STREAMS, 0)]))
        .await;
    connected.peer.send(headers(END, 3, HEAD_OK)).await;
    soon(third).await.unwrap().unwrap();
    let seen = connected.peer.sync().await;
    assert!(seen.iter().all(|frame| frame.kind == kind::SETTINGS), "{seen:?}");
    connected
        .peer
        .send(settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)]))
        .await;
    assert_eq!(connected.peer.next(&[kind::HEADERS]).await.stream, 5);
    connected.peer.send(headers(END, 5, HEAD_OK)).await;
    soon(fourth).await.unwrap().unwrap();
    until(|| connected.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn who_gives_up_when_it_was_its_turn_leaves_it_to_the_next() {
    let limit = (setting::MAX_CONCURRENT_STREAMS, 1);
    let mut connected = connected_with(Config::default(), &[limit], 1 << 20).await;
    let first = connected.call(post(empty()));
    assert_eq!(connected.peer.next(&[kind::HEADERS]).await.stream, 1);
    let sender = connected.sender.clone();
    let mut call = crate::client::Call::new(post(empty()));
    let mut second = Box::pin(sender.send(&mut call));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    let _third = connected.call(post(empty()));
    assert_eq!(connected.peer.sync().await, []);
    connected.peer.send(headers(END, 1, HEAD_OK)).await;
    soon(first).await.unwrap().unwrap();
    assert_eq!(connected.peer.sync().await, [], "it is the turn of the second");
    drop(second);
    assert!(call.is_unsent());
    assert_eq!(connected.peer.next(&[kind::HEADERS]).await.stream, 3);
}
