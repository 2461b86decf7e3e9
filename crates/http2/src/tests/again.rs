//! Calls that the peer certainly did nothing for are sent again, as they were.

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::frame::{flag, kind, setting};
use crate::state::tests::NOTHING;
use crate::testing::*;
use crate::{Config, Error, Reason, client};

const END: u8 = flag::END_STREAM;

/// A call whose first attempt is ended by these bytes, on stream 1.
async fn refused(body: Body, ending: &[u8]) -> (Connected, client::Call<Body>, Error) {
    let mut connected = connected_with(Config::default(), &[], 1 << 20).await;
    let sender = connected.sender.clone();
    let sending = tokio::spawn(async move {
        let mut call = client::Call::new(post(body));
        let error = sender.send(&mut call).await.unwrap_err();
        (call, error)
    });
    connected.peer.next(&[kind::HEADERS]).await;
    // Whatever goes out at once has come.
    connected.peer.sync().await;
    connected.peer.send(ending).await;
    let (call, error) = soon(sending).await.unwrap();
    (connected, call, error)
}

/// What comes of a call on one stream: its body, and whether it had trailers.
async fn received(peer: &mut Peer) -> (usize, bool) {
    let head = peer.next(&[kind::HEADERS]).await;
    let (mut length, mut last) = (0, head.clone());
    while !last.is_end() {
        last = peer.next(&[kind::DATA, kind::HEADERS]).await;
        assert_eq!(last.stream, head.stream);
        if last.kind == kind::DATA {
            length += last.payload.len();
        }
    }
    (length, last.kind == kind::HEADERS && last != head)
}

fn with_trailers(length: usize) -> Body {
    full(vec![7; length])
        .with_trailers(async { Some(Ok(http::HeaderMap::new())) })
        .boxed_unsync()
}

#[tokio::test]
async fn what_was_refused_goes_out_again() {
    for (length, has_trailers, again) in [
        (0, false, true),
        (0, true, true),
        (10, false, true),
        (10, true, true),
        (5000, false, true),
        (60_000, true, true),
        // So much is not kept.
        (65_537, false, false),
    ] {
        let body = || match (length, has_trailers) {
            (0, false) => empty(),
            (length, false) => full(vec![7; length]),
            (length, true) => with_trailers(length),
        };
        for ending in [reset(1, Reason::REFUSED_STREAM), go_away(0, Reason::NO_ERROR)] {
            let (_first, mut call, error) = refused(body(), &ending).await;
            assert!(error.is_unseen());
            assert_eq!(call.is_unsent(), again, "{length}");
            if !again {
                continue;
            }
            let mut other = connected().await;
            let sender = other.sender.clone();
            let sending = tokio::spawn(async move { sender.send(&mut call).await });
            assert_eq!(received(&mut other.peer).await, (length, has_trailers));
            other.peer.send(headers(END, 1, HEAD_OK)).await;
            assert_eq!(soon(sending).await.unwrap().unwrap().status(), 200);
            until(|| other.shared.lock().left() == NOTHING).await;
        }
    }
}

#[tokio::test]
async fn what_may_have_been_seen_does_not() {
    let endings = [
        reset(1, Reason::CANCEL),
        reset(1, Reason::ENHANCE_YOUR_CALM),
        go_away(1, Reason::NO_ERROR),
    ];
    for ending in endings {
        let close = [&ending[..], &reset(1, Reason::CANCEL)].concat();
        let (_connected, call, error) = refused(full("body"), &close).await;
        assert!(!error.is_unseen() && !call.is_unsent(), "{error}");
    }
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_goes_on_where_it_was() {
    let mut first = connected().await;
    let (mut pieces, body) = pieces();
    let mut call = client::Call::new(post(body));
    let sender = first.sender.clone();
    let sending = tokio::spawn(async move { (sender.send(&mut call).await.map(drop), call) });
    first.peer.next(&[kind::HEADERS]).await;
    for piece in ["one", "two"] {
        soon(pieces.send_data(piece.into())).await.unwrap();
        assert_eq!(first.peer.next(&[kind::DATA]).await.payload, piece.as_bytes());
    }
    first.peer.send(reset(1, Reason::REFUSED_STREAM)).await;
    let (error, mut call) = soon(sending).await.unwrap();
    assert!(error.unwrap_err().is_unseen() && call.is_unsent());
    let sender = first.sender.clone();
    let sending = tokio::spawn(async move { sender.send(&mut call).await });
    soon(pieces.send_data("three".into())).await.unwrap();
    drop(pieces);
    let mut come: Vec<u8> = Vec::new();
    loop {
        let data = first.peer.next(&[kind::DATA]).await;
        assert_eq!(data.stream, 3);
        come.extend(&data.payload);
        if data.is_end() {
            break;
        }
    }
    assert_eq!(come, b"onetwothree");
    first.peer.send(headers(END, 3, HEAD_OK)).await;
    soon(sending).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_next_call_waits_for_a_moment() {
    let limit = (setting::MAX_CONCURRENT_STREAMS, 2);
    let mut connected = connected_with(Config::default(), &[limit], 1 << 20).await;
    let calls: Vec<_> = (0..4).map(|_| connected.call(post(empty()))).collect();
    for stream in [1, 3] {
        assert_eq!(connected.peer.next(&[kind::HEADERS]).await.stream, stream);
    }
    connected.peer.send(reset(3, Reason::REFUSED_STREAM)).await;
    connected.peer.send(headers(END, 1, HEAD_OK)).await;
    let seen = connected.peer.sync().await;
    assert!(seen.iter().all(|frame| frame.kind != kind::HEADERS), "{seen:?}");
    for stream in [5, 7] {
        assert_eq!(connected.peer.next(&[kind::HEADERS]).await.stream, stream);
        connected.peer.send(headers(END, stream, HEAD_OK)).await;
    }
    let mut refused = 0;
    for call in calls {
        refused += usize::from(soon(call).await.unwrap().is_err());
    }
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn one_call_goes_out_before_the_peer_has_told_how_many_it_takes() {
    let (io, other) = tokio::io::duplex(1 << 20);
    let (sender, connection) = client::connect(other, Config::default());
    tokio::spawn(connection);
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(&mut client::Call::new(post(empty()))).await })
        })
        .collect();
    let mut peer = Peer { io };
    peer.preface().await;
    assert_eq!(peer.next(&[kind::HEADERS]).await.stream, 1);
    // Nothing but SETTINGS may come first.
    peer.send(settings(&[(setting::MAX_CONCURRENT_STREAMS, 3)])).await;
    for stream in [3, 5] {
        assert_eq!(peer.next(&[kind::HEADERS]).await.stream, stream);
    }
    let seen = peer.sync().await;
    assert!(seen.iter().all(|frame| frame.kind != kind::HEADERS), "{seen:?}");
    for stream in (1..20).step_by(2) {
        peer.send(headers(END, stream, HEAD_OK)).await;
        if stream < 15 {
            assert_eq!(peer.next(&[kind::HEADERS]).await.stream, stream + 6);
        }
    }
    for call in calls {
        assert_eq!(soon(call).await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_last_words_of_a_peer_are_read_when_nothing_can_be_written() {
    let mut connection = LastWords::default();
    connection.words.extend(settings(&[]));
    connection.words.extend(go_away(0, Reason::NO_ERROR));
    let (sender, connection) = client::connect(connection, Config::default());
    tokio::spawn(connection);
    let mut call = client::Call::new(post(full(Bytes::from_static(b"body"))));
    let error = soon(sender.send(&mut call)).await.unwrap_err();
    assert!(error.is_unseen() && call.is_unsent(), "{error}");
}

/// A socket that cannot be written to; what it has to be read comes only then.
#[derive(Default)]
struct LastWords {
    words: Vec<u8>,
    has_failed: bool,
}

impl tokio::io::AsyncRead for LastWords {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        out: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if !self.has_failed {
            return std::task::Poll::Pending;
        }
        out.put_slice(&std::mem::take(&mut self.words));
        std::task::Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for LastWords {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.has_failed = true;
        std::task::Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}
