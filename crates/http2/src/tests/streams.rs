//! What a server makes of what comes on its streams.

use http::StatusCode;
use http_body_util::BodyExt;

use crate::frame::{flag, kind, setting};
use crate::state::tests::NOTHING;
use crate::testing::*;
use crate::{Config, Reason};

const END: u8 = flag::END_STREAM;

/// A request of five bytes.
fn five() -> Vec<u8> {
    [POST, LENGTH_5].concat()
}

#[tokio::test]
async fn mistakes_on_a_stream_reset_it_and_nothing_else() {
    const PROTOCOL: Reason = Reason::PROTOCOL_ERROR;
    let name = |name: &[u8]| [POST, &[0, name.len() as u8], name, &[1, b'x']].concat();
    let cases = [
        (
            "no more window",
            [headers(0, 1, POST), window_update(1, 0)].concat(),
            PROTOCOL,
        ),
        (
            "too much window",
            [headers(0, 1, POST), window_update(1, (1 << 31) - 1)].concat(),
            Reason::FLOW_CONTROL_ERROR,
        ),
        ("no path", headers(0, 1, &POST[..2]), PROTOCOL),
        ("a field of HTTP/1", headers(0, 1, name(b"connection")), PROTOCOL),
        ("an upper case name", headers(0, 1, name(b"A")), PROTOCOL),
        ("an unknown pseudo field", headers(0, 1, name(b":a")), PROTOCOL),
        ("a length without a body", headers(END, 1, five()), PROTOCOL),
        (
            "a body that is too long",
            [headers(0, 1, five()), data(0, 1, b"123456")].concat(),
            PROTOCOL,
        ),
        (
            "a body that is too short",
            [headers(0, 1, five()), data(END, 1, b"1234")].concat(),
            PROTOCOL,
        ),
        (
            "trailers before the end of the length",
            [headers(0, 1, five()), headers(END, 1, FIELD)].concat(),
            PROTOCOL,
        ),
        (
            "trailers that are not the end",
            [headers(0, 1, POST), headers(0, 1, FIELD)].concat(),
            PROTOCOL,
        ),
        (
            "trailers with a pseudo field",
            [headers(0, 1, POST), headers(END, 1, [0x84])].concat(),
            PROTOCOL,
        ),
        (
            "data after the end",
            [headers(END, 1, POST), data(0, 1, b"x")].concat(),
            Reason::STREAM_CLOSED,
        ),
        (
            "trailers after the end",
            [headers(END, 1, POST), headers(END, 1, FIELD)].concat(),
            Reason::STREAM_CLOSED,
        ),
        (
            "more than the window of the stream",
            [
                headers(0, 1, POST),
                data(0, 1, vec![0; 60_000]),
                data(0, 1, vec![0; 5_536]),
            ]
            .concat(),
            Reason::FLOW_CONTROL_ERROR,
        ),
    ];
    for (name, bytes, reason) in cases {
        let mut served = served(never).await;
        served.peer.send(settings(&[LONG_FRAMES])).await;
        served.peer.sync().await;
        served.peer.send(bytes).await;
        assert_eq!(served.peer.reset().await, (1, reason), "{name}");
        // The client goes on before it has heard of that.
        let more = [
            data(0, 1, b"more"),
            window_update(1, 7),
            headers(END, 1, FIELD),
            headers(0, 3, POST),
        ];
        served.peer.send(more.concat()).await;
        let seen = served.peer.sync().await;
        assert!(seen.iter().all(|frame| frame.stream == 0), "{name}: {seen:?}");
        served.peer.send(reset(3, Reason::CANCEL)).await;
        until(|| served.shared.lock().left() == NOTHING).await;
    }
}

#[tokio::test]
async fn what_comes_on_a_stream_after_its_end_is_told_once() {
    let mut served = served(echo).await;
    served
        .peer
        .send([headers(END, 1, POST), headers(0, 3, POST)].concat())
        .await;
    assert!(served.peer.next(&[kind::HEADERS, kind::DATA]).await.stream == 1);
    until(|| served.shared.lock().streams.len() == 1).await;
    for _ in 0..3 {
        served.peer.send(data(0, 1, b"late")).await;
    }
    assert_eq!(served.peer.reset().await, (1, Reason::STREAM_CLOSED));
    let seen = served.peer.sync().await;
    assert!(
        seen.iter().all(|frame| frame.kind != kind::RST_STREAM),
        "{seen:?}"
    );
    assert_eq!(served.shared.lock().left().credit, 0, "it counts for nobody");
}

#[tokio::test]
async fn an_answer_before_the_end_of_its_request_ends_both() {
    let mut served = served(at_once).await;
    served.peer.send(headers(0, 1, POST)).await;
    assert!(served.peer.next(&[kind::HEADERS]).await.is_end());
    assert_eq!(served.peer.reset().await, (1, Reason::NO_ERROR));
    // What was on its way is no mistake, and takes no window.
    served
        .peer
        .send([data(0, 1, vec![0; 16_000]), headers(END, 1, FIELD)].concat())
        .await;
    let seen = served.peer.sync().await;
    assert!(seen.iter().all(|frame| frame.stream != 1), "{seen:?}");
    assert_eq!(served.shared.lock().left(), NOTHING);
}

#[tokio::test]
async fn a_request_is_read_with_its_padding_and_trailers() {
    let mut served = served(|request| async {
        let body = request.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["a"], "b");
        http::Response::new(full(body.to_bytes()))
    })
    .await;
    let padded = [&[3, 0x83, 0x86, 0x84][..], LENGTH_5, &[9, 9, 9]].concat();
    served
        .peer
        .send(
            [
                headers(flag::PADDED, 1, padded),
                frame(kind::DATA, flag::PADDED, 1, [2, b'1', b'2', b'3', 0, 0]),
                data(0, 1, b""),
                frame(kind::DATA, flag::PADDED, 1, [0, b'4', b'5']),
                frame(kind::DATA, flag::PADDED, 1, [0]),
                frame(kind::HEADERS, END | flag::PADDED, 1, [1, 0, 1, b'a', 0]),
                frame(kind::CONTINUATION, 0, 1, []),
                frame(kind::CONTINUATION, flag::END_HEADERS, 1, [1, b'b']),
            ]
            .concat(),
        )
        .await;
    assert_eq!(served.peer.next(&[kind::HEADERS]).await.payload, HEAD_OK);
    assert_eq!(served.peer.next(&[kind::DATA]).await.payload, b"12345");
    until(|| served.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_answered_and_told_to_be_over() {
    let config = Config {
        max_header_list: 1000,
        ..Config::default()
    };
    let mut served = served_with(config, &[], 1 << 20, echo).await;
    let long = [POST, &[0, 1, b'a', 0x7f, 0x8d, 0x06], &[b'x'; 908]].concat();
    for (stream, flags) in [(1, 0), (3, END)] {
        served.peer.send(headers(flags, stream, &long)).await;
        let head = served.peer.next(&[kind::HEADERS]).await;
        // 431 is not in the static table: the name by its index, then the digits.
        assert_eq!(
            (head.stream, head.payload.ends_with(b"\x03431")),
            (stream, true),
            "{head:?}"
        );
        let after = served.peer.sync().await;
        let resets: Vec<_> = after
            .iter()
            .filter(|frame| frame.kind == kind::RST_STREAM)
            .collect();
        assert_eq!(resets.len(), usize::from(flags == 0), "{after:?}");
        assert!(resets.iter().all(|reset| reset.number(0) == 0));
    }
    assert_eq!(served.shared.lock().left(), NOTHING);
}

#[tokio::test]
async fn one_byte_that_stands_for_much_counts_as_much() {
    let config = Config {
        max_header_list: 10_000,
        ..Config::default()
    };
    let mut served = served_with(config, &[], 1 << 20, echo).await;
    // A field of 3000 bytes goes into the table; then it is named again and again.
    let field = [&[0x40, 1, b'a', 0x7f, 0xb9, 0x16][..], &[b'x'; 3000]].concat();
    let block = [POST, &field, &[0xbe; 10_000]].concat();
    served.peer.send(headers(END, 1, block)).await;
    let head = served.peer.next(&[kind::HEADERS]).await;
    assert!(head.payload.ends_with(b"\x03431"), "{head:?}");
    // The tables are in step.
    served.peer.send(headers(END, 3, [POST, &[0xbe]].concat())).await;
    assert_eq!(served.peer.next(&[kind::HEADERS]).await.payload, HEAD_OK);
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused() {
    let config = Config {
        max_streams: 2,
        ..Config::default()
    };
    let mut served = served_with(config, &[], 1 << 20, never).await;
    let told = served.peer.next(&[kind::SETTINGS]).await;
    let limit = [0, setting::MAX_CONCURRENT_STREAMS as u8, 0, 0, 0, 2];
    assert!(told.payload.as_chunks::<6>().0.contains(&limit), "{told:?}");
    served
        .peer
        .send([1, 3, 5].map(|id| headers(0, id, POST)).concat())
        .await;
    assert_eq!(served.peer.reset().await, (5, Reason::REFUSED_STREAM));
    served
        .peer
        .send([data(0, 5, b"x"), headers(END, 5, FIELD)].concat())
        .await;
    served
        .peer
        .send([reset(1, Reason::CANCEL), headers(0, 7, POST)].concat())
        .await;
    let seen = served.peer.sync().await;
    assert!(
        seen.iter().all(|frame| frame.kind != kind::RST_STREAM),
        "{seen:?}"
    );
    assert_eq!(served.shared.lock().left().active, 2);
}

#[tokio::test]
async fn a_service_that_panics_resets_its_stream_alone() {
    let mut served = served(|request| async move {
        assert!(request.uri().path() == "/", "a bug");
        http::Response::new(empty())
    })
    .await;
    let other = [&POST[..2], &[0x04, 2, b'/', b'x']].concat();
    served.peer.send(headers(END, 1, other)).await;
    assert_eq!(served.peer.reset().await, (1, Reason::INTERNAL_ERROR));
    served.peer.send(headers(END, 3, POST)).await;
    let head = served.peer.next(&[kind::HEADERS]).await;
    assert_eq!(head.payload, [0x80 | 8], "{:?}", StatusCode::OK);
    until(|| served.shared.lock().left() == NOTHING).await;
}
