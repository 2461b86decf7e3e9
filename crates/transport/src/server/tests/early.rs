//! Answers of HTTP/1 before the end of their requests: the connection goes on, or the client is told that it does not.

use super::*;
use crate::testing::{read_answer, read_head, read_rest, write};

const NEXT: &str = "GET /next HTTP/1.1\r\nHost: x\r\n\r\n";

/// The head of a `POST`.
fn post(path: &str, rest: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{rest}\r\n\r\n")
}

fn says_close(head: &str) -> bool {
    head.contains("\r\nConnection: close\r\n")
}

/// The next request of the connection is answered.
async fn goes_on(client: &mut TcpStream) {
    write(client, NEXT).await;
    let (head, body) = read_answer(client).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "/next");
}

#[tokio::test]
async fn a_body_that_nobody_reads_may_come_after_the_answer() {
    let server = Server::http(config()).await;
    for (sent, rest) in [("", 10), ("0123", 6), ("", 256 * 1024), ("0123456789", 0)] {
        let mut client = server.connect().await;
        let length = sent.len() + rest;
        write(&mut client, post("/early", &format!("Content-Length: {length}"))).await;
        write(&mut client, sent).await;
        let (head, body) = read_answer(&mut client).await;
        assert!(!says_close(&head), "{length}: {head}");
        assert_eq!(body, "/early");
        write(&mut client, "x".repeat(rest)).await;
        for _ in 0..3 {
            goes_on(&mut client).await;
        }
        if rest > 0 {
            // It may have been read together with the next request, whose head is then not seen.
            continue;
        }
        let chunked = post("/echo", "Transfer-Encoding: chunked");
        write(&mut client, format!("{chunked}3\r\nabc\r\n0\r\n\r\n")).await;
        let (head, body) = read_answer(&mut client).await;
        assert_eq!(body, "abc");
        assert!(!says_close(&head), "its head was seen as a whole: {head}");
    }
}

#[tokio::test]
async fn a_body_that_is_read_in_part_may_come_after_the_answer() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, post("/first", "Content-Length: 100")).await;
    write(&mut client, "half").await;
    let (head, body) = read_answer(&mut client).await;
    assert!(!says_close(&head), "{head}");
    assert_eq!(body, "true");
    write(&mut client, "x".repeat(96)).await;
    goes_on(&mut client).await;
}

#[tokio::test]
async fn the_next_request_may_come_with_the_rest_of_the_one_before() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, post("/early", "Content-Length: 10")).await;
    assert_eq!(read_answer(&mut client).await.1, "/early");
    write(&mut client, format!("0123456789{NEXT}{NEXT}")).await;
    for _ in 0..2 {
        assert_eq!(read_answer(&mut client).await.1, "/next");
    }
}

#[tokio::test]
async fn what_is_too_much_to_read_is_told_to_be_the_last() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, post("/early", "Content-Length: 262145")).await;
    let (head, body) = read_answer(&mut client).await;
    assert!(says_close(&head), "{head}");
    assert_eq!(body, "/early");
    assert_eq!(read_rest(&mut client).await, "");
}

#[tokio::test]
async fn chunks_are_read_to_their_end_or_told_to_be_the_last() {
    let server = Server::http(config()).await;
    for (sent, closes) in [
        ("3\r\nabc\r\n0\r\n\r\n", false),
        ("0\r\n\r\n", false),
        ("3\r\nabc\r\n", true),
        ("", true),
        ("nonsense\r\n", true),
        ("3\r\nabcd", true),
    ] {
        for path in ["/early", "/first"] {
            if path == "/first" && sent.is_empty() {
                continue;
            }
            let mut client = server.connect().await;
            write(&mut client, post(path, "Transfer-Encoding: chunked")).await;
            write(&mut client, sent).await;
            let (head, _) = read_answer(&mut client).await;
            assert_eq!(says_close(&head), closes, "{path} {sent:?}: {head}");
            if closes {
                assert_eq!(read_rest(&mut client).await, "");
            } else {
                goes_on(&mut client).await;
            }
        }
    }
}

#[tokio::test]
async fn a_broken_body_is_told_to_be_the_last() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, post("/echo", "Transfer-Encoding: chunked")).await;
    write(&mut client, "3\r\nabc\r\nnonsense\r\n").await;
    let (head, body) = read_answer(&mut client).await;
    assert!(says_close(&head), "{head}");
    assert_eq!(body, "broken");
    assert_eq!(read_rest(&mut client).await, "");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_not_asked_for_what_nobody_reads() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    let expecting = "Content-Length: 10\r\nExpect: 100-continue";
    write(&mut client, post("/early", expecting)).await;
    let (head, _) = read_answer(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(says_close(&head), "{head}");
    let mut client = server.connect().await;
    write(&mut client, post("/echo", expecting)).await;
    assert_eq!(read_head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    write(&mut client, "0123456789").await;
    let (head, body) = read_answer(&mut client).await;
    assert!(!says_close(&head), "{head}");
    assert_eq!(body, "0123456789");
    goes_on(&mut client).await;
}

#[tokio::test]
async fn a_rest_that_does_not_come_is_not_waited_for() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, post("/early", "Content-Length: 10")).await;
    assert_eq!(read_answer(&mut client).await.1, "/early");
    assert_eq!(read_rest(&mut client).await, "");
}

#[tokio::test]
async fn what_is_refused_before_any_handler_is_told_to_be_the_last() {
    let server = Server::http(config()).await;
    for head in [
        "POST early HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
        "POST /early HTTP/1.1\r\nContent-Length: 10\r\n\r\n",
        "POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        write(&mut client, head).await;
        assert!(says_close(&read_answer(&mut client).await.0), "{head}");
        assert_eq!(read_rest(&mut client).await, "");
    }
    // `OPTIONS *` is answered and goes on.
    let mut client = server.connect().await;
    write(
        &mut client,
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
    )
    .await;
    assert!(!says_close(&read_answer(&mut client).await.0));
    write(&mut client, "0123456789").await;
    goes_on(&mut client).await;
}
