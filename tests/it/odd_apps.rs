//! What apps say of their answers, and what of it reaches the caller.

use integration_tests::{RawApp, RawClient, RawResponse};

use crate::stage::{Pair, head};

/// An app that answers every call on a connection with these bytes.
async fn app(answer: impl Into<Vec<u8>>) -> RawApp {
    let answer = answer.into();
    RawApp::start(move |mut connection| {
        let answer = answer.clone();
        async move {
            while connection.try_send(&answer).await && connection.receive_head().await.is_some() {}
        }
    })
    .await
}

/// Calls the app through one sidecar and through two. The answer has no body.
async fn heads(pair: &Pair, verb: &str, headers: &str) -> [RawResponse; 2] {
    let call = async |port| {
        let mut client = RawClient::connect(port).await;
        client.send(format!("{}{headers}\r\n", head(verb, "m"))).await;
        client.receive_head().await.expect("a head")
    };
    [
        call(pair.callee.http_port).await,
        call(pair.caller.http_port).await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn head_tells_how_long_the_answer_would_be() {
    for (status, length, wanted) in [
        (200, "content-length: 1234\r\n", Some("1234")),
        (404, "content-length: 1234\r\n", Some("1234")),
        (404, "content-length: 0\r\n", Some("0")),
        (404, "", None),
        (404, "transfer-encoding: chunked\r\n", None),
    ] {
        let app = app(format!("HTTP/1.1 {status} X\r\n{length}\r\n")).await;
        let pair = Pair::new(app.port).await;
        for answer in heads(&pair, "HEAD", "").await {
            assert_eq!(answer.status(), status);
            assert_eq!(answer.header("content-length"), wanted, "{status} {length:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_another_alphabet_fails_no_call() {
    let app = app(b"HTTP/1.1 200 OK\r\nx-name: Ren\xe9\r\ncontent-length: 0\r\n\r\n").await;
    let pair = Pair::new(app.port).await;
    let [own, remote] = heads(&pair, "GET", "").await;
    assert_eq!((own.status(), remote.status()), (200, 200));
    assert_eq!(remote.header("x-name"), Some("Ren\u{e9}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_answers_to_one_who_wants_events() {
    for status in [401, 429, 503, 302] {
        let answer = format!(
            "HTTP/1.1 {status} X\r\nwww-authenticate: Basic\r\nretry-after: 7\r\ncontent-type: text/plain\r\n\
             content-length: 4\r\n\r\nwhy?"
        );
        let app = app(answer).await;
        let pair = Pair::new(app.port).await;
        for port in [pair.callee.http_port, pair.caller.http_port] {
            let mut client = RawClient::connect(port).await;
            let events = "accept: text/event-stream\r\n";
            client.send(format!("{}{events}\r\n", head("GET", "m"))).await;
            let answer = client.receive().await.unwrap();
            assert_eq!((answer.status(), answer.text().as_str()), (status, "why?"));
            assert_eq!(answer.header("www-authenticate"), Some("Basic"));
            assert_eq!(answer.header("retry-after"), Some("7"));
            assert_eq!(answer.header("content-type"), Some("text/plain"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_to_one_who_wants_events_has_the_words_of_dapr() {
    let app = app("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    let pair = Pair::new(app.port).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client
        .send(format!("{}accept: text/event-stream\r\n\r\n", head("GET", "m")))
        .await;
    let answer = client.receive().await.unwrap();
    assert_eq!(answer.status(), 500);
    assert!(
        answer.text().contains("no response received from stream"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_an_app_answers_is_one_or_none() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (given, state) in [
        ("tracestate: lone=1\r\n".to_owned(), None),
        (
            format!("traceparent: {parent}\r\ntraceparent: x\r\ntracestate: a=1\r\ntracestate: b=2\r\n"),
            Some("a=1,b=2"),
        ),
    ] {
        let app = app(format!("HTTP/1.1 200 OK\r\n{given}content-length: 0\r\n\r\n")).await;
        let pair = Pair::new(app.port).await;
        for answer in heads(&pair, "GET", "").await {
            let count = |name: &str| {
                let headers = answer.headers.iter();
                headers
                    .filter(|(given, _)| given.eq_ignore_ascii_case(name))
                    .count()
            };
            assert_eq!(answer.header("tracestate"), state, "{given:?}");
            assert_eq!(count("traceparent"), 1, "{given:?}");
            if state.is_some() {
                assert_eq!(answer.header("traceparent"), Some(parent));
            }
        }
    }
}
