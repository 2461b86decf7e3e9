//! Requests whose end can be read in two ways: one reading must not hide a second request from the other.

use super::*;
use crate::testing::{read_answer, read_rest, write};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// Heads that must be refused, and with which status.
const REFUSED: &[(&str, u16)] = &[
    // Two lengths.
    ("Content-Length: 3\r\nTransfer-Encoding: chunked", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 3", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 0", 400),
    ("content-length: 5\r\nX: y\r\ntransfer-encoding: chunked", 400),
    ("Content-Length: 3\r\nContent-Length: 4", 400),
    ("Content-Length: 0\r\nContent-Length: 5", 400),
    ("Content-Length: 3, 4", 400),
    // Lengths that are none.
    ("Content-Length: +5", 400),
    ("Content-Length: -5", 400),
    ("Content-Length: 0x5", 400),
    ("Content-Length: 5 5", 400),
    ("Content-Length: 5.0", 400),
    ("Content-Length: 99999999999999999999", 400),
    ("Content-Length:", 400),
    // Codings that are not just `chunked`.
    ("Transfer-Encoding: chunked, identity", 501),
    ("Transfer-Encoding: identity", 501),
    ("Transfer-Encoding: xchunked", 501),
    ("Transfer-Encoding:", 501),
    ("Transfer-Encoding: gzip", 501),
    ("TRANSFER-ENCODING: Chunked\t,\tGzip", 501),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", 501),
    ("Transfer-Encoding: identity, chunked", 501),
    ("Transfer-Encoding: gzip, chunked", 501),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
    ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 501),
    ("Transfer-Encoding:\x0bchunked", 400),
    // Lines that are read differently.
    ("Transfer-Encoding : chunked", 400),
    ("Content-Length : 3", 400),
    ("Content-Length\t: 3", 400),
    ("X: y\r\n Content-Length: 3", 400),
    ("Content-Length: 3\r\n 4", 400),
    ("Transfer-Encoding:\r\n chunked", 400),
    (" X: y", 400),
    ("X: y\rContent-Length: 3", 400),
    ("X: y\r\rContent-Length: 3", 400),
    ("X: y\0", 400),
    ("X\0: y", 400),
    ("no colon", 400),
    (": no name", 400),
    ("X y: z", 400),
];

/// Sends a head and what may be its body, then the other request; returns all that is answered.
async fn try_smuggling(server: &Server, before: &str, head: &str) -> String {
    let mut client = server.connect().await;
    if !before.is_empty() {
        write(&mut client, before).await;
        read_answer(&mut client).await;
    }
    let request = format!("POST /echo HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n{SMUGGLED}");
    write(&mut client, request).await;
    read_rest(&mut client).await
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_end_their_connection() {
    let before = [
        "",
        "GET /before HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /before HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "POST /before HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for config in [config(), http1_only()] {
        let server = Server::http(config).await;
        for before in before {
            for (head, status) in REFUSED {
                let answers = try_smuggling(&server, before, head).await;
                let case = format!("{before:?} {head:?}: {answers}");
                assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{case}");
                assert_eq!(answers.matches("HTTP/1.").count(), 1, "{case}");
            }
        }
        let seen = server.stop().await;
        assert!(seen.iter().all(|path| path == "/before"), "{seen:?}");
    }
}

#[tokio::test]
async fn two_lengths_are_seen_in_any_pieces() {
    let mut server = Server::http(config()).await;
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    for cut in 1..request.len() {
        let mut client = server.connect().await;
        write(&mut client, &request[..cut]).await;
        // Lets the server read the first piece; it need not.
        tokio::task::yield_now().await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client, &request.as_bytes()[cut..]).await;
        let answers = read_rest(&mut client).await;
        assert!(answers.starts_with("HTTP/1.1 400 "), "{cut}: {answers}");
    }
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_pipelined_request_with_two_lengths_is_the_last_one() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    let both =
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    write(
        &mut client,
        format!("GET /a HTTP/1.1\r\nHost: x\r\n\r\n{both}{SMUGGLED}"),
    )
    .await;
    read_rest(&mut client).await;
    let seen = server.stop().await;
    assert!(!seen.iter().any(|path| path == "/smuggled"), "{seen:?}");
}

#[tokio::test]
async fn a_transfer_coding_in_http_1_0_is_refused() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    let head = "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    write(&mut client, format!("{head}{SMUGGLED}")).await;
    let answers = read_rest(&mut client).await;
    assert!(
        answers.starts_with("HTTP/1.0 400 ") || answers.starts_with("HTTP/1.1 400 "),
        "{answers}"
    );
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn a_line_feed_alone_ends_a_line_for_everybody_who_looks() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(
        &mut client,
        "POST /echo HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc",
    )
    .await;
    assert_eq!(read_answer(&mut client).await.1, "abc");
    let both = "POST /echo HTTP/1.1\nHost: x\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\r\n\r\n";
    write(&mut client, format!("{both}{SMUGGLED}")).await;
    assert!(read_rest(&mut client).await.starts_with("HTTP/1.1 400 "));
    assert_eq!(server.stop().await, ["/echo"]);
}

#[tokio::test]
async fn the_same_length_twice_is_one_length() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n";
    write(&mut client, format!("{head}abc")).await;
    assert_eq!(read_answer(&mut client).await.1, "abc");
}
