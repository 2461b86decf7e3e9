//! GOAWAY: what the peer never saw, and what it may have seen.

use super::*;

const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A peer with two calls on its streams 1 and 3.
struct Two {
    client: Client,
    listener: TcpListener,
    peer: Peer,
    first: Call,
    second: Call,
}

impl Two {
    async fn new() -> Self {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        let first = client.spawn(get());
        let mut peer = Peer::accept(&listener, &[]).await;
        assert_eq!(peer.request().await, 1);
        let second = client.spawn(post(b"x".to_vec()));
        assert_eq!(peer.request().await, 3);
        Self {
            client,
            listener,
            peer,
            first,
            second,
        }
    }
}

/// The call goes out again, on a connection of its own.
async fn goes_out_again(listener: &TcpListener, call: Call) -> Peer {
    let mut other = Peer::accept(listener, &[]).await;
    let stream = other.request().await;
    assert_eq!(other.next(DATA).await.payload, b"x");
    other.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
    other
}

#[tokio::test]
async fn what_the_peer_never_saw_goes_out_again_and_what_it_took_goes_on() {
    for code in [NO_ERROR, ENHANCE_YOUR_CALM] {
        let mut two = Two::new().await;
        two.peer.send(go_away(1, code)).await;
        let _other = goes_out_again(&two.listener, two.second).await;
        two.peer.answer(1).await;
        assert_eq!(ended(two.first).await.unwrap(), 200, "{code}");
        two.peer.rest().await;
    }
}

#[tokio::test]
async fn what_cannot_go_out_again_was_seen_by_nobody() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let call = client.spawn(post(vec![7; 65_537]));
    let mut peer = Peer::accept(&listener, &[]).await;
    peer.request().await;
    let mut come = 0;
    while come < 65_535 {
        come += peer.next(DATA).await.payload.len();
    }
    peer.send(go_away(0, NO_ERROR)).await;
    let error = ended(call).await.unwrap_err();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Closed, Delivery::No));
    peer.rest().await;
    soon(client.tasks.wait()).await;
}

#[tokio::test]
async fn what_the_peer_took_may_have_been_seen_when_it_goes_for_good() {
    for code in [NO_ERROR, ENHANCE_YOUR_CALM] {
        let mut two = Two::new().await;
        two.peer.send(go_away(1, code)).await;
        let _other = goes_out_again(&two.listener, two.second).await;
        two.peer.close().await;
        let error = ended(two.first).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.seen()),
            (ErrorKind::Closed, Delivery::Maybe),
            "{code}"
        );
    }
}

#[tokio::test]
async fn the_last_word_counts_when_a_peer_goes_in_two_steps() {
    let mut two = Two::new().await;
    // As servers do that drain: first no new streams, then which ones were taken.
    two.peer.send(go_away(0x7fff_ffff, NO_ERROR)).await;
    two.peer.sync().await;
    two.peer.send(go_away(1, NO_ERROR)).await;
    let _other = goes_out_again(&two.listener, two.second).await;
    two.peer.answer(1).await;
    assert_eq!(ended(two.first).await.unwrap(), 200);
}

#[tokio::test]
async fn a_peer_that_just_ends_may_have_seen_everything() {
    let two = Two::new().await;
    drop(two.peer);
    for call in [two.first, two.second] {
        let error = ended(call).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Closed | ErrorKind::Reset),
            "{error:?}"
        );
        assert_eq!(error.seen(), Delivery::Maybe);
    }
}

#[tokio::test]
async fn new_calls_go_to_a_new_connection_while_old_ones_go_on() {
    for code in [NO_ERROR, ENHANCE_YOUR_CALM] {
        let mut two = Two::new().await;
        two.peer.send(go_away(3, code)).await;
        two.peer.sync().await;
        let third = two.client.spawn(post(b"y".to_vec()));
        let mut other = Peer::accept(&two.listener, &[]).await;
        let stream = other.request().await;
        other.answer(stream).await;
        assert_eq!(ended(third).await.unwrap(), 200, "{code}");
        for (call, stream) in [(two.first, 1), (two.second, 3)] {
            two.peer.answer(stream).await;
            assert_eq!(ended(call).await.unwrap(), 200, "{code}");
        }
        two.peer.rest().await;
        assert_eq!(two.client.connections(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_connection_that_ended_idle_is_replaced() {
    for last_word in [None, Some(go_away(1, NO_ERROR))] {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        for _ in 0..3 {
            let call = client.spawn(post(b"x".to_vec()));
            let mut peer = Peer::accept(&listener, &[]).await;
            let stream = peer.request().await;
            peer.answer(stream).await;
            assert_eq!(ended(call).await.unwrap(), 200);
            if let Some(last_word) = &last_word {
                peer.send(last_word.clone()).await;
            }
            peer.close().await;
            // The end was seen before the next call comes.
            soon(async {
                while !client.tasks.is_empty() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        assert_eq!(client.connections(), 1);
    }
}
