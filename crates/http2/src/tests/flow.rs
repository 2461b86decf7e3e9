//! Windows, in both directions.

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::Config;
use crate::frame::{flag, kind, setting};
use crate::state::tests::NOTHING;
use crate::testing::*;

const WINDOW: u16 = setting::INITIAL_WINDOW_SIZE;

/// Whether no data comes although everything that was sent is taken in.
async fn sends_no_data(peer: &mut Peer) -> bool {
    peer.sync().await.iter().all(|frame| frame.kind != kind::DATA)
}

/// Reads frames of data until so many bytes were there; returns whether the last was the end.
async fn take(peer: &mut Peer, mut count: usize) -> bool {
    loop {
        let frame = peer.next(&[kind::DATA]).await;
        count = count.checked_sub(frame.payload.len()).expect("more than wanted");
        if count == 0 {
            return frame.is_end();
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_beyond_the_windows() {
    let mut connected = connected_with(Config::default(), &[(WINDOW, 10)], 1 << 20).await;
    let call = connected.call(post(full(vec![7; 100_000])));
    assert!(!take(&mut connected.peer, 10).await);
    connected.peer.send(window_update(1, 1)).await;
    assert!(!take(&mut connected.peer, 1).await);
    connected.peer.send(window_update(1, 80_000)).await;
    assert!(!take(&mut connected.peer, 65_535 - 11).await);
    let seen = connected.peer.sync().await;
    assert_eq!(seen, [], "the window of the connection is used up");
    connected.peer.send(window_update(0, 1 << 20)).await;
    assert!(!take(&mut connected.peer, 80_011 - 65_535).await);
    connected.peer.send(window_update(1, 19_989)).await;
    assert!(
        take(&mut connected.peer, 19_989).await,
        "the last data is the end"
    );
    connected.peer.send(headers(flag::END_STREAM, 1, HEAD_OK)).await;
    soon(call).await.unwrap().unwrap();
    until(|| connected.shared.lock().left() == NOTHING).await;
}

#[tokio::test]
async fn a_window_that_shrinks_may_be_below_zero() {
    let mut connected = connected_with(Config::default(), &[(WINDOW, 100)], 1 << 20).await;
    let _call = connected.call(post(full(vec![7; 1000])));
    assert!(!take(&mut connected.peer, 100).await);
    // 100 were sent, so that 90 are missing, and 10 more are not enough.
    connected.peer.send(settings(&[(WINDOW, 10)])).await;
    connected.peer.send(window_update(1, 90)).await;
    assert!(sends_no_data(&mut connected.peer).await);
    connected.peer.send(window_update(1, 1)).await;
    assert!(!take(&mut connected.peer, 1).await);
    connected.peer.send(settings(&[(WINDOW, 15)])).await;
    assert!(!take(&mut connected.peer, 5).await);
    // Of several values in one frame the last counts.
    connected
        .peer
        .send(settings(&[(WINDOW, 1000), (WINDOW, 0), (WINDOW, 16)]))
        .await;
    assert!(!take(&mut connected.peer, 1).await);
    assert!(sends_no_data(&mut connected.peer).await);
}

#[tokio::test]
async fn an_end_needs_no_window() {
    for trailers in [false, true] {
        let mut connected = connected_with(Config::default(), &[(WINDOW, 5)], 1 << 20).await;
        let (mut sender, body) = pieces();
        let _call = connected.call(post(body));
        soon(sender.send_data(Bytes::from_static(b"12345")))
            .await
            .unwrap();
        assert!(!take(&mut connected.peer, 5).await);
        connected.peer.send(settings(&[(WINDOW, 0)])).await;
        connected.peer.sync().await;
        if trailers {
            soon(sender.send_trailers(http::HeaderMap::new())).await.unwrap();
        }
        drop(sender);
        let end = connected.peer.next(&[kind::DATA, kind::HEADERS]).await;
        assert!(end.is_end() && end.payload.is_empty(), "{end:?}");
    }
}

/// Gives its pieces, and knows of the end only with the last, which is empty.
struct EmptyEnd(Vec<&'static [u8]>);

impl http_body::Body for EmptyEnd {
    type Data = Bytes;
    type Error = crate::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, crate::BoxError>>> {
        let piece = self.0.pop().map(Bytes::from_static);
        std::task::Poll::Ready(piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

#[tokio::test]
async fn an_empty_piece_at_the_end_waits_for_no_window() {
    let mut connected = connected_with(Config::default(), &[(WINDOW, 5)], 1 << 20).await;
    let body = EmptyEnd(vec![b"", b"5", b"1234"]);
    assert!(!body.is_end_stream());
    let _call = connected.call(post(body.boxed_unsync()));
    assert!(!take(&mut connected.peer, 4).await);
    assert!(connected.peer.next(&[kind::DATA]).await.payload == b"5");
    assert!(connected.peer.next(&[kind::DATA]).await.is_end());
    // The same while the data waits.
    let body = EmptyEnd(vec![b"", b"678", b"12345"]);
    let _call = connected.call(post(body.boxed_unsync()));
    assert!(!take(&mut connected.peer, 5).await);
    connected.peer.send(window_update(3, 3)).await;
    assert!(take(&mut connected.peer, 3).await);
}

#[tokio::test]
async fn many_streams_share_a_small_window_in_turn() {
    let mut connected = connected_with(Config::default(), &[(WINDOW, 1 << 20)], 1 << 20).await;
    let calls: Vec<_> = (0..3)
        .map(|_| connected.call(post(full(vec![7; 100_000]))))
        .collect();
    // The first may have taken all of the connection's window before the others came.
    take(&mut connected.peer, 65_535).await;
    until(|| connected.shared.lock().ready_len() == 3).await;
    let mut seen = std::collections::HashMap::new();
    for _ in 0..4 {
        connected.peer.send(window_update(0, 65_536 * 3 / 4)).await;
        let mut left = 65_536 * 3 / 4;
        while left > 0 {
            let frame = connected.peer.next(&[kind::DATA]).await;
            left -= frame.payload.len();
            *seen.entry(frame.stream).or_insert(0) += frame.payload.len();
        }
    }
    assert!(
        seen.len() == 3 && seen.values().all(|bytes| *bytes > 32_000),
        "{seen:?}"
    );
    drop(calls);
}

/// How much window the other side gave, of the connection and of stream 1.
fn granted(seen: &[ReceivedFrame]) -> (u64, u64) {
    let of = |stream| {
        let updates = seen
            .iter()
            .filter(|frame| frame.kind == kind::WINDOW_UPDATE && frame.stream == stream);
        updates.map(|frame| u64::from(frame.number(0))).sum()
    };
    (of(0), of(1))
}

fn small_windows() -> Config {
    Config {
        stream_window: 100_000,
        connection_window: 100_000,
        ..Config::default()
    }
}

#[tokio::test]
async fn what_nobody_reads_stops_its_stream_and_not_the_connection() {
    let mut served = served_with(small_windows(), &[], 1 << 20, never).await;
    served.peer.sync().await;
    served.peer.send(headers(0, 1, POST)).await;
    for _ in 0..4 {
        served.peer.send(data(0, 1, vec![0; 15_000])).await;
    }
    assert_eq!(granted(&served.peer.sync().await), (60_000, 0));
    let left = served.shared.lock().left();
    assert_eq!((left.credit, left.held > 60_000), (0, true));
    served.peer.send(reset(1, crate::Reason::CANCEL)).await;
    assert_eq!(granted(&served.peer.sync().await), (0, 0));
    assert_eq!(served.shared.lock().left(), NOTHING);
}

#[tokio::test]
async fn a_request_that_the_service_drops_is_thrown_away() {
    let mut served = served_with(small_windows(), &[], 1 << 20, |request| async move {
        drop(request);
        std::future::pending().await
    })
    .await;
    served.peer.send(headers(0, 1, POST)).await;
    served.peer.sync().await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        served.peer.send(data(0, 1, vec![0; 15_000])).await;
    }
    seen.extend(served.peer.sync().await);
    assert_eq!(
        granted(&seen),
        (60_000, 0),
        "the connection goes on, the stream stops"
    );
}

#[tokio::test]
async fn padding_is_given_back_at_once() {
    let mut served = served_with(small_windows(), &[], 1 << 20, never).await;
    served.peer.send(headers(0, 1, POST)).await;
    served.peer.sync().await;
    let mut seen = Vec::new();
    let padded = [&[255, b'x'][..], &[0; 255]].concat();
    for _ in 0..255 {
        served
            .peer
            .send(frame(kind::DATA, flag::PADDED, 1, &padded))
            .await;
    }
    seen.extend(served.peer.sync().await);
    let (connection, stream) = granted(&seen);
    assert!(connection >= 50_000 && stream >= 50_000, "{connection} {stream}");
    assert_eq!(served.shared.lock().left().credit, 0);
}

#[tokio::test]
async fn more_than_the_window_of_the_connection_breaks_it() {
    let config = Config {
        connection_window: 0,
        ..Config::default()
    };
    let mut served = served_with(config, &[LONG_FRAMES], 1 << 20, never).await;
    served
        .peer
        .send([headers(0, 1, POST), headers(0, 3, POST)].concat())
        .await;
    // What is left when half of it is used up, and not given back yet.
    for (stream, length) in [(1, 32_000), (3, 33_536)] {
        served.peer.try_send(data(0, stream, vec![0; length])).await;
    }
    assert_eq!(
        served.peer.breach().await,
        Some(crate::Reason::FLOW_CONTROL_ERROR)
    );
}

#[tokio::test]
async fn a_receiver_that_does_not_read_stops_the_sender_at_window_and_queue() {
    let config = Config {
        max_queued: 1000,
        ..Config::default()
    };
    let mut connected = connected_with(config, &[(WINDOW, 500)], 1 << 20).await;
    let (mut sender, body) = pieces();
    let _call = connected.call(post(body));
    let mut sent = 0;
    let blocked = loop {
        let sending = sender.send_data(Bytes::from(vec![7; 100]));
        match tokio::time::timeout(std::time::Duration::from_millis(300), sending).await {
            Ok(_) => sent += 100,
            Err(_) => break sent,
        }
    };
    // The window and the queue; and the channel keeps one that was not asked for.
    assert!((1500..=1700).contains(&blocked), "{blocked}");
    connected.peer.send(window_update(1, 1000)).await;
    soon(sender.send_data(Bytes::from(vec![7; 100]))).await.unwrap();
}
