//! Bodies in chunks: what breaks one ends the connection.

use super::*;
use crate::testing::{read_answer, read_rest, write};

const HEAD: &str = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn chunks_that_are_none_break_the_body() {
    let server = Server::http(config()).await;
    for body in [
        "x\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3 4\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        write(&mut client, format!("{HEAD}{body}{SMUGGLED}")).await;
        let answers = read_rest(&mut client).await;
        // The handler had the head already; it says that the body is broken.
        assert!(answers.matches("HTTP/1.1 ").count() <= 1, "{body:?}: {answers}");
        assert!(
            !answers.contains("smuggled") && !answers.contains("abc"),
            "{body:?}: {answers}"
        );
    }
    let seen = server.stop().await;
    assert!(seen.iter().all(|path| path == "/echo"), "{seen:?}");
}

#[tokio::test]
async fn a_body_that_stops_short_is_broken() {
    for request in [
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc".to_owned(),
        format!("{HEAD}3\r\nabc\r\n"),
        format!("{HEAD}3\r\nabc\r\n0\r\n"),
    ] {
        let mut server = Server::http(config()).await;
        let mut client = server.connect().await;
        write(&mut client, request).await;
        assert_eq!(server.sees().await, "/echo");
        tokio::io::AsyncWriteExt::shutdown(&mut client).await.unwrap();
        let answers = read_rest(&mut client).await;
        assert!(!answers.contains("abc"), "{answers}");
        server.stop().await;
    }
}

#[tokio::test]
async fn extensions_and_trailers_are_read() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        write(
            &mut client,
            format!("{HEAD}3;a=b\r\nabc\r\n0;c\r\nX-Sum: 7\r\n\r\n"),
        )
        .await;
        let (head, body) = read_answer(&mut client).await;
        assert_eq!(body, "abc");
        if head.to_lowercase().contains("connection: close") {
            client = server.connect().await;
        }
    }
}

#[tokio::test]
async fn an_endless_extension_and_endless_trailers_are_cut_off() {
    let server = Server::http(config()).await;
    for endless in ["3;", "0\r\nX: "] {
        let mut client = server.connect().await;
        write(&mut client, format!("{HEAD}{endless}")).await;
        let piece = [b'y'; 1000];
        // Until the server has had enough.
        while soon(tokio::io::AsyncWriteExt::write_all(&mut client, &piece))
            .await
            .is_ok()
        {}
    }
}

#[tokio::test]
async fn a_body_that_breaks_at_once_comes_after_its_head() {
    let server = Server::http(config()).await;
    for _ in 0..20 {
        let mut client = server.connect().await;
        write(&mut client, "GET /fail HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let rest = read_rest(&mut client).await;
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest:?}");
        assert!(rest.ends_with("\r\n\r\n"), "the last chunk is missing: {rest:?}");
        assert!(!rest.ends_with("0\r\n\r\n"), "{rest:?}");
    }
}
