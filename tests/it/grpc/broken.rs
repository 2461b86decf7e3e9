//! Apps that are not what they should be, or not for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use integration_tests::grpc::{GrpcApp, InvokeServiceRequest};
use integration_tests::{HttpApp, Protocol, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::{APP, METHOD, Pair, TO_APP};

const UNAVAILABLE: i32 = 14;

fn invocation() -> InvokeServiceRequest {
    InvokeServiceRequest::post(APP, "m", "x")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_speaks_http1_on_its_grpc_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let app = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            let _ = socket.write_all(answer).await;
            let _ = socket.read(&mut [0; 1024]).await;
        }
    });
    let pair = Pair::with(port, |builder| builder).await;
    let client = pair.client().await;
    for _ in 0..3 {
        let answer = client.proxy(APP, METHOD, b"x").await;
        assert_eq!(answer.code(), UNAVAILABLE, "{answer:?}");
        let (answer, _) = client.invoke(&invocation(), &[]).await;
        assert_eq!(answer.code(), UNAVAILABLE, "{answer:?}");
    }
    app.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_answers_http2_without_grpc() {
    let app = HttpApp::echo(Protocol::H2c).await;
    let pair = Pair::with(app.port, |builder| builder).await;
    let client = pair.client().await;
    let answer = client.proxy(APP, METHOD, b"x").await;
    assert_eq!(answer.code(), 2, "{answer:?}");
    assert!(
        answer
            .status_message()
            .contains("content-type \"application/json\"")
    );
    let (answer, _) = client.invoke(&invocation(), &[]).await;
    assert_eq!(answer.code(), 2, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_not_there_any_more() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    drop(app);
    let client = pair.client().await;
    let answer = client.proxy(APP, METHOD, b"x").await;
    assert_eq!(answer.code(), UNAVAILABLE);
    assert!(
        answer.status_message().contains("connection refused"),
        "{answer:?}"
    );
    let (answer, _) = client.invoke(&invocation(), &[]).await;
    assert_eq!(answer.code(), UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_dies_in_mid_stream() {
    let app = GrpcApp::start(|mut call| async move {
        if call.path() == METHOD {
            call.send(b"the first").await;
            call.message().await;
            call.cut().await;
        } else {
            call.messages().await;
            call.send(b"fine").await;
            call.finish(0, "", &[]);
        }
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let mut stream = client.open(METHOD, &[TO_APP]).await;
    assert_eq!(stream.message().await.expect("a message").data, "the first");
    stream.send(b"die").await;
    let answer = stream.answer().await;
    assert_eq!(answer.code(), UNAVAILABLE, "{answer:?}");
    // Its next connection is another one.
    let answer = client.proxy(APP, "/test.Service/Fine", b"x").await;
    assert_eq!(answer.only(), b"fine");
    assert_eq!(app.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_goes_away_in_good_order() {
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&asked), Arc::clone(&go_on));
    let app = GrpcApp::start(move |mut call| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            call.messages().await;
            if call.path() == METHOD {
                call.go_away();
                tell.notify_one();
                wait.notified().await;
            }
            call.send(b"done").await;
            call.finish(0, "", &[]);
        }
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let mut first = client.open(METHOD, &[TO_APP]).await;
    first.send(b"x").await;
    first.finish();
    asked.notified().await;
    // New calls go to a new connection, and so does one that was on its way when the app said so.
    for _ in 0..20 {
        let answer = client.proxy(APP, "/test.Service/Other", b"x").await;
        assert_eq!(answer.code(), 0, "{answer:?}");
    }
    go_on.notify_one();
    assert_eq!(first.answer().await.only(), b"done");
    assert!(app.connections() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_goes_away_again_and_again_loses_no_call() {
    let calls = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&calls);
    let app = GrpcApp::start(move |mut call| {
        let counted = Arc::clone(&counted);
        async move {
            call.messages().await;
            if counted.fetch_add(1, Ordering::Relaxed) % 20 == 19 {
                call.go_away();
            }
            call.send(b"").await;
            call.finish(0, "", &[]);
        }
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let callers = (0..30).map(|_| async {
        for number in 0..40 {
            if number % 2 == 0 {
                let answer = client.proxy(APP, METHOD, b"x").await;
                assert_eq!(answer.code(), 0, "{answer:?}");
            } else {
                let (answer, _) = client.invoke(&invocation(), &[]).await;
                assert_eq!(answer.code(), 0, "{answer:?}");
            }
        }
    });
    futures_util::future::join_all(callers).await;
    assert!(app.connections() > 10, "{} connections", app.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_restarts_is_found_again() {
    let app = GrpcApp::echo().await;
    let mut pair = Pair::of(&app).await;
    let client = pair.client().await;
    assert_eq!(client.proxy(APP, METHOD, b"x").await.only(), b"x");
    let mut held = client.open(METHOD, &[TO_APP]).await;
    held.send(b"x").await;
    assert!(held.message().await.is_some());
    let old = std::mem::replace(
        &mut pair.callee,
        pair.mesh
            .sidecar(APP)
            .app_port(app.port)
            .arg("--app-protocol=grpc")
            .start()
            .await,
    );
    old.kill().await;
    assert_eq!(held.answer().await.code(), UNAVAILABLE);
    eventually("the new instance is found", || async {
        client.proxy(APP, METHOD, b"x").await.code() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_an_app_refuses_unseen_are_tried_again() {
    let refused = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&refused);
    let app = GrpcApp::start(move |mut call| {
        let counted = Arc::clone(&counted);
        async move {
            if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                // REFUSED_STREAM: nothing was done (RFC 9113, section 8.7).
                return call.reset(7);
            }
            call.messages().await;
            call.send(b"done").await;
            call.finish(0, "", &[]);
        }
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    assert_eq!(client.proxy(APP, METHOD, b"x").await.only(), b"done");
    assert_eq!(refused.load(Ordering::Relaxed), 2);
}
