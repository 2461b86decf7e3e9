//! Calls and connections that break.

use super::*;

#[tokio::test]
async fn a_refused_connection_was_seen_by_nobody() {
    let address = deserted().await;
    let error = Client::new(&address).get().await.err().unwrap();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Connect, Delivery::No));
    let text = format!("dial tcp {address}: connect: connection refused");
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn resets_keep_their_code_and_only_one_proves_that_nobody_saw_the_call() {
    for (code, seen) in [
        (1, Delivery::Maybe),
        (2, Delivery::Maybe),
        (7, Delivery::No),
        (8, Delivery::Maybe),
        (11, Delivery::Maybe),
    ] {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        let call = client.spawn(get());
        let mut peer = Peer::accept(&listener, &[]).await;
        // What was seen by nobody goes out again, but not for ever.
        for _ in 0..=if seen == Delivery::No { MOST_RESENT } else { 0 } {
            let stream = peer.request().await;
            peer.reset(stream, code).await;
        }
        let error = ended(call).await.unwrap_err();
        assert_eq!((error.kind(), error.seen()), (ErrorKind::StreamReset(code), seen));
        // The connection is as good as before.
        let call = client.spawn(get());
        let stream = peer.request().await;
        peer.answer(stream).await;
        assert_eq!(ended(call).await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_body_that_is_reset_says_so() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    peer.head(stream).await;
    peer.data(0, stream, b"half").await;
    peer.reset(stream, 2).await;
    let error = bytes(soon(call).await.unwrap().unwrap()).await.unwrap_err();
    let wanted = (http2::Reason::INTERNAL_ERROR, http2::Side::Peer);
    assert!(
        matches!(error, http2::Error::Reset { reason, by } if (reason, by) == wanted),
        "{error:?}"
    );
    // The call is over, so the connection is idle.
    assert_eq!(client.pool.purge(Duration::ZERO).len(), 1);
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_broken() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    peer.head(stream).await;
    peer.data(0, stream, b"half").await;
    let answer = soon(call).await.unwrap().unwrap();
    drop(peer);
    assert!(bytes(answer).await.is_err());
}

#[tokio::test]
async fn a_peer_that_speaks_http1_is_told_from_one_that_hangs_up() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let call = client.spawn(get());
    let mut io = accept(&listener).await;
    let answer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nwhat?";
    write(&mut io, answer).await;
    let error = ended(call).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.seen()),
        (ErrorKind::Malformed, Delivery::Maybe),
        "{error:?}"
    );
    assert_ne!(error.to_string(), "EOF");
    let words = error.without_preface().unwrap();
    assert!(words.ends_with("looked like an HTTP/1.1 header"), "{words}");
    read_rest(&mut io).await;
    soon(client.tasks.wait()).await;
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_malformed() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    // An index that HPACK does not have.
    peer.send(frame(HEADERS, END_HEADERS, stream, &[0xff, 0xff, 0x7f]))
        .await;
    let error = ended(call).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.seen()),
        (ErrorKind::Malformed, Delivery::Maybe),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_request_body_that_fails_is_told_and_resets_the_stream() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let (mut sender, request) = stream();
    let call = client.spawn(request);
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    soon(sender.send_data("half".into())).await.unwrap();
    assert_eq!(peer.next(DATA).await.payload, b"half");
    sender.abort("the caller went away".into());
    let end = next_frame(&mut peer.io, &[RST_STREAM, DATA]).await.unwrap();
    assert_eq!((end.kind, end.stream), (RST_STREAM, stream));
    let error = ended(call).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.seen()),
        (ErrorKind::RequestBody, Delivery::Maybe),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_head_that_is_too_large_fails_its_call_alone() {
    let (listener, address) = listen().await;
    let config = H2PoolConfig {
        max_header_list: 1024,
        ..H2PoolConfig::default()
    };
    let client = Client::with(&address, config);
    let call = client.spawn(get());
    let mut peer = Peer::accept(&listener, &[]).await;
    let stream = peer.request().await;
    let mut head = vec![0x88];
    for _ in 0..20 {
        // A literal field without indexing: `x`, and a value of a hundred bytes.
        head.extend([0, 1, b'x', 100]);
        head.extend([b'y'; 100]);
    }
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head))
        .await;
    let error = ended(call).await.unwrap_err();
    assert_eq!(error.seen(), Delivery::Maybe, "{error:?}");
    let call = client.spawn(get());
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(ended(call).await.unwrap(), 200);
}

/// Go's servers of gRPC send metadata up to 16 MiB to clients that allow it, and fail calls for those that allow less.
#[tokio::test]
async fn a_head_may_have_four_mebibytes_and_no_more() {
    const VALUE: usize = 100 * 1024;
    // What an entry counts for (RFC 9113, section 6.5.2): the status, and values under a name of one byte.
    let fitting = ((4 << 20) - 42) / (VALUE + 33);
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let mut peer = None;
    for (values, is_taken) in [(fitting, true), (fitting + 1, false)] {
        let call = client.spawn(get());
        let peer = match &mut peer {
            Some(peer) => peer,
            None => peer.insert(Peer::accept(&listener, &[]).await),
        };
        let stream = peer.request().await;
        let mut head = vec![0x88];
        for _ in 0..values {
            // The length in the form of HPACK: seven bits of ones, and the rest in groups of seven bits.
            head.extend([0, 1, b'x', 0x7f]);
            let mut rest = VALUE - 0x7f;
            while rest > 0x7f {
                head.push((rest & 0x7f) as u8 | 0x80);
                rest >>= 7;
            }
            head.push(rest as u8);
            head.resize(head.len() + VALUE, b'y');
        }
        let mut pieces = head.chunks(16 * 1024).peekable();
        let mut kind = HEADERS;
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let flags = if kind == HEADERS { end | END_STREAM } else { end };
            peer.send(frame(kind, flags, stream, piece)).await;
            kind = CONTINUATION;
        }
        let answered = ended(call).await;
        assert_eq!(answered.is_ok(), is_taken, "{values}: {answered:?}");
    }
}

/// The clock stands still while anything can happen, and jumps when nothing can.
#[tokio::test(start_paused = true)]
async fn callers_that_wait_for_one_connection_share_its_failure() {
    let full = FullListener::new();
    let client = Client::new(&full.address);
    let begun = tokio::time::Instant::now();
    let calls: Vec<_> = (0..100).map(|_| client.spawn(get())).collect();
    for call in calls {
        let error = call.await.unwrap().err().unwrap();
        assert_eq!((error.kind(), error.seen()), (ErrorKind::Connect, Delivery::No));
    }
    let limit = H2PoolConfig::default().connect_timeout;
    assert!(begun.elapsed() < limit * 2, "they wait one after the other");
    // Who comes later tries again.
    let begun = tokio::time::Instant::now();
    assert!(client.pool.send(&client.key, get()).await.is_err());
    assert!(begun.elapsed() >= limit);
}
