//! Connections that cannot be made, or break while the request goes out.

use super::*;
use crate::testing::{FullListener, accept, deserted, read_rest};

#[tokio::test]
async fn a_refused_connection_was_seen_by_nobody() {
    let address = deserted().await;
    let error = Client::new(&address).send(post("x")).await.err().unwrap();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Connect, Delivery::No));
    assert_eq!(
        error.to_string(),
        format!("dial tcp {address}: connect: connection refused")
    );
}

#[tokio::test]
async fn a_request_body_that_fails_is_told_and_never_looks_complete() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let (mut sender, request) = stream();
    let app = async {
        sender.send_data("half".into()).await.unwrap();
        let mut app = accept(&listener).await;
        read_head(&mut app).await;
        sender.abort("the caller went away".into());
        read_rest(&mut app).await
    };
    let (rest, result) = tokio::join!(app, client.send(request));
    let error = result.err().unwrap();
    assert_eq!(
        (error.kind(), error.seen()),
        (ErrorKind::RequestBody, Delivery::Maybe)
    );
    assert_eq!(error.to_string(), "the caller went away");
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest:?}");
    assert_eq!(client.idle(), 0);
    soon(client.tasks.wait()).await;
}

#[tokio::test]
async fn a_reset_is_told_as_a_reset() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        read_head(&mut app).await;
        socket2::SockRef::from(&app)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    };
    let (result, ()) = tokio::join!(client.send(get()), app);
    let error = result.err().unwrap();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Reset, Delivery::Maybe));
    assert_eq!(error.to_string(), "read: connection reset by peer");
}

#[tokio::test]
async fn half_a_head_is_the_end_of_a_connection() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, "HTTP/1.1 200 OK\r\nX:").await;
    };
    let (result, ()) = tokio::join!(client.send(get()), app);
    assert_eq!(result.err().unwrap().kind(), ErrorKind::Closed);
}

/// The clock stands still while anything can happen, and jumps when nothing can.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_made_in_time_is_given_up() {
    let full = FullListener::new();
    let error = Client::new(&full.address).pool.send(get()).await.err().unwrap();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Connect, Delivery::No));
    assert_eq!(
        error.to_string(),
        format!("dial tcp {}: i/o timeout", full.address)
    );
}
