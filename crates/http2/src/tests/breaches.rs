//! What breaks a connection, and with which code.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::AsyncWriteExt;

use crate::Reason;
use crate::frame::{flag, kind, setting};
use crate::testing::*;

type Case = (&'static str, Vec<u8>, Reason);

/// What neither side may send. Stream 1 is open.
#[rustfmt::skip]
fn common() -> Vec<Case> {
    const PROTOCOL: Reason = Reason::PROTOCOL_ERROR;
    const SIZE: Reason = Reason::FRAME_SIZE_ERROR;
    const FLOW: Reason = Reason::FLOW_CONTROL_ERROR;
    let begun = |rest: Vec<u8>| [frame(kind::HEADERS, 0, 1, FIELD), rest].concat();
    vec![
        ("data on the connection", data(0, 0, b"x"), PROTOCOL),
        ("headers on the connection", headers(0, 0, POST), PROTOCOL),
        ("a priority of the connection", frame(kind::PRIORITY, 0, 0, [0; 5]), PROTOCOL),
        ("a short priority", frame(kind::PRIORITY, 0, 1, [0; 4]), SIZE),
        ("a stream that depends on itself", frame(kind::PRIORITY, 0, 1, [0, 0, 0, 1, 0]), PROTOCOL),
        ("the same in a head", headers(flag::PRIORITY, 1, [0, 0, 0, 1, 0, 0x88]), PROTOCOL),
        ("a head without its priority", headers(flag::PRIORITY, 1, [0; 4]), SIZE),
        ("a reset of the connection", reset(0, Reason::CANCEL), PROTOCOL),
        ("a short reset", frame(kind::RST_STREAM, 0, 1, [0; 3]), SIZE),
        ("a reset of an idle stream", reset(9, Reason::CANCEL), PROTOCOL),
        ("data on an idle stream", data(0, 9, b"x"), PROTOCOL),
        ("a window for an idle stream", window_update(9, 1), PROTOCOL),
        ("a window for a stream of the wrong side", window_update(2, 1), PROTOCOL),
        ("settings of a stream", frame(kind::SETTINGS, 0, 1, []), PROTOCOL),
        ("settings of a strange length", frame(kind::SETTINGS, 0, 0, [0; 5]), SIZE),
        ("a filled acknowledgement", frame(kind::SETTINGS, flag::ACK, 0, [0; 6]), SIZE),
        ("a great window", settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)]), FLOW),
        ("a great window among others", {
            let great = (setting::INITIAL_WINDOW_SIZE, 1 << 31);
            settings(&[great, (setting::INITIAL_WINDOW_SIZE, 1)])
        }, FLOW),
        ("small frames", settings(&[(setting::MAX_FRAME_SIZE, 16_383)]), PROTOCOL),
        ("great frames", settings(&[(setting::MAX_FRAME_SIZE, 1 << 24)]), PROTOCOL),
        ("two pushes", settings(&[(setting::ENABLE_PUSH, 2)]), PROTOCOL),
        ("a push", frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, [0, 0, 0, 2, 0x88]), PROTOCOL),
        ("a ping of a stream", frame(kind::PING, 0, 1, [0; 8]), PROTOCOL),
        ("a short ping", frame(kind::PING, 0, 0, [0; 7]), SIZE),
        ("a farewell of a stream", frame(kind::GOAWAY, 0, 1, [0; 8]), PROTOCOL),
        ("a short farewell", frame(kind::GOAWAY, 0, 0, [0; 7]), SIZE),
        ("no more window", window_update(0, 0), PROTOCOL),
        ("too much window", window_update(0, (1 << 31) - 1), FLOW),
        ("a short window", frame(kind::WINDOW_UPDATE, 0, 0, [0; 3]), SIZE),
        ("the same of a stream", frame(kind::WINDOW_UPDATE, 0, 1, [0; 5]), SIZE),
        ("windows that grow too far", [
            window_update(1, (1 << 31) - 1 - 65_535),
            settings(&[(setting::INITIAL_WINDOW_SIZE, 65_536)]),
        ].concat(), FLOW),
        ("a continuation of nothing", frame(kind::CONTINUATION, flag::END_HEADERS, 1, []), PROTOCOL),
        ("a continuation of another stream", begun(frame(kind::CONTINUATION, 0, 3, [])), PROTOCOL),
        ("a ping in a block", begun(frame(kind::PING, 0, 0, [0; 8])), PROTOCOL),
        ("something unknown in a block", begun(frame(0x99, 0, 1, [])), PROTOCOL),
        ("another head in a block", begun(headers(0, 3, POST)), PROTOCOL),
        ("more continuations than a block needs", {
            begun(frame(kind::CONTINUATION, 0, 1, []).repeat(1100))
        }, Reason::ENHANCE_YOUR_CALM),
        ("a frame longer than allowed", frame(kind::DATA, 0, 1, vec![0; 65_537]), SIZE),
        ("the same of an unknown kind", frame(0x99, 0, 1, vec![0; 65_537]), SIZE),
        ("padding without its length", frame(kind::DATA, flag::PADDED, 1, []), SIZE),
        ("more padding than there is", frame(kind::DATA, flag::PADDED, 1, [2, 0]), PROTOCOL),
        ("the same in a head", headers(flag::PADDED, 1, [9, 0x88]), PROTOCOL),
        ("an index that does not exist", headers(0, 1, [0xff, 0x20]), Reason::COMPRESSION_ERROR),
        ("a block that ends within a field", headers(0, 1, [0, 5, b'a']), Reason::COMPRESSION_ERROR),
    ]
}

#[tokio::test]
async fn servers() {
    let mut cases = common();
    let protocol = Reason::PROTOCOL_ERROR;
    let closed = Reason::STREAM_CLOSED;
    cases.extend([
        ("an even stream", headers(0, 2, POST), protocol),
        (
            "a stream below one that was used",
            [headers(0, 5, POST), headers(0, 3, POST)].concat(),
            closed,
        ),
        (
            "a long frame of a client that has shown no use for them",
            headers(0, 3, vec![0; 16_385]),
            Reason::FRAME_SIZE_ERROR,
        ),
        (
            "a head after a reset",
            [reset(1, Reason::CANCEL), headers(1, 1, FIELD)].concat(),
            closed,
        ),
    ]);
    for (name, bytes, reason) in cases {
        let mut served = served(never).await;
        served.peer.send(headers(0, 1, POST)).await;
        served.peer.try_send(bytes).await;
        assert_eq!(served.peer.breach().await, Some(reason), "{name}");
        let ended = soon(served.task).await.unwrap();
        assert!(ended.is_err(), "{name}");
    }
}

#[tokio::test]
async fn clients() {
    let mut cases = common();
    let push = settings(&[(setting::ENABLE_PUSH, 1)]);
    cases.push(("a server that allows pushes", push, Reason::PROTOCOL_ERROR));
    for (name, bytes, reason) in cases {
        let mut connected = connected().await;
        let call = connected.call(post(pieces().1));
        connected.peer.next(&[kind::HEADERS]).await;
        connected.peer.try_send(bytes).await;
        assert_eq!(connected.peer.breach().await, Some(reason), "{name}");
        let error = soon(call).await.unwrap().unwrap_err();
        assert!(
            matches!(error, crate::Error::GoAway { reason: told, by: crate::Side::Us } if told == reason),
            "{name}: {error:?}"
        );
        assert!(connected.sender.is_closed(), "{name}");
    }
}

#[tokio::test]
async fn the_first_frame_must_be_settings() {
    let (mut io, other) = tokio::io::duplex(1000);
    let task = tokio::spawn(crate::server::serve(other, crate::Config::default(), echo));
    io.write_all(crate::frame::PREFACE).await.unwrap();
    io.write_all(&frame(kind::PING, 0, 0, [0; 8])).await.unwrap();
    assert_eq!(Peer { io }.breach().await, Some(Reason::PROTOCOL_ERROR));
    assert!(soon(task).await.unwrap().is_err());
}

#[tokio::test]
async fn a_wrong_preface_is_no_client() {
    for preface in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        let (mut io, other) = tokio::io::duplex(1000);
        let task = tokio::spawn(crate::server::serve(other, crate::Config::default(), echo));
        io.write_all(preface).await.unwrap();
        io.shutdown().await.unwrap();
        Peer { io }.rest().await;
        assert!(soon(task).await.unwrap().is_err());
    }
}

#[tokio::test]
async fn what_is_unknown_is_passed_over() {
    let mut served = served(echo).await;
    let unknown = [
        frame(0x42, 0xff, 7, b"whatever"),
        settings(&[(0x99, 7), (0, u32::MAX)]),
        frame(kind::PING, 0xfe, 0, [0; 8]),
        frame(kind::PRIORITY, 0, 77, [0; 5]),
        headers(flag::END_STREAM | 0xd2 & !flag::PADDED & !flag::PRIORITY, 1, POST),
    ];
    served.peer.send(unknown.concat()).await;
    let answer = served.peer.next(&[kind::HEADERS]).await;
    assert_eq!((answer.stream, answer.payload), (1, HEAD_OK.to_vec()));
}

#[tokio::test]
async fn a_connection_that_ends_within_a_frame_ends() {
    for cut in [1, 8, 9, 12] {
        let polled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&polled);
        let mut served = served(move |request| {
            count.fetch_add(1, Relaxed);
            never(request)
        })
        .await;
        served.peer.send(headers(0, 1, POST)).await;
        served.peer.send(&data(0, 1, b"12345")[..cut]).await;
        drop(served.peer);
        let error = soon(served.task).await.unwrap().unwrap_err();
        assert!(matches!(error, crate::Error::Closed), "{error:?}");
        assert_eq!(polled.load(Relaxed), 1);
        // The call was dropped with the connection.
        until(|| served.shared.lock().streams.is_empty()).await;
    }
}

#[tokio::test]
async fn long_frames_are_allowed_to_those_who_use_them() {
    let long = |seen: &[ReceivedFrame]| {
        let settings = seen
            .iter()
            .filter(|frame| frame.kind == kind::SETTINGS && frame.flags == 0);
        let allowed = [
            LONG_FRAMES.0.to_be_bytes().to_vec(),
            LONG_FRAMES.1.to_be_bytes().to_vec(),
        ]
        .concat();
        settings.filter(|frame| frame.payload == allowed).count()
    };
    let full = data(0, 1, vec![0; 16_384]);
    for (name, first, more) in [
        ("settings", &[LONG_FRAMES][..], &b""[..]),
        ("a frame that is as long as is allowed", &[], &full),
        ("both", &[LONG_FRAMES], &full),
    ] {
        let mut served = served_with(crate::Config::default(), first, 1 << 20, never).await;
        served.peer.send([&headers(0, 1, POST)[..], more].concat()).await;
        assert_eq!(long(&served.peer.sync().await), 1, "{name}");
        served.peer.send(data(0, 1, vec![0; 65_536 - 16_385])).await;
        served.peer.sync().await;
    }
    let mut served = served(never).await;
    served
        .peer
        .send([headers(0, 1, POST), data(0, 1, vec![0; 16_383])].concat())
        .await;
    assert_eq!(long(&served.peer.sync().await), 0);
}
