//! Answers in odd forms: those that are read, and those that are refused, by name.

use super::*;
use crate::testing::{accept, read_rest};

/// Asks an app that sends these bytes and waits for the end of the connection.
async fn ask(request: Request<Sent>, bytes: &[u8]) -> (Result<Answered, ClientError>, Client) {
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let app = async {
        let mut app = accept(&listener).await;
        read_head(&mut app).await;
        write(&mut app, bytes).await;
        app
    };
    let (result, app) = tokio::join!(client.send(request), app);
    if result.is_err() {
        let mut app = app;
        read_rest(&mut app).await;
    }
    (result, client)
}

#[tokio::test]
async fn what_cannot_be_misread_is_read() {
    for (headers, wanted) in [
        ("X: a\r\n b", "a b"),
        ("X: a\r\n\t  b\r\n c", "a b c"),
        ("X:\r\n a", "a"),
        ("X: a  \r\n  b  ", "a b"),
        ("X : a", "a"),
        ("X\t: a", "a"),
        ("X:a", "a"),
        ("X: \ta\t ", "a"),
        ("X: a\tb", "a\tb"),
        ("X:", ""),
        ("X: \u{e9}", "\u{e9}"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\nContent-Length: 2\r\n\r\nok");
        let (result, _) = ask(get(), answer.as_bytes()).await;
        let answer = result.unwrap_or_else(|error| panic!("{headers:?}: {error}"));
        assert_eq!(answer.headers()["x"].as_bytes(), wanted.as_bytes(), "{headers:?}");
        assert_eq!(text(answer).await.unwrap(), "ok", "{headers:?}");
    }
}

#[tokio::test]
async fn status_lines_and_ends_of_lines() {
    for (answer, status) in [
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200),
        ("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200),
        ("HTTP/1.1 200 All \u{e9}\r\nContent-Length: 2\r\n\r\nok", 200),
        ("HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        ("HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        ("HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\nok", 999),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200),
        ("\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
        ),
    ] {
        let (result, client) = ask(get(), answer.as_bytes()).await;
        let answered = result.unwrap_or_else(|error| panic!("{answer:?}: {error}"));
        assert_eq!(answered.status(), status, "{answer:?}");
        assert_eq!(text(answered).await.unwrap(), "ok", "{answer:?}");
        assert_eq!(client.idle(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_refused_is_named() {
    for (answer, wanted) in [
        (
            "SSH-2.0-OpenSSH_9.6\r\n\r\n",
            "malformed HTTP response \"SSH-2.0-OpenSSH_9.6\"",
        ),
        ("HTTP/1.1 abc\r\n\r\n", "malformed HTTP status code \"abc\""),
        ("HTTP/1.1 099 Low\r\n\r\n", "malformed HTTP status code \"099\""),
        ("HTTP/2.0 200 OK\r\n\r\n", "malformed HTTP version \"HTTP/2.0\""),
        (
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "malformed MIME header: missing colon: \"no colon\"",
        ),
        (
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
            "malformed MIME header line: \"a b: c\"",
        ),
        (
            "HTTP/1.1 200 OK\r\na: b\x00\r\n\r\n",
            "malformed MIME header line: \"a: b\\0\"",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "bad Content-Length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
            "bad Content-Length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\na",
            "bad Content-Length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "bad Content-Length",
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding in HTTP/1.0",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "unsupported transfer encoding: \"gzip, chunked\"",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "too many transfer encodings: [\"gzip\" \"chunked\"]",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            "unsupported transfer encoding: \"identity\"",
        ),
    ] {
        let (result, client) = ask(get(), answer.as_bytes()).await;
        let error = result.err().unwrap_or_else(|| panic!("{answer:?} is read"));
        assert_eq!(
            (error.kind(), error.seen()),
            (ErrorKind::Malformed, Delivery::Maybe),
            "{answer:?}"
        );
        assert_eq!(error.to_string(), wanted, "{answer:?}");
        assert_eq!(client.idle(), 0, "{answer:?}");
        soon(client.tasks.wait()).await;
    }
}

#[tokio::test]
async fn another_protocol_is_a_status_and_nothing_more() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nno HTTP";
    let (result, client) = ask(get(), answer.as_bytes()).await;
    let answer = result.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(text(answer).await.unwrap(), "");
    assert_eq!(client.idle(), 0, "what follows is for nobody");
    soon(client.tasks.wait()).await;
}

#[tokio::test]
async fn too_many_headers_are_named() {
    let headers = "X: y\r\n".repeat(101);
    let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
    let (result, _) = ask(get(), answer.as_bytes()).await;
    let error = result.err().unwrap();
    assert_eq!(error.to_string(), "the answer has more than 100 headers");
}

#[tokio::test]
async fn a_body_where_none_may_be_is_no_answer_to_the_next_call() {
    let stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";
    for (request, answer) in [
        (
            get as fn() -> Request<Sent>,
            format!("HTTP/1.1 204 No Content\r\n\r\n{stray}"),
        ),
        (get, format!("HTTP/1.1 304 Not Modified\r\n\r\n{stray}")),
        (
            get,
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{stray}"),
        ),
        (
            head,
            format!("HTTP/1.1 200 OK\r\nContent-Length: 68\r\n\r\n{stray}"),
        ),
    ] {
        let (listener, address) = listen().await;
        let client = Client::new(&address);
        let app = async {
            let mut first = accept(&listener).await;
            read_head(&mut first).await;
            write(&mut first, &answer).await;
            let mut second = accept(&listener).await;
            self::answer(&mut second, &ok("next")).await;
            (first, second)
        };
        let calls = async {
            let first = client.send(request()).await.unwrap();
            assert_eq!(text(first).await.unwrap(), "");
            text(client.send(post("x")).await.unwrap()).await.unwrap()
        };
        let (_app, next) = tokio::join!(app, calls);
        assert_eq!(next, "next", "{answer:?}");
    }
}
