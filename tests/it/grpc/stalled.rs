//! Readers that stop cost themselves, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use integration_tests::grpc::{GrpcApp, GrpcClient, Setup};
use integration_tests::{HttpApp, PATIENCE, Protocol, RawClient, Request, eventually, stream, text};
use tokio::task::JoinSet;

use super::{APP, METHOD, Pair, TO_APP};

/// More than the window of a connection once held.
const STALLED: usize = 300;
const OTHERS: usize = 50;
/// What an answer may have that nobody reads; all buffers on the way together are smaller.
const LARGE: usize = 16 << 20;
const ENDLESS: &str = "/test.Service/Endless";
const DEAF: &str = "/test.Service/Deaf";

/// An app that sends much, reads nothing, or answers at once, as it is asked to.
async fn app(setup: Setup) -> GrpcApp {
    GrpcApp::start_with(setup, |mut call| async move {
        match call.path() {
            ENDLESS => {
                let piece = vec![7; 16 * 1024];
                while call.send(&piece).await {}
            }
            DEAF => {
                call.cancelled().await;
            }
            _ => {
                call.messages().await;
                call.send(b"done").await;
                call.finish(0, "", &[]);
            }
        }
    })
    .await
}

/// Calls that need nothing of the others.
async fn pass(pair: &Pair) {
    let client = pair.client().await;
    let calls = (0..OTHERS).map(|_| client.proxy(APP, METHOD, b"x"));
    let answers = tokio::time::timeout(PATIENCE, futures_util::future::join_all(calls)).await;
    for answer in answers.expect("they wait for others") {
        assert_eq!(answer.only(), b"done");
    }
}

/// A client with room for all that it does not read.
async fn wide_client(pair: &Pair) -> GrpcClient {
    GrpcClient::connect_with(pair.caller.grpc_port, |builder| {
        builder.initial_connection_window_size(1 << 30);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_callers_that_never_read() {
    let mut setup = Setup::new();
    setup.initial_connection_window_size(16 << 20);
    let app = app(setup).await;
    let pair = Pair::of(&app).await;
    let client = wide_client(&pair).await;
    let mut unread = Vec::new();
    for _ in 0..STALLED {
        let mut stream = client.open(ENDLESS, &[TO_APP]).await;
        stream.head().await;
        unread.push(stream);
    }
    pass(&pair).await;
    for sidecar in [&pair.caller, &pair.callee] {
        let resident = sidecar.resident_bytes();
        println!("{STALLED} streams that nobody reads: {} MiB", resident >> 20);
        assert!(resident < 400 << 20, "{resident} bytes");
    }
    // They go on where they were.
    for stream in unread.iter_mut().step_by(50) {
        for _ in 0..50 {
            assert!(stream.message().await.is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_callers_whose_requests_are_not_read() {
    let mut setup = Setup::new();
    setup.initial_connection_window_size(1 << 30);
    let app = app(setup).await;
    let pair = Pair::of(&app).await;
    let client = wide_client(&pair).await;
    let mut sending = JoinSet::new();
    for _ in 0..STALLED {
        let mut stream = client.open(DEAF, &[TO_APP]).await;
        sending.spawn(async move { while stream.try_send(&[0; 16 * 1024]).await {} });
    }
    pass(&pair).await;
    assert!(sending.try_join_next().is_none(), "none of them ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_gives_no_window_back_gets_another_connection() {
    // As many libraries have it: what nobody reads of one stream counts for the connection.
    let deaf = Arc::new(AtomicUsize::new(0));
    let came = Arc::clone(&deaf);
    let app = GrpcApp::start_with(Setup::new(), move |mut call| {
        let came = Arc::clone(&came);
        async move {
            if call.path() == DEAF {
                came.fetch_add(1, Ordering::SeqCst);
                call.cancelled().await;
                return;
            }
            call.messages().await;
            call.send(b"done").await;
            call.finish(0, "", &[]);
        }
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = wide_client(&pair).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(client.open(DEAF, &[TO_APP]).await);
    }
    eventually("all are with the app", || async {
        deaf.load(Ordering::SeqCst) == 10
    })
    .await;
    let mut sending = JoinSet::new();
    for mut stream in streams {
        sending.spawn(async move { while stream.try_send(&[0; 16 * 1024]).await {} });
    }
    // A call that was put on the connection just before its window was used up waits with the others: its head is with the
    // app, and nobody may send it again. Those that come later pass.
    let others = pair.client().await;
    eventually("a call has passed on another connection", || async {
        let call = others.proxy(APP, METHOD, b"x");
        let answer = tokio::time::timeout(Duration::from_millis(300), call).await;
        answer.is_ok_and(|answer| answer.code() == 0) && app.connections() > 1
    })
    .await;
    pass(&pair).await;
    assert!((2..=8).contains(&app.connections()), "{}", app.connections());
}

/// Callers of HTTP, and an HTTP app.
#[tokio::test(flavor = "multi_thread")]
async fn http_callers_that_never_read() {
    let app = HttpApp::start(Protocol::Http, |request: Request| async move {
        if request.uri().path() != "/large" {
            return text(200, "done");
        }
        let (mut sender, mut answer) = stream(200);
        let value = http::HeaderValue::from_static("application/octet-stream");
        answer.headers_mut().insert(http::header::CONTENT_TYPE, value);
        tokio::spawn(async move {
            let piece = Bytes::from(vec![7; 64 * 1024]);
            for _ in 0..LARGE / piece.len() {
                if sender.send_data(piece.clone()).await.is_err() {
                    return;
                }
            }
        });
        answer
    })
    .await;
    let pair = crate::stage::Pair::new(app.port).await;
    let mut unread = Vec::new();
    for _ in 0..STALLED {
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send(format!("{}\r\n", crate::stage::head("GET", "large")))
            .await;
        assert_eq!(client.receive_head().await.unwrap().status(), 200);
        unread.push(client);
    }
    let calls = (0..OTHERS).map(|_| async {
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send(format!("{}\r\n", crate::stage::head("GET", "small")))
            .await;
        client.receive().await.unwrap().text()
    });
    let answers = tokio::time::timeout(PATIENCE, futures_util::future::join_all(calls)).await;
    for answer in answers.expect("they wait for others") {
        assert_eq!(answer, "done");
    }
}
