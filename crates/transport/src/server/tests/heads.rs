//! Heads: their limits, and what is answered without the handler.

use super::*;
use crate::testing::{read_answer, read_head, read_rest, write};

#[tokio::test]
async fn a_head_may_be_as_large_as_the_limit_and_no_larger() {
    let server = Server::http(config()).await;
    let start = "GET /a HTTP/1.1\r\nHost: x\r\nX: ";
    let fill = MAX_HEADER_BYTES - start.len() - 4;
    for (size, status) in [(fill, 200), (fill + 1, 431), (200_000, 431)] {
        let mut client = server.connect().await;
        let head = format!("{start}{}\r\n\r\n", "y".repeat(size));
        // The server may have had enough before the end.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client, head.as_bytes()).await;
        if status == 200 {
            assert_eq!(read_answer(&mut client).await.1, "/a");
        } else {
            let rest = read_rest(&mut client).await;
            assert!(rest.starts_with("HTTP/1.1 431 "), "{size}: {rest}");
        }
    }
    assert_eq!(server.stop().await, ["/a"]);
}

#[tokio::test]
async fn a_head_has_a_hundred_headers_at_most() {
    let server = Server::http(config()).await;
    for (count, status) in [(100, 200), (101, 431)] {
        let mut client = server.connect().await;
        // `Host` is one of them.
        let headers = "X: y\r\n".repeat(count - 1);
        write(
            &mut client,
            &format!("GET /a HTTP/1.1\r\nHost: x\r\n{headers}\r\n"),
        )
        .await;
        let head = read_head(&mut client).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{count}: {head}"
        );
    }
    assert_eq!(server.stop().await, ["/a"]);
}

#[tokio::test]
async fn what_hosts_there_may_be() {
    let server = Server::http(config()).await;
    for (head, wanted) in [
        ("GET / HTTP/1.1\r\n\r\n", "missing required Host header"),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400 Bad Request"),
    ] {
        let mut client = server.connect().await;
        write(&mut client, head).await;
        let rest = read_rest(&mut client).await;
        assert!(rest.starts_with("HTTP/1.1 400 Bad Request"), "{rest}");
        assert!(rest.to_lowercase().contains("connection: close"), "{rest}");
        assert!(rest.ends_with(wanted), "{rest}");
    }
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn a_client_that_waits_to_continue_is_told_to() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    write(&mut client, head).await;
    assert_eq!(read_head(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    write(&mut client, "abc").await;
    assert_eq!(read_answer(&mut client).await.1, "abc");
}

#[tokio::test]
async fn other_expectations_fail() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(
        &mut client,
        "GET / HTTP/1.1\r\nHost: x\r\nExpect: the best\r\n\r\n",
    )
    .await;
    let rest = read_rest(&mut client).await;
    assert!(rest.starts_with("HTTP/1.1 417 "), "{rest}");
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn options_of_the_server_are_no_call() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        write(&mut client, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (head, body) = read_answer(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, "");
    }
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let server = Server::http(config()).await;
    for head in [
        "GET\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: x\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: x\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}",
    ] {
        let mut client = server.connect().await;
        write(&mut client, head).await;
        let rest = read_rest(&mut client).await;
        assert!(
            rest.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{head:?}: {rest:?}"
        );
    }
    assert!(server.stop().await.is_empty());
}
