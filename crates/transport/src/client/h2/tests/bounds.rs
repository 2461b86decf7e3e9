//! Connections that are not used again for ever.

use std::num::NonZeroU32;

use super::*;

fn bounded(address: &str, most_calls: u32, max_age: Option<Duration>, most: usize) -> Client {
    let config = H2PoolConfig {
        max_bounded: most,
        ..config()
    };
    config.reuse.set(NonZeroU32::new(most_calls), max_age);
    Client::with(address, config)
}

/// Takes the next connection in, and its first request.
async fn next(listener: &TcpListener) -> Peer {
    let mut peer = Peer::accept(listener, &[]).await;
    assert_eq!(peer.request().await, 1);
    peer
}

#[tokio::test]
async fn each_call_has_a_connection() {
    let (listener, address) = listen().await;
    let client = bounded(&address, 1, None, 64);
    let calls: Vec<_> = (0..3).map(|_| client.spawn(get())).collect();
    // None waits for another one.
    let mut peers = Vec::new();
    for _ in &calls {
        peers.push(next(&listener).await);
    }
    for peer in &mut peers {
        peer.head(1).await;
        peer.data(0, 1, b"half").await;
        peer.data(END_STREAM, 1, b"whole").await;
    }
    for call in calls {
        let answer = soon(call).await.unwrap().unwrap();
        assert_eq!(bytes(answer).await.unwrap(), "halfwhole");
    }
    // They end with their calls.
    for peer in peers {
        peer.rest().await;
    }
    assert_eq!(client.connections(), 0);
}

#[tokio::test]
async fn a_connection_serves_as_many_calls_as_it_is_said() {
    let (listener, address) = listen().await;
    let client = bounded(&address, 2, None, 64);
    for _ in 0..2 {
        let first = client.spawn(get());
        let mut peer = next(&listener).await;
        let second = client.spawn(get());
        assert_eq!(peer.request().await, 3);
        peer.answer(1).await;
        peer.answer(3).await;
        assert_eq!(ended(first).await.unwrap(), 200);
        assert_eq!(ended(second).await.unwrap(), 200);
        peer.rest().await;
        assert_eq!(client.connections(), 0);
    }
}

#[tokio::test]
async fn an_old_connection_takes_no_more_calls() {
    let (listener, address) = listen().await;
    let age = Duration::from_millis(100);
    let client = bounded(&address, 0, Some(age), 64);
    let first = client.spawn(get());
    let mut old = next(&listener).await;
    old.head(1).await;
    let first = soon(first).await.unwrap().unwrap();
    tokio::time::sleep(age).await;
    let second = client.spawn(get());
    let mut young = next(&listener).await;
    young.answer(1).await;
    assert_eq!(ended(second).await.unwrap(), 200);
    // What had begun goes on.
    old.data(END_STREAM, 1, b"late").await;
    assert_eq!(bytes(first).await.unwrap(), "late");
    old.rest().await;
}

#[tokio::test]
async fn calls_wait_when_there_are_as_many_connections_as_there_may_be() {
    let (listener, address) = listen().await;
    let client = bounded(&address, 1, None, 1);
    let first = client.spawn(get());
    let mut peer = next(&listener).await;
    let second = client.spawn(get());
    peer.sync().await;
    assert!(!second.is_finished());
    peer.answer(1).await;
    assert_eq!(ended(first).await.unwrap(), 200);
    peer.rest().await;
    let mut peer = next(&listener).await;
    peer.answer(1).await;
    assert_eq!(ended(second).await.unwrap(), 200);
}

#[tokio::test]
async fn no_connection_is_free_for_too_long() {
    let (listener, address) = listen().await;
    let config = H2PoolConfig {
        max_bounded: 1,
        wait_timeout: Duration::from_millis(20),
        ..config()
    };
    config.reuse.set(NonZeroU32::new(1), None);
    let client = Client::with(&address, config);
    let first = client.spawn(get());
    let mut peer = next(&listener).await;
    let error = client.get().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.seen()),
        (ErrorKind::Busy, Delivery::No),
        "{error}"
    );
    peer.answer(1).await;
    assert_eq!(ended(first).await.unwrap(), 200);
}
