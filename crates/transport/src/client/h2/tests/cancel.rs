//! Dropping a call.

use super::*;

const CANCEL: u32 = 8;

#[tokio::test]
async fn a_dropped_call_resets_its_stream_and_nothing_else() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let other = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    assert_eq!(peer.request().await, 1);
    let dropped = client.spawn(get());
    assert_eq!(peer.request().await, 3);
    dropped.abort();
    let reset = peer.next(RST_STREAM).await;
    assert_eq!((reset.stream, reset.number(0)), (3, CANCEL));
    peer.answer(1).await;
    assert_eq!(ended(other).await.unwrap(), 200);
}

#[tokio::test]
async fn a_call_dropped_in_the_middle_of_its_request_resets_its_stream() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let (mut sender, request) = stream();
    let dropped = client.spawn(request);
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    soon(sender.send_data("half".into())).await.unwrap();
    assert_eq!(peer.next(DATA).await.payload, b"half");
    dropped.abort();
    let end = next_frame(&mut peer.io, &[RST_STREAM, DATA]).await.unwrap();
    assert_eq!(
        (end.kind, end.stream, end.number(0)),
        (RST_STREAM, stream, CANCEL)
    );
}

#[tokio::test]
async fn a_dropped_body_resets_its_stream() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    peer.head(stream).await;
    peer.data(0, stream, b"half").await;
    let mut body = soon(call).await.unwrap().unwrap().into_body();
    assert_eq!(
        soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(),
        "half"
    );
    drop(body);
    let reset = peer.next(RST_STREAM).await;
    assert_eq!((reset.stream, reset.number(0)), (stream, CANCEL));
    // The connection serves the next call.
    let call = client.spawn(get());
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
}

#[tokio::test]
async fn what_is_unread_takes_no_room_from_others() {
    let (listener, address) = listen().await;
    let window = H2PoolConfig::default().stream_window;
    let config = H2PoolConfig {
        connection_window: window,
        ..config()
    };
    let client = Client::with(&address, config);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    peer.head(stream).await;
    // One body would fill the window of the connection.
    for _ in 0..window / 16384 {
        peer.data(0, stream, &[7; 16384]).await;
    }
    let frames = peer.sync().await;
    let updates = frames
        .iter()
        .filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0);
    assert_eq!(updates.map(|frame| frame.number(0)).sum::<u32>(), window);
    drop(soon(call).await.unwrap().unwrap());
    assert_eq!(peer.next(RST_STREAM).await.stream, stream);
}

#[tokio::test]
async fn a_call_dropped_while_it_connects_leaves_the_way_free() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    {
        let mut dropped = Box::pin(client.pool.send(&client.key, get()));
        std::future::poll_fn(|cx| {
            assert!(dropped.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    let call = client.spawn(get());
    // The connection of the dropped call may be there, too; nothing comes on it.
    let peer = async {
        loop {
            let mut io = accept(&listener).await;
            let mut preface = [0; 24];
            if soon(io.read_exact(&mut preface)).await.is_ok() {
                let mut peer = Peer { io };
                peer.send(frame(SETTINGS, 0, 0, &[])).await;
                let stream = peer.request().await;
                peer.answer(stream).await;
                return peer;
            }
        }
    };
    let (_peer, ended) = tokio::join!(peer, ended(call));
    assert_eq!(ended.unwrap(), 200);
}
