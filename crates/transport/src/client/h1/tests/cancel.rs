//! Dropping a call.

use http_body_util::BodyExt;

use super::*;
use crate::testing::{accept, read_rest};

#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let mut app = tokio::select! {
        _ = client.send(get()) => panic!("nobody answered"),
        app = async {
            let mut app = accept(&listener).await;
            read_head(&mut app).await;
            app
        } => app,
    };
    assert_eq!(read_rest(&mut app).await, "");
    assert_eq!(client.idle(), 0);
    soon(client.tasks.wait()).await;
}

#[tokio::test]
async fn a_call_dropped_in_the_middle_of_its_request_closes_its_connection() {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let (mut sender, request) = stream();
    let mut app = tokio::select! {
        _ = client.send(request) => panic!("nobody answered"),
        app = async {
            let mut app = accept(&listener).await;
            sender.send_data("half".into()).await.unwrap();
            read_head(&mut app).await;
            app
        } => app,
    };
    let rest = read_rest(&mut app).await;
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest:?} looks complete");
    soon(client.tasks.wait()).await;
}

#[tokio::test]
async fn a_dropped_body_closes_its_connection() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhalf",
    ] {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        let app = async {
            let mut app = accept(&listener).await;
            answer(&mut app, head).await;
            read_rest(&mut app).await
        };
        let call = async {
            let mut body = client.send(get()).await.unwrap().into_body();
            let first = soon(body.frame()).await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "half");
        };
        let (rest, ()) = tokio::join!(app, call);
        assert_eq!(rest, "");
        assert_eq!(client.idle(), 0, "{head:?}");
        soon(client.tasks.wait()).await;
    }
}

#[tokio::test]
async fn a_call_dropped_while_it_waits_for_a_place_takes_none() {
    let (listener, address) = listen().await;
    let config = H1Config {
        max_connections: 1,
        ..H1Config::default()
    };
    let client = Client::with(&address, config);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("1")).await;
        answer(&mut app, &ok("2")).await;
        app
    };
    let calls = async {
        let first = client.send(get()).await.unwrap();
        let mut waiting = Box::pin(client.pool.send(get()));
        assert!(is_pending(&mut waiting).await);
        drop(waiting);
        assert_eq!(text(first).await.unwrap(), "1");
        assert_eq!(client.get().await, "2");
    };
    let (_app, ()) = tokio::join!(app, calls);
}

#[tokio::test]
async fn a_dropped_call_frees_its_place() {
    let (listener, address) = listen().await;
    let config = H1Config {
        max_connections: 1,
        ..H1Config::default()
    };
    let client = Client::with(&address, config);
    let app = async {
        let mut first = accept(&listener).await;
        read_head(&mut first).await;
        first
    };
    let _first = tokio::select! {
        _ = client.send(get()) => panic!("nobody answered"),
        first = app => first,
    };
    let app = async {
        let mut second = accept(&listener).await;
        answer(&mut second, &ok("2")).await;
        second
    };
    let (text, _second) = tokio::join!(client.get(), app);
    assert_eq!(text, "2");
}
