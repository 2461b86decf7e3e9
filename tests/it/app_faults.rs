//! Apps that break the rules of HTTP, or just break. What was cut never looks complete, and the next call is served.

use std::sync::Arc;

use integration_tests::{RawApp, RawClient, RawResponse, eventually};
use tokio::sync::{Notify, mpsc};

use crate::stage::{Pair, chunk, head, soon};

/// What an app does with the call of a test.
#[derive(Clone, Debug)]
enum Deed {
    /// Writes this and closes.
    Close(Vec<u8>),
    /// Writes this and resets the connection.
    Reset(Vec<u8>),
    /// Writes this and closes after a while.
    Pause(Vec<u8>),
    /// Writes this and keeps the connection open.
    Hold(Vec<u8>),
}

use Deed::{Close, Hold, Pause, Reset};

async fn perform(deed: &Deed, mut connection: RawClient) {
    let (Close(bytes) | Reset(bytes) | Pause(bytes) | Hold(bytes)) = deed;
    connection.try_send(bytes).await;
    match deed {
        Close(_) => {}
        Pause(_) => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
        Reset(_) => {
            // What was written gets a chance to arrive.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            connection.reset();
        }
        // The sidecar may use the connection again, or give it up.
        Hold(_) => while connection.receive_head().await.is_some() && connection.try_send(bytes).await {},
    }
}

/// What the caller gets.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// This status and this body.
    Answer(u16, &'static str),
    /// An error of the sidecar whose text contains this.
    Failure(&'static str),
    /// An answer that does not end as it should.
    Broken,
}

use Outcome::{Answer, Broken, Failure};

fn cases() -> Vec<(&'static str, Deed, Outcome)> {
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";
    let of = |rest: &str| format!("{ok}{rest}").into_bytes();
    let chunked = |chunks: &[u8]| {
        let mut answer = of("transfer-encoding: chunked\r\n\r\n");
        answer.extend_from_slice(chunks);
        answer
    };
    let large_head = format!(
        "{ok}x-large: {}\r\ncontent-length: 0\r\n\r\n",
        "x".repeat(64 << 10)
    );
    let many_headers = "x-one: 1\r\n".repeat(500);
    vec![
        // Kept from Dapr: an app that declares more than it sends, and closes in good order.
        (
            "less than declared",
            Close(of("content-length: 10\r\n\r\nhello")),
            Answer(200, "hello"),
        ),
        (
            "less than declared, and nothing",
            Close(of("content-length: 10\r\n\r\n")),
            Broken,
        ),
        (
            "less than declared, but much",
            Close(of(&format!(
                "content-length: 1000000\r\n\r\n{}",
                "x".repeat(5000)
            ))),
            Broken,
        ),
        (
            "less than declared, and not at once",
            Pause(of("content-length: 10\r\n\r\nhello")),
            Broken,
        ),
        (
            "less than declared, then a reset",
            Reset(of("content-length: 10\r\n\r\nhello")),
            Broken,
        ),
        (
            "more than declared",
            Hold(of("content-length: 5\r\n\r\nhello, HTTP/1.1 200 OK\r\n\r\n")),
            Answer(200, "hello"),
        ),
        (
            "chunks without the last",
            Close(chunked(&chunk(b"hello"))),
            Broken,
        ),
        ("chunks cut in the middle", Close(chunked(b"a\r\nhel")), Broken),
        ("chunks, then a reset", Reset(chunked(&chunk(b"hello"))), Broken),
        (
            "a chunk without a size",
            Hold(chunked(b"5\r\nhello\r\nzz\r\n")),
            Broken,
        ),
        (
            "no length, closed",
            Close(of("connection: close\r\n\r\nhello")),
            Answer(200, "hello"),
        ),
        (
            "no length, reset",
            Reset(of("connection: close\r\n\r\nhello")),
            Broken,
        ),
        ("nothing at all", Close(Vec::new()), Failure("EOF")),
        (
            "a reset at once",
            Reset(Vec::new()),
            Failure("error invoking app channel"),
        ),
        (
            "half a head",
            Close(b"HTTP/1.1 200 OK\r\nx-".to_vec()),
            Failure("error invoking app channel"),
        ),
        (
            "no HTTP",
            Hold(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec()),
            Failure("error invoking app channel"),
        ),
        (
            "a folded header",
            Hold(of("x-folded: a\r\n b\r\ncontent-length: 2\r\n\r\nok")),
            Answer(200, "ok"),
        ),
        (
            "a blank before the colon",
            Hold(of("content-length : 2\r\n\r\nok")),
            Answer(200, "ok"),
        ),
        (
            "packed by a transfer coding",
            Hold(of("transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")),
            Failure("unsupported transfer encoding: \\\"gzip, chunked\\\""),
        ),
        (
            "another protocol",
            Hold(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec()),
            Answer(101, ""),
        ),
        (
            "bad status",
            Hold(b"HTTP/1.1 2x0 OK\r\n\r\n".to_vec()),
            Failure("malformed HTTP status code \\\"2x0\\\""),
        ),
        (
            "bad header",
            Hold(of("a b: c\r\n\r\n")),
            Failure("malformed MIME header line: \\\"a b: c\\\""),
        ),
        (
            "bad length",
            Hold(of("content-length: 5x\r\n\r\nhello")),
            Failure("error invoking app channel"),
        ),
        (
            "two lengths",
            Hold(of("content-length: 5\r\ncontent-length: 6\r\n\r\nhello!")),
            Failure("error invoking app channel"),
        ),
        (
            "a huge header",
            Hold(large_head.into_bytes()),
            Failure("error invoking app channel"),
        ),
        (
            "too many headers",
            Hold(of(&format!("{many_headers}\r\n"))),
            Failure("the answer has more than 100 headers"),
        ),
        (
            "an interim answer first",
            Hold(
                b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                    .to_vec(),
            ),
            Answer(200, "ok"),
        ),
        (
            "a bare status line",
            Close(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
            Answer(200, ""),
        ),
        (
            "a status nobody registered",
            Hold(b"HTTP/1.1 599 Odd\r\ncontent-length: 3\r\n\r\nodd".to_vec()),
            Answer(599, "odd"),
        ),
        (
            "no body where none may be",
            Hold(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            Answer(204, ""),
        ),
    ]
}

async fn call(port: u16, verb: &str) -> Option<RawResponse> {
    let mut client = RawClient::connect(port).await;
    client
        .send(format!("{}content-length: 4\r\n\r\nbody", head(verb, "m")))
        .await;
    client.receive().await
}

fn check(name: &str, answer: Option<RawResponse>, outcome: Outcome) {
    match (answer, outcome) {
        (Some(answer), Answer(status, body)) => {
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (status, body),
                "{name}"
            );
        }
        (Some(answer), Failure(text)) => {
            assert_eq!(answer.status(), 500, "{name}: {}", answer.text());
            assert!(
                answer.text().contains("ERR_DIRECT_INVOKE"),
                "{name}: {}",
                answer.text()
            );
            assert!(answer.text().contains(text), "{name}: {}", answer.text());
        }
        (None, Broken) => {}
        (answer, outcome) => panic!("{name}: wanted {outcome:?}, got {answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_breaks_looks_broken_and_no_worse() {
    for (name, deed, outcome) in cases() {
        let script = deed.clone();
        let app = RawApp::start(move |connection| {
            let script = script.clone();
            async move { perform(&script, connection).await }
        })
        .await;
        let pair = Pair::new(app.port).await;
        let remote = call(pair.caller.http_port, "POST").await;
        check(name, remote, outcome);
        // The same without another sidecar in between.
        let outcome = match outcome {
            Failure("error invoking app channel") => Failure("failed to invoke, id: callee"),
            other => other,
        };
        let local = call(pair.callee.http_port, "POST").await;
        check(&format!("{name}, called by itself"), local, outcome);
        if !matches!(deed, Hold(_)) {
            assert_eq!(app.calls(), 2, "{name}: a call that was seen is not repeated");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_is_noticed_by_the_app() {
    // Before the head of the answer, and after a piece of its body.
    let starts: [&[u8]; 2] = [
        b"",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ];
    for start in starts {
        let (closed, mut is_closed) = mpsc::unbounded_channel();
        let called = Arc::new(Notify::new());
        let calls = Arc::clone(&called);
        let app = RawApp::start(move |mut connection| {
            let (closed, calls) = (closed.clone(), Arc::clone(&calls));
            async move {
                connection.send(start).await;
                calls.notify_one();
                let _ = closed.send(connection.is_closed().await);
            }
        })
        .await;
        let pair = Pair::new(app.port).await;
        for sidecar in [&pair.caller, &pair.callee] {
            let mut client = RawClient::connect(sidecar.http_port).await;
            client.send(format!("{}\r\n", head("GET", "m"))).await;
            soon("the call", called.notified()).await;
            if !start.is_empty() {
                assert!(client.receive_head().await.is_some());
            }
            drop(client);
            let closed = soon("the end of the call at the app", is_closed.recv()).await;
            assert_eq!(closed, Some(true));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_off_breaks_at_the_app() {
    for framing in ["transfer-encoding: chunked", "content-length: 100"] {
        let (ends, mut end) = mpsc::unbounded_channel();
        let app = RawApp::start(move |mut connection| {
            let ends = ends.clone();
            async move {
                // Whatever the framing, the body must not end in order: neither a last chunk nor all bytes.
                let mut seen = Vec::new();
                while let Some(byte) = connection.receive_bytes(1).await {
                    seen.extend(byte);
                }
                let _ = ends.send(seen);
            }
        })
        .await;
        let pair = Pair::new(app.port).await;
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send(format!("{}{framing}\r\n\r\n", head("POST", "m")))
            .await;
        client
            .send(if framing.ends_with("chunked") {
                "5\r\nhello\r\n"
            } else {
                "hello"
            })
            .await;
        eventually("the call", || async { app.calls() == 1 }).await;
        drop(client);
        let seen = soon("the end", end.recv()).await.unwrap();
        assert!(!seen.windows(5).any(|window| window == b"0\r\n\r\n"), "{framing}");
        assert!(seen.len() < 100, "{framing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_may_answer_before_it_has_read() {
    let app = RawApp::start(|mut connection| async move {
        connection
            .send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
            .await;
        connection.is_closed().await;
    })
    .await;
    let pair = Pair::new(app.port).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client
        .send(format!("{}transfer-encoding: chunked\r\n\r\n", head("POST", "m")))
        .await;
    client.send(chunk(&[b'x'; 1000])).await;
    let answer = client.receive().await.unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "no"));
}

/// An app may refuse a request by its head. What it has not read makes its system reset the connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_may_refuse_and_close_without_reading() {
    let app = RawApp::start(|mut connection| async move {
        let refused = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
        connection.send(refused).await;
    })
    .await;
    let pair = Pair::new(app.port).await;
    let body = "x".repeat(2 << 20);
    for port in [pair.callee.http_port, pair.caller.http_port] {
        for call in 0..20 {
            let mut client = RawClient::connect(port).await;
            let length = body.len();
            let request = format!("{}content-length: {length}\r\n\r\n{body}", head("POST", "m"));
            client.try_send(request.as_bytes()).await;
            let answer = client.receive().await.unwrap();
            assert_eq!((answer.status(), answer.text().as_str()), (413, "no"), "{call}");
        }
    }
}

/// What the app says before it dies is passed on, however soon it dies.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_dies_after_its_head() {
    for framing in [
        "transfer-encoding: chunked\r\ncontent-type: text/plain\r\n",
        "transfer-encoding: chunked\r\n",
        "content-length: 10\r\n",
    ] {
        let app = RawApp::start(move |mut connection| async move {
            let head = format!("HTTP/1.1 203 Odd\r\n{framing}\r\n");
            connection.send(head).await;
        })
        .await;
        let pair = Pair::new(app.port).await;
        for port in [pair.callee.http_port, pair.caller.http_port] {
            for call in 0..20 {
                let mut client = RawClient::connect(port).await;
                client.send(format!("{}\r\n", head("GET", "m"))).await;
                let answer = client.receive_head().await;
                let answer = answer.unwrap_or_else(|| panic!("{framing:?}, call {call}: nothing"));
                assert_eq!(answer.status(), 203, "{framing:?}, call {call}");
                assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
                assert_eq!(client.receive_chunk().await, None, "{framing:?}, call {call}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_shorter_than_it_says_is_told_in_the_log() {
    let app = RawApp::start(|mut connection| async move {
        connection
            .send("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\nok")
            .await;
    })
    .await;
    let pair = Pair::new(app.port).await;
    check(
        "short",
        call(pair.caller.http_port, "GET").await,
        Answer(200, "ok"),
    );
    pair.callee
        .await_log("declared a body of 999 bytes, sent 2 and closed")
        .await;
}
