//! How many connections there are, and how they end.

use super::*;

/// A connection that has no call.
async fn idle_connection() -> (TcpListener, Peer, Client) {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
    (listener, peer, client)
}

#[tokio::test]
async fn a_second_connection_comes_when_the_first_is_full() {
    let (listener, address) = listen().await;
    let config = H2PoolConfig {
        max_users: 2,
        ..H2PoolConfig::default()
    };
    let client = Client::with(&address, config);
    let calls: Vec<_> = (0..2).map(|_| client.spawn(get())).collect();
    let mut first = Peer::accept(&listener, &[]).await;
    for wanted in [1, 3] {
        assert_eq!(first.request().await, wanted);
    }
    let third = client.spawn(get());
    let mut second = Peer::accept(&listener, &[]).await;
    assert_eq!(second.request().await, 1);
    assert_eq!(client.connections(), 2);
    // A body that is not read to its end counts.
    first.head(1).await;
    first.answer(3).await;
    let mut calls = calls.into_iter();
    let unread = soon(calls.next().unwrap()).await.unwrap().unwrap();
    assert_eq!(ended(calls.next().unwrap()).await.unwrap(), 200);
    let fourth = client.spawn(get());
    assert_eq!(first.request().await, 5);
    second.answer(1).await;
    first.answer(5).await;
    assert_eq!(ended(third).await.unwrap(), 200);
    assert_eq!(ended(fourth).await.unwrap(), 200);
    drop(unread);
    assert_eq!(client.connections(), 2);
}

#[tokio::test]
async fn a_purge_closes_what_is_idle() {
    let (_listener, peer, client) = idle_connection().await;
    assert_eq!(client.pool.purge(Duration::from_secs(3600)), []);
    assert_eq!(client.connections(), 1);
    let purged = Purged {
        address: Arc::clone(&client.key.address),
        count: 1,
    };
    assert_eq!(client.pool.purge(Duration::ZERO), [purged]);
    assert!(client.pool.peers.len() == 0);
    let frames = peer.rest().await;
    assert!(frames.iter().all(|frame| frame.kind != RST_STREAM), "{frames:?}");
    soon(client.tasks.wait()).await;
    assert_eq!(client.pool.purge(Duration::ZERO), []);
}

#[tokio::test]
async fn a_purge_spares_calls() {
    let (_listener, mut peer, client) = idle_connection().await;
    let call = client.spawn(get());
    let stream = peer.request().await;
    assert_eq!(client.pool.purge(Duration::ZERO), []);
    peer.head(stream).await;
    let answer = soon(call).await.unwrap().unwrap();
    assert_eq!(client.pool.purge(Duration::ZERO), [], "a body is being read");
    peer.data(END_STREAM, stream, b"end").await;
    assert_eq!(bytes(answer).await.unwrap(), "end");
    assert_eq!(client.pool.purge(Duration::ZERO).len(), 1);
}

#[tokio::test]
async fn calls_go_on_when_their_peer_is_let_go() {
    let (listener, mut peer, client) = idle_connection().await;
    let call = client.spawn(get());
    let stream = peer.request().await;
    client.pool.close(&client.key);
    peer.head(stream).await;
    let answer = soon(call).await.unwrap().unwrap();
    let next = client.spawn(get());
    let mut other = Peer::accept(&listener, &[]).await;
    let other_stream = other.request().await;
    other.answer(other_stream).await;
    assert_eq!(ended(next).await.unwrap(), 200);
    peer.data(END_STREAM, stream, b"end").await;
    assert_eq!(bytes(answer).await.unwrap(), "end");
    // The last call is over, and with it the connection.
    peer.rest().await;
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn connections_end_with_the_pool() {
    let (_listener, peer, client) = idle_connection().await;
    let Client { pool, tasks, .. } = client;
    drop(pool);
    peer.rest().await;
    soon(tasks.wait()).await;
}

/// A call, and the connection that it came on; `None` for one that was there.
async fn called(
    client: &Client,
    destination: &Arc<Destination>,
    listener: &TcpListener,
    peer: Option<Peer>,
) -> Peer {
    let (pool, destination) = (Arc::clone(&client.pool), Arc::clone(destination));
    let call = tokio::spawn(async move { pool.send_to(&destination, get()).await });
    let mut peer = match peer {
        Some(peer) => peer,
        None => Peer::accept(listener, &[]).await,
    };
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
    peer
}

#[tokio::test]
async fn a_destination_goes_on_when_its_peer_was_let_go() {
    let (listener, address) = listen().await;
    let client = Client::with(&address, config());
    let first = Arc::new(client.pool.destination(client.key.clone()));
    let second = Arc::new(client.pool.destination(client.key.clone()));
    let peer = called(&client, &first, &listener, None).await;
    // Whoever names the same peer shares its connections.
    let peer = called(&client, &second, &listener, Some(peer)).await;
    assert_eq!(client.pool.purge(Duration::ZERO).len(), 1);
    assert_eq!(client.pool.peers.len(), 0);
    peer.rest().await;
    // The second one finds the peer, and the first one the same.
    let peer = called(&client, &second, &listener, None).await;
    let peer = called(&client, &first, &listener, Some(peer)).await;
    assert_eq!(client.connections(), 1);
    // Destinations outlive the pool, connections do not.
    let Client { pool, tasks, .. } = client;
    drop(pool);
    peer.rest().await;
    soon(tasks.wait()).await;
    drop((first, second));
}

#[tokio::test]
async fn a_connection_to_a_peer_that_was_let_go_meanwhile_ends_with_its_call() {
    let (listener, address) = listen().await;
    let client = Client::with(&address, config());
    let destination = Arc::new(client.pool.destination(client.key.clone()));
    let known = destination.peer().unwrap();
    client.pool.close(&client.key);
    let (connection, user) = client.pool.connection(&known, false).await.unwrap();
    let peer = Peer::accept(&listener, &[]).await;
    assert!(known.connections.read().unwrap().is_empty());
    drop((connection, user));
    peer.rest().await;
    soon(client.tasks.wait()).await;
}

#[tokio::test]
async fn of_too_many_peers_an_idle_one_is_let_go() {
    let config = H2PoolConfig {
        max_peers: 1,
        ..H2PoolConfig::default()
    };
    let (listener, address) = listen().await;
    let client = Client::with(&address, config);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
    let other = PeerKey {
        address: address.replace("127.0.0.1", "localhost").into(),
        identity: None,
    };
    let pool = Arc::clone(&client.pool);
    let call = tokio::spawn(async move { pool.send(&other, get()).await });
    let mut second = Peer::accept(&listener, &[]).await;
    let stream = second.request().await;
    second.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
    peer.rest().await;
    assert_eq!(client.pool.peers.len(), 1);
}

#[tokio::test]
async fn a_peer_to_which_a_connection_is_being_made_is_not_let_go() {
    let config = H2PoolConfig {
        max_peers: 1,
        ..H2PoolConfig::default()
    };
    let (_listener, address) = listen().await;
    let client = Client::with(&address, config);
    let peer = client.pool.peers.get(&client.key).unwrap();
    let other = PeerKey::new("127.0.0.1:1");
    let dialling = peer.dialling.lock().await;
    assert!(client.pool.peers.get(&other).is_err());
    assert!(peer.is_listed());
    drop(dialling);
    assert!(client.pool.peers.get(&other).is_ok());
    assert!(!peer.is_listed());
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_given_up() {
    let (listener, address) = listen().await;
    let short = Duration::from_millis(50);
    let config = H2PoolConfig {
        keep_alive: Some((short, short)),
        ..H2PoolConfig::default()
    };
    let client = Client::with(&address, config);
    let call = client.spawn(get());
    let _silent = accept(&listener).await;
    let error = ended(call).await.unwrap_err();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Closed, Delivery::Maybe));
    soon(client.tasks.wait()).await;
}

#[tokio::test]
async fn when_all_peers_have_calls_no_further_one_is_called() {
    let config = H2PoolConfig {
        max_peers: 1,
        ..H2PoolConfig::default()
    };
    let (listener, address) = listen().await;
    let client = Client::with(&address, config);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    let other = PeerKey::new(address.replace("127.0.0.1", "localhost"));
    let error = soon(client.pool.send(&other, get())).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Busy, Delivery::No));
    assert_eq!(error.to_string(), "1 peers are called already");
    // The one that is known is called on.
    peer.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
    assert_eq!(client.pool.peers.len(), 1);
}

#[tokio::test]
async fn connections_without_a_call_are_closed_although_nobody_calls() {
    let config = H2PoolConfig {
        idle_timeout: Some(Duration::from_millis(100)),
        ..H2PoolConfig::default()
    };
    let (listener, address) = listen().await;
    let client = Client::with(&address, config);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    peer.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
    peer.rest().await;
    assert_eq!(client.connections(), 0);
}
