//! Many calls on one connection.

use super::*;
use crate::client::h2::peer::CROWD;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

#[tokio::test]
async fn five_hundred_calls_at_once_share_one_connection() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let peer = async {
        let mut peer = Peer::accept(&listener, &[]).await;
        let mut streams = Vec::new();
        while streams.len() < 500 {
            streams.push(peer.request().await);
        }
        // All of them are open, nobody has an answer.
        for stream in streams {
            peer.answer(stream).await;
        }
        peer
    };
    let calls: Vec<_> = (0..500).map(|_| client.spawn(get())).collect();
    let _peer = peer.await;
    for call in calls {
        assert_eq!(ended(call).await.unwrap(), 200);
    }
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn calls_beyond_what_the_peer_takes_wait_for_their_turn() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let calls: Vec<_> = (0..300).map(|_| client.spawn(get())).collect();
    let mut peer = Peer::accept_silently(&listener).await;
    // One goes out before the peer has told its limit.
    let mut open = vec![peer.request().await];
    peer.settings(&[(MAX_CONCURRENT_STREAMS, 5)]).await;
    while open.len() < 5 {
        open.push(peer.request().await);
    }
    let frames = peer.sync().await;
    assert!(frames.iter().all(|frame| frame.kind != HEADERS));
    for _ in 0..295 {
        peer.answer(open.remove(0)).await;
        open.push(peer.request().await);
    }
    for stream in open {
        peer.answer(stream).await;
    }
    for call in calls {
        assert_eq!(ended(call).await.unwrap(), 200);
    }
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn a_limit_of_one_makes_a_queue() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let peer = async {
        let mut peer = Peer::accept(&listener, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
        let first = peer.request().await;
        peer.answer(first).await;
        for _ in 0..2 {
            let stream = peer.request().await;
            let between = peer.sync().await;
            assert!(between.iter().all(|frame| frame.kind != HEADERS), "{between:?}");
            peer.answer(stream).await;
        }
        peer
    };
    let calls = async {
        client.get().await.unwrap();
        let (second, third) = tokio::join!(client.get(), client.get());
        (second.unwrap(), third.unwrap())
    };
    let (_peer, _) = tokio::join!(peer, calls);
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn an_unread_body_stops_at_its_window_and_stops_nobody_else() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let window = H2PoolConfig::default().stream_window as usize;
    let peer = async {
        let mut peer = Peer::accept(&listener, &[]).await;
        for _ in 0..10 {
            let stream = peer.request().await;
            peer.head(stream).await;
            for _ in 0..window / 16384 {
                peer.data(0, stream, &[7; 16384]).await;
            }
        }
        let neighbour = peer.request().await;
        // Nobody has read anything, so no stream gets more room.
        let frames = peer.sync().await;
        let more = |frame: &RawFrame| frame.kind == WINDOW_UPDATE && frame.stream != 0;
        assert!(!frames.iter().any(more), "{frames:?}");
        peer.head(neighbour).await;
        peer.data(END_STREAM, neighbour, b"neighbour").await;
        // Reading makes room.
        let update = loop {
            let update = peer.next(WINDOW_UPDATE).await;
            if update.stream == 1 {
                break update;
            }
        };
        assert!(update.number(0) as usize <= window);
        peer.data(END_STREAM, 1, b"end").await;
        peer
    };
    let calls = async {
        let mut unread = Vec::new();
        for _ in 0..10 {
            unread.push(client.get().await.unwrap());
        }
        let neighbour = client.get().await.unwrap();
        assert_eq!(bytes(neighbour).await.unwrap(), "neighbour");
        let read = bytes(unread.remove(0)).await.unwrap();
        assert_eq!(read.len(), window + 3);
        unread
    };
    let (_peer, _unread) = tokio::join!(peer, calls);
}

#[tokio::test]
async fn a_peer_that_overruns_a_window_is_cut_off() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let window = H2PoolConfig::default().stream_window as usize;
    let peer = async {
        let mut peer = Peer::accept(&listener, &[]).await;
        let stream = peer.request().await;
        peer.head(stream).await;
        for _ in 0..=window / 16384 {
            peer.data(0, stream, &[7; 16384]).await;
        }
        let cut = next_frame(&mut peer.io, &[RST_STREAM, GOAWAY]).await.unwrap();
        assert_eq!(
            cut.number(cut.payload.len().min(8) - 4),
            u32::from(http2::Reason::FLOW_CONTROL_ERROR)
        );
    };
    let call = async {
        let answer = client.get().await.unwrap();
        (answer, ())
    };
    let (answer, ()) = tokio::join!(call, peer);
    assert!(bytes(answer.0).await.is_err());
}

#[tokio::test]
async fn a_request_waits_for_the_window_of_the_peer() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let total = 200_000;
    let peer = async {
        let mut peer = Peer::accept(&listener, &[]).await;
        let stream = peer.request().await;
        let mut read = 0;
        let mut allowed = 65_535;
        loop {
            let data = peer.next(DATA).await;
            read += data.payload.len();
            assert!(read <= allowed, "{read} of {allowed}");
            if data.flags & END_STREAM != 0 {
                break;
            }
            if read == allowed {
                for stream in [0, stream] {
                    peer.send(frame(WINDOW_UPDATE, 0, stream, &50_000_u32.to_be_bytes()))
                        .await;
                }
                allowed += 50_000;
            }
        }
        assert_eq!(read, total);
        peer.answer(stream).await;
        peer
    };
    let (answer, _peer) = tokio::join!(client.send(post(vec![1; total])), peer);
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn trailers_come_after_the_body() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let peer = async {
        let mut peer = Peer::accept(&listener, &[]).await;
        let stream = peer.request().await;
        peer.head(stream).await;
        peer.data(0, stream, b"abc").await;
        // A literal field without indexing: `x: 7`.
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0, 1, b'x', 1, b'7']);
        peer.send(trailers).await;
        peer
    };
    let (answer, _peer) = tokio::join!(client.get(), peer);
    let collected = soon(answer.unwrap().into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x"], "7");
    assert_eq!(collected.to_bytes(), "abc");
}

#[tokio::test]
async fn streams_that_do_not_end_keep_others_out_for_no_longer_than_patience() {
    let (listener, address) = listen().await;
    let config = H2PoolConfig {
        patience: Duration::from_millis(20),
        ..H2PoolConfig::default()
    };
    let client = Client::with(&address, config);
    let first = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    assert_eq!(peer.request().await, 1);
    peer.sync().await;
    let calls: Vec<_> = (0..3).map(|_| client.spawn(get())).collect();
    let mut other = Peer::accept(&listener, &[]).await;
    for _ in 0..3 {
        let stream = other.request().await;
        other.answer(stream).await;
    }
    for call in calls {
        assert_eq!(ended(call).await.unwrap(), 200);
    }
    peer.answer(1).await;
    assert_eq!(ended(first).await.unwrap(), 200);
    assert_eq!(client.connections(), 2);
}

/// However many calls wait behind streams that do not end, a peer has no more connections than that.
#[tokio::test]
async fn a_peer_has_a_few_connections_at_most() {
    let (listener, address) = listen().await;
    let config = H2PoolConfig {
        patience: Duration::from_millis(1),
        // These peers answer no PING.
        keep_alive: None,
        ..H2PoolConfig::default()
    };
    let client = Client::with(&address, config);
    let call = |_| {
        let (pool, key) = (Arc::clone(&client.pool), client.key.clone());
        // An answer that is held is a call that goes on.
        tokio::spawn(async move { pool.send(&key, get()).await.map(drop) })
    };
    let calls: Vec<_> = (0..2 * MOST_CONNECTIONS).map(call).collect();
    let mut peers = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        let mut peer = Peer::accept(&listener, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
        let stream = peer.request().await;
        peers.push((peer, stream));
    }
    soon(async {
        while client.connections() < MOST_CONNECTIONS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let peer = client.pool.peers.get(&client.key).unwrap();
    assert!(
        client.pool.existing(&peer, true).is_some(),
        "a further call waits"
    );
    // Streams that do not end keep nobody in their line when there is a place elsewhere.
    let (mut last, mut stream) = peers.pop().unwrap();
    for _ in 0..MOST_CONNECTIONS {
        last.answer(stream).await;
        stream = last.request().await;
    }
    last.answer(stream).await;
    let answered = || calls.iter().filter(|call| call.is_finished()).count();
    soon(async {
        while answered() < 1 + MOST_CONNECTIONS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(client.connections(), MOST_CONNECTIONS);
    for call in calls {
        call.abort();
    }
}

/// A peer that refuses what it had allowed is asked again, but not for ever.
#[tokio::test]
async fn a_call_that_is_refused_at_each_turn_fails() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let first = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(ended(first).await.unwrap(), 200);
    let call = client.spawn(get());
    for _ in 0..=MOST_TURNS + MOST_RESENT {
        let stream = peer.request().await;
        peer.reset(stream, 7).await;
    }
    let error = ended(call).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.seen()),
        (ErrorKind::StreamReset(7), Delivery::No)
    );
}

#[tokio::test]
async fn a_window_that_is_not_given_back_is_gone_round() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let call = client.spawn(post(vec![7; 100_000]));
    let mut peer = Peer::accept(&listener, &[(INITIAL_WINDOW_SIZE, 1 << 20)]).await;
    let mut come = 0;
    while come < 65_535 {
        come += peer.next(DATA).await.payload.len();
    }
    // It is seen that nothing comes.
    soon(async {
        while client.pool.peers.get(&client.key).unwrap().free(1000).is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let next = client.spawn(get());
    let mut other = Peer::accept(&listener, &[]).await;
    let stream = other.request().await;
    other.answer(stream).await;
    assert_eq!(ended(next).await.unwrap(), 200);
    peer.send(frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()))
        .await;
    peer.answer(1).await;
    assert_eq!(ended(call).await.unwrap(), 200);
}

#[tokio::test]
async fn a_peer_that_takes_no_streams_is_not_waited_for_for_ever() {
    let (listener, address) = listen().await;
    let config = H2PoolConfig {
        wait_timeout: Duration::from_millis(300),
        ..H2PoolConfig::default()
    };
    let client = Client::with(&address, config);
    // One goes out before the peer has told that it takes none.
    let first = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[(MAX_CONCURRENT_STREAMS, 0)]).await;
    let stream = peer.request().await;
    let error = ended(client.spawn(get())).await.unwrap_err();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Busy, Delivery::No));
    assert!(error.is_refusal(), "the peer is there");
    assert_eq!(error.to_string(), "the peer took no further stream for 0 s");
    // Nobody is left in the line.
    peer.answer(stream).await;
    assert_eq!(ended(first).await.unwrap(), 200);
    peer.settings(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let call = client.spawn(get());
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn many_calls_are_spread_over_as_many_connections_as_there_are_threads() {
    for (threads, wanted) in [(1, 1), (3, 3)] {
        let (listener, address) = listen().await;
        let config = H2PoolConfig {
            max_spread: threads,
            ..H2PoolConfig::default()
        };
        let client = Client::with(&address, config);
        let peers = tokio::spawn(async move {
            let mut peers = Vec::new();
            loop {
                let mut peer = Peer::accept(&listener, &[]).await;
                peers.push(tokio::spawn(async move {
                    loop {
                        peer.request().await;
                    }
                }));
            }
        });
        let mut calls = Vec::new();
        for _ in 0..8 * CROWD {
            calls.push(client.spawn(get()));
            tokio::task::yield_now().await;
        }
        crate::testing::soon(async {
            while client.users().iter().sum::<usize>() < calls.len() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let users = client.users();
        assert_eq!(users.len(), wanted, "{users:?}");
        assert!(users.iter().all(|users| *users > CROWD), "{users:?}");
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        peers.abort();
    }
}

/// A peer that grants no window at all takes no byte of a body: that holds nobody else up, and the caller can leave.
#[tokio::test]
async fn a_peer_that_never_grants_a_window_holds_up_its_own_streams_alone() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let first = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(ended(first).await.unwrap(), 200);
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let call = client.spawn(post(vec![7; 70_000]));
        stuck.push((peer.request().await, call));
    }
    for _ in 0..50 {
        let call = client.spawn(get());
        let stream = peer.request().await;
        peer.answer(stream).await;
        assert_eq!(ended(call).await.unwrap(), 200);
    }
    for (stream, call) in stuck {
        call.abort();
        assert_eq!(peer.next(RST_STREAM).await.stream, stream);
    }
    assert_eq!(client.connections(), 1);
}
