//! Calls that want a place while all are taken.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::advance;

use super::*;
use crate::testing::accept;

const LARGE: usize = 4 << 20;

/// A pool of one place, and an app that answers each connection with more than is read by itself.
async fn one_place(config: H1Config) -> (Client, tokio::task::JoinHandle<()>) {
    let (listener, address) = listen().await;
    let config = H1Config {
        max_connections: 1,
        ..config
    };
    (Client::with(&address, config), tokio::spawn(answer_all(listener)))
}

async fn answer_all(listener: TcpListener) {
    loop {
        let mut app = accept(&listener).await;
        tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            let whole = [head.as_bytes(), &vec![b'x'; LARGE]].concat();
            loop {
                let mut asked = [0; 1024];
                if !app.read(&mut asked).await.is_ok_and(|read| read > 0)
                    || app.write_all(&whole).await.is_err()
                {
                    return;
                }
            }
        });
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up_for_a_call_that_waits() {
    let (client, _app) = one_place(H1Config::default()).await;
    let mut unread = client.send(get()).await.unwrap();
    // It is read a little, and then not.
    soon(unread.body_mut().frame()).await.unwrap().unwrap();
    let second = client.send(get()).await.unwrap();
    assert_eq!(second.status(), 200);
    let broken = soon(unread.into_body().collect()).await.unwrap_err();
    assert!(matches!(broken, AnswerError::Unread), "{broken}");
    // One place was given up, and there is one.
    let mut third = Box::pin(client.pool.send(get()));
    assert!(is_pending(&mut third).await);
    assert_eq!(
        soon(second.into_body().collect()).await.unwrap().to_bytes().len(),
        LARGE
    );
    assert_eq!(soon(third).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_answer_that_is_read_slowly_or_waited_for_is_kept() {
    let (listener, address) = listen().await;
    let config = H1Config {
        max_connections: 1,
        wait_timeout: Duration::from_secs(4),
        ..H1Config::default()
    };
    let client = Client::with(&address, config);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na").await;
        app
    };
    let (first, mut app) = tokio::join!(client.send(get()), app);
    let mut body = first.unwrap().into_body();
    assert_eq!(
        soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(),
        "a"
    );
    // Somebody reads, but the app says nothing.
    let reading = tokio::spawn(async move {
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            rest.extend(frame.unwrap().into_data().unwrap());
        }
        rest
    });
    let error = client.send(get()).await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "no connection was free for 4 s");
    write(&mut app, "bc").await;
    assert_eq!(soon(reading).await.unwrap(), b"bc");
}

#[test]
fn there_are_as_many_as_the_process_can_bear() {
    for (descriptors, connections) in [
        (256, 1024),
        (4096, 1024),
        (10_000, 2500),
        (1 << 20, 4096),
        (u64::MAX, 4096),
    ] {
        assert_eq!(super::super::most_connections(descriptors), connections);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_has_an_end() {
    let places = Places::new(1, 2, Duration::from_secs(60));
    let _held = places.enter().await.unwrap();
    let mut first = Box::pin(places.enter());
    let mut second = Box::pin(places.enter());
    assert!(is_pending(&mut first).await && is_pending(&mut second).await);
    let refused = places.enter().await.unwrap_err();
    assert_eq!(refused.to_string(), "2 calls wait for a connection already");
    // Who gives up makes room for another one.
    drop(second);
    let mut third = Box::pin(places.enter());
    assert!(is_pending(&mut third).await);
    advance(Duration::from_secs(59)).await;
    assert!(is_pending(&mut first).await);
    let error = first.await.unwrap_err();
    assert_eq!(error.to_string(), "no connection was free for 60 s");
}

#[tokio::test]
async fn idle_connections_are_closed_although_nobody_calls() {
    let (listener, address) = listen().await;
    let config = H1Config {
        idle_timeout: Duration::from_millis(100),
        ..H1Config::default()
    };
    let client = Client::with(&address, config);
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("1")).await;
        app
    };
    let (_, mut app) = tokio::join!(client.get(), app);
    assert_eq!(client.idle(), 1);
    assert_eq!(crate::testing::read_rest(&mut app).await, "");
    assert_eq!(client.idle(), 0);
    // It goes on after that.
    let app = async {
        let mut app = accept(&listener).await;
        answer(&mut app, &ok("2")).await;
        app
    };
    let (text, mut app) = tokio::join!(client.get(), app);
    assert_eq!(text, "2");
    assert_eq!(crate::testing::read_rest(&mut app).await, "");
}
