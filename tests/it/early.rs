//! Answers that do not wait for the end of their requests: no caller loses its next call by that.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use integration_tests::{H2Client, HttpApp, Protocol, RawClient, text};

use crate::stage::{Pair, head, soon};

/// An app that never reads what it is sent.
async fn deaf_app() -> HttpApp {
    HttpApp::start(Protocol::Http, |_| async { text(403, "not you") }).await
}

/// The beginnings of requests that are answered without their bodies, and the answers.
fn roads() -> [(&'static str, u16); 6] {
    [
        ("POST /v1.0/nothing HTTP/1.1\r\nhost: x\r\n", 404),
        ("POST /v1.0/state/store HTTP/1.1\r\nhost: x\r\n", 500),
        (
            "POST /v1.0/invoke/callee/method/a%0Ab HTTP/1.1\r\nhost: x\r\n",
            500,
        ),
        ("POST /v1.0/invoke/a.b.c/method/m HTTP/1.1\r\nhost: x\r\n", 500),
        ("POST /v1.0/invoke/nobody/method/m HTTP/1.1\r\nhost: x\r\n", 500),
        // No app channel.
        ("POST /v1.0/invoke/caller/method/m HTTP/1.1\r\nhost: x\r\n", 500),
    ]
}

/// Asks for the health on a connection that has answered something else before.
async fn goes_on(client: &mut RawClient) -> bool {
    client
        .try_send("GET /v1.0/healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        && client
            .receive()
            .await
            .is_some_and(|answer| answer.status() == 204)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_come_after_the_answer_on_every_road() {
    let app = deaf_app().await;
    let pair = Pair::new(app.port).await;
    for (head, status) in roads() {
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client.send(format!("{head}content-length: 10\r\n\r\n")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.send("0123456789").await;
        let answer = client.receive().await.unwrap();
        assert_eq!(answer.status(), status, "{head}");
        assert_eq!(answer.header("connection"), None, "{head}");
        assert!(goes_on(&mut client).await, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_go_on_says_so_on_every_road() {
    let app = deaf_app().await;
    let pair = Pair::new(app.port).await;
    for (head, status) in roads() {
        for rest in [
            "content-length: 1000000\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\nnonsense\r\n",
        ] {
            let mut client = RawClient::connect(pair.caller.http_port).await;
            client.send(format!("{head}{rest}")).await;
            if rest.starts_with("content-length") {
                // Some roads wait for what comes first of a body.
                client.send("x".repeat(1000)).await;
            }
            let answer = client.receive().await.unwrap();
            assert!(
                [status, 400].contains(&answer.status()),
                "{head}{rest}: {}",
                answer.status()
            );
            assert_eq!(answer.header("connection"), Some("close"), "{head}{rest}");
            assert!(client.is_closed().await, "{head}{rest}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_leaves_the_connection_as_it_is() {
    let app = deaf_app().await;
    let pair = Pair::with(app.port, |sidecar| sidecar.env("DAPR_API_TOKEN", "secret")).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client
        .send(format!("{}content-length: 10\r\n\r\n", head("POST", "m")))
        .await;
    let answer = client.receive().await.unwrap();
    assert_eq!((answer.status(), answer.header("connection")), (401, None));
    client.send("0123456789").await;
    assert!(goes_on(&mut client).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_does_not_read_costs_no_connection() {
    let app = deaf_app().await;
    let pair = Pair::new(app.port).await;
    for sidecar in [&pair.caller, &pair.callee] {
        let mut client = RawClient::connect(sidecar.http_port).await;
        for _ in 0..20 {
            client
                .send(format!("{}content-length: 10\r\n\r\n", head("POST", "m")))
                .await;
            client.send("01234").await;
            client.send("56789").await;
            let answer = client.receive().await.unwrap();
            assert_eq!((answer.status(), answer.header("connection")), (403, None));
        }
        assert!(goes_on(&mut client).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_over_http2_is_answered_without_a_reset() {
    let app = deaf_app().await;
    let pair = Pair::new(app.port).await;
    let client = H2Client::connect(pair.caller.http_port).await;
    for path in [
        "/v1.0/nothing",
        "/v1.0/invoke/callee/method/m",
        "/v1.0/invoke/a.b.c/method/m",
    ] {
        let (mut body, upload) = Channel::<Bytes, std::io::Error>::new(1);
        let sending = tokio::spawn(async move {
            body.send_data(Bytes::from(vec![7; 1000]))
                .await
                .map_err(|_| "at the beginning")?;
            // What follows comes after the answer.
            tokio::time::sleep(Duration::from_millis(100)).await;
            for _ in 0..10 {
                body.send_data(Bytes::from(vec![7; 10_000]))
                    .await
                    .map_err(|_| "later on")?;
            }
            Ok::<_, &str>(())
        });
        let answer = soon(
            "an answer",
            client.send(http::Method::POST, path, upload.boxed_unsync()),
        )
        .await
        .unwrap();
        assert!([403, 404, 500].contains(&answer.status().as_u16()), "{path}");
        assert!(answer.into_body().collect().await.is_ok(), "{path}");
        assert_eq!(soon("the upload", sending).await.unwrap(), Ok(()), "{path}");
    }
}
