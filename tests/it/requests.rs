//! What callers of the HTTP API may send: odd targets, hosts, verbs and fields.

use integration_tests::{HttpApp, Protocol, RawClient, RawResponse};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stage::{Pair, head};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn ask(port: u16, bytes: impl AsRef<[u8]>) -> RawResponse {
    let mut client = RawClient::connect(port).await;
    client.send(bytes).await;
    client.receive().await.expect("an answer")
}

/// What the app saw, as the echo app tells it.
fn seen(answer: &RawResponse) -> Value {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// An app that answers with the target that it was asked for, byte by byte.
async fn target_app() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.is_ok_and(|read| read > 0)
            {
            }
            let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let length = target.len();
            let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            let _ = socket.write_all(&[answer.as_bytes(), target].concat()).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_urls_do_not_have_are_taken_as_they_come() {
    let pair = Pair::new(target_app().await).await;
    for (sent, wanted) in [
        (&b"a\"<>`b"[..], &b"/a%22%3C%3E%60b"[..]),
        (b"m?q=\"<>`", b"/m?q=\"<>`"),
        (b"<m>?q=<#fragment", b"/%3Cm%3E?q=<"),
        (b"{a}|b^\\?{a}|b^\\", b"/%7Ba%7D%7Cb%5E%5C?{a}|b^\\"),
        (b"caf\xc3\xa9?q=\xc3\xa9<", b"/caf%C3%A9?q=\xc3\xa9<"),
    ] {
        for sidecar in [&pair.caller, &pair.callee] {
            let shown = String::from_utf8_lossy(sent);
            let request = [
                b"GET /v1.0/invoke/callee/method/",
                sent,
                b" HTTP/1.1\r\nhost: x\r\n\r\n",
            ]
            .concat();
            let answer = ask(sidecar.http_port, request).await;
            assert_eq!(answer.text(), String::from_utf8_lossy(wanted), "{shown}");
        }
    }
    // What is no UTF-8 stays here as it is.
    let latin = b"GET /v1.0/invoke/callee/method/caf\xe9?q=\xe9 HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(ask(pair.callee.http_port, latin).await.body, b"/caf%E9?q=\xe9");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_nothing_is_refused() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    for (request, status, text) in [
        ("GET foo HTTP/1.1\r\nhost: x\r\n\r\n", 400, "400 Bad Request"),
        ("GET /%zz HTTP/1.1\r\nhost: x\r\n\r\n", 400, "400 Bad Request"),
        (
            "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
            400,
            "400 Bad Request: malformed Host header",
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            400,
            "400 Bad Request: missing required Host header",
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
            501,
            "Unsupported transfer encoding",
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            "Unsupported transfer encoding",
        ),
    ] {
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client.send(request).await;
        let answer = client.receive().await.unwrap();
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (status, text),
            "{request}"
        );
        assert_eq!(answer.header("connection"), Some("close"), "{request}");
        assert!(client.is_closed().await, "{request}");
        if status == 400 {
            assert_eq!(answer.status_line, format!("HTTP/1.1 {text}"), "{request}");
        }
    }
    // Somebody who speaks something else is let go.
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client.send("INVALID CONNECTION PREFACE\r\n\r\n").await;
    assert!(client.receive().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_verbs_of_any_kind_are_served() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let path = "/v1.0/invoke/callee/method/m";
    for (line, host, method) in [
        (format!("GET {path}"), "", "GET"),
        (format!("GET {path}"), "[::1]:80", "GET"),
        (format!("GET {path}"), "a_b,c", "GET"),
        (format!("GET http://other{path}"), "x", "GET"),
        (format!("get {path}"), "x", "GET"),
        (format!("M-SEARCH {path}"), "x", "POST"),
        (format!("{} {path}", "X".repeat(100)), "x", "POST"),
    ] {
        let answer = ask(
            pair.caller.http_port,
            format!("{line} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        )
        .await;
        assert_eq!(seen(&answer)["method"], method, "{line} {host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_gets_its_trace_back_as_one() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    for (fields, parent, state) in [
        (
            format!("traceparent: {PARENT}\r\ntraceparent: {OTHER}\r\n"),
            Some(PARENT),
            None,
        ),
        (
            format!("traceparent: {PARENT}\r\ntracestate: a=b\r\ntracestate: c=d\r\n"),
            Some(PARENT),
            Some("a=b,c=d"),
        ),
        (
            format!("traceparent: {PARENT}\r\ntracestate: @@\r\n"),
            Some(PARENT),
            None,
        ),
        (
            format!("traceparent: {PARENT}\r\ntracestate:\r\n"),
            Some(PARENT),
            None,
        ),
        ("tracestate: a=b\r\n".to_owned(), None, None),
    ] {
        let answer = ask(pair.caller.http_port, format!("{}{fields}\r\n", head("GET", "m"))).await;
        if parent.is_some() {
            assert_eq!(answer.header("traceparent"), parent, "{fields}");
        }
        assert_eq!(answer.header("tracestate"), state, "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_sees_one_trace_of_the_app() {
    let app = HttpApp::start(Protocol::Http, |request| async move {
        let mut answer = integration_tests::text(200, "x");
        let headers = answer.headers_mut();
        if request.uri().path() == "/two" {
            headers.append("traceparent", PARENT.parse().unwrap());
            headers.append("traceparent", OTHER.parse().unwrap());
        }
        headers.append("tracestate", "a=b".parse().unwrap());
        answer
    })
    .await;
    let pair = Pair::new(app.port).await;
    for sidecar in [&pair.caller, &pair.callee] {
        for (method, parent, state) in [("two", Some(PARENT), Some("a=b")), ("lone", None, None)] {
            let answer = ask(sidecar.http_port, format!("{}\r\n", head("GET", method))).await;
            let parents = answer
                .headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
            assert_eq!(parents.count(), 1, "{method}");
            if parent.is_some() {
                assert_eq!(answer.header("traceparent"), parent, "{method}");
            }
            assert_eq!(answer.header("tracestate"), state, "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_say_one_thing_about_their_connection() {
    let app = HttpApp::start(Protocol::Http, |_| async {
        let mut answer = integration_tests::text(200, "data: 1\n\n");
        let events = http::HeaderValue::from_static("text/event-stream");
        answer.headers_mut().insert("content-type", events);
        answer
    })
    .await;
    let pair = Pair::new(app.port).await;
    for (version, fields, wanted) in [
        ("HTTP/1.1", "", Some("keep-alive")),
        ("HTTP/1.1", "connection: close\r\n", Some("close")),
        ("HTTP/1.0", "", None),
    ] {
        let request = head("GET", "m").replace("HTTP/1.1", version);
        let request = format!("{request}accept: text/event-stream\r\n{fields}\r\n");
        let answer = ask(pair.caller.http_port, request).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("connection"), wanted, "{version} {fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_no_body_in_any_version() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let client = integration_tests::H2Client::connect(pair.caller.http_port).await;
    for path in [
        "/v1.0/nothing",
        "/v1.0/invoke/nobody/method/m",
        "/v1.0/invoke/callee/method/m",
    ] {
        let request = |verb: &str| format!("{verb} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut one = RawClient::connect(pair.caller.http_port).await;
        one.send(request("HEAD")).await;
        let head = one.receive_head().await.unwrap();
        assert!(one.receive_bytes(1).await.is_none(), "{path}");
        let empty = http_body_util::Empty::new();
        let empty = http_body_util::BodyExt::map_err(empty, |never| match never {});
        let empty = http_body_util::BodyExt::boxed_unsync(empty);
        let two = client.send(http::Method::HEAD, path, empty).await.unwrap();
        assert_eq!(two.status(), head.status(), "{path}");
        let told = two
            .headers()
            .get("content-length")
            .map(|length| length.to_str().unwrap());
        assert_eq!(told, head.header("content-length"), "{path}");
        if !path.contains("callee") {
            let get = ask(pair.caller.http_port, request("GET")).await;
            assert_eq!(told, get.header("content-length"), "{path}");
        }
        let body = http_body_util::BodyExt::collect(two.into_body()).await.unwrap();
        assert!(body.to_bytes().is_empty(), "{path}");
    }
}
