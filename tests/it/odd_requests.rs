//! What callers say twice, or not at all, or in an odd form, and what of it reaches an HTTP app.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use integration_tests::{H2Client, HttpApp, Protocol, RawClient};
use serde_json::Value;

use crate::stage::{Pair, head};

/// All values that the app saw of a header.
fn values(seen: &Value, name: &str) -> Vec<String> {
    let headers = seen["headers"].as_array().expect("headers").iter();
    headers
        .filter(|pair| pair[0] == name)
        .map(|pair| pair[1].as_str().expect("text").to_owned())
        .collect()
}

async fn call(port: u16, verb: &str, rest: impl AsRef<[u8]>) -> Value {
    let mut client = RawClient::connect(port).await;
    client
        .send([head(verb, "m").as_bytes(), rest.as_ref()].concat())
        .await;
    let answer = client.receive().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).expect("what the app saw")
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_and_empty_headers() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let twice = format!("traceparent: {parent}\r\ntraceparent: x\r\n");
    for (given, name, wanted) in [
        ("user-agent: a\r\nuser-agent: b\r\n", "user-agent", &["a"][..]),
        ("user-agent:\r\n", "user-agent", &[]),
        ("content-type:\r\n", "content-type", &[]),
        (
            "content-type: a/b\r\ncontent-type: c/d\r\n",
            "content-type",
            &["a/b"],
        ),
        ("tracestate: lone=1\r\n", "tracestate", &[]),
        (&twice, "traceparent", &[parent]),
        ("cookie: a=1\r\ncookie: b=2\r\n", "cookie", &["a=1; b=2"]),
        ("baggage: a=1\r\nbaggage: b=2\r\n", "baggage", &["a=1,b=2"]),
        ("x-empty:\r\nx-empty: 1\r\n", "x-empty", &["", "1"]),
        ("accept: Text/Event-Stream\r\n", "accept", &["text/event-stream"]),
    ] {
        for port in [pair.callee.http_port, pair.caller.http_port] {
            let seen = call(port, "POST", format!("{given}content-length: 2\r\n\r\nhi")).await;
            assert_eq!(values(&seen, name), wanted, "{given:?}");
            assert_eq!(seen["body"], "hi");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_another_alphabet_reaches_an_app() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let seen = call(pair.caller.http_port, "GET", b"x-name: Ren\xe9\r\n\r\n").await;
    assert_eq!(values(&seen, "x-name"), ["Ren\u{e9}"]);
}

/// HTTP/2 callers send each cookie in a field of its own (RFC 9113, section 8.2.3).
#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_http_2_callers_are_one_line() {
    for protocol in [Protocol::Http, Protocol::H2c] {
        let app = HttpApp::echo(protocol).await;
        let flag = format!("--app-protocol={protocol:?}").to_lowercase();
        let pair = Pair::with(app.port, |sidecar| sidecar.arg(&flag)).await;
        let url = format!("/v1.0/invoke/http://127.0.0.1:{}/method/m", app.port);
        let targets = [
            (pair.caller.http_port, "/v1.0/invoke/callee/method/m"),
            (pair.callee.http_port, "/v1.0/invoke/callee/method/m"),
            (pair.caller.http_port, &url),
        ];
        // URLs are called with HTTP/1.1, whatever the app speaks.
        let is_http = protocol == Protocol::Http;
        for (port, path) in targets.into_iter().take(if is_http { 3 } else { 2 }) {
            let client = H2Client::connect(port).await;
            let empty = Full::from(Bytes::new()).map_err(|never| match never {});
            let request = http::Request::get(path)
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .header("cookie", "c=3");
            let answer = client.request(request.body(empty.boxed_unsync()).unwrap()).await;
            let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
            let seen: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(values(&seen, "cookie"), ["a=1; b=2; c=3"], "{protocol:?} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_h2c_app_is_told_the_length() {
    let app = HttpApp::echo(Protocol::H2c).await;
    let pair = Pair::with(app.port, |sidecar| sidecar.arg("--app-protocol=h2c")).await;
    let large = "x".repeat(300_000);
    for port in [pair.callee.http_port, pair.caller.http_port] {
        for (verb, body, wanted) in [
            ("POST", "hello", &["5"][..]),
            ("PUT", &large, &["300000"]),
            ("POST", "", &["0"]),
            ("GET", "hello", &["5"]),
        ] {
            let rest = format!("content-length: {}\r\n\r\n{body}", body.len());
            let seen = call(port, verb, rest).await;
            assert_eq!(values(&seen, "content-length"), wanted, "{verb}");
            assert_eq!(seen["body"], body);
        }
        assert!(values(&call(port, "GET", "\r\n").await, "content-length").is_empty());
        let chunked = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let seen = call(port, "POST", chunked).await;
        assert_eq!(seen["body"], "hello");
    }
}
