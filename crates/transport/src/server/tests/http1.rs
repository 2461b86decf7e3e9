//! Requests, one after the other and several at once.

use tokio::io::AsyncReadExt;

use super::*;
use crate::testing::{read_answer, read_head, read_rest, write};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_many_requests() {
    for config in [config(), http1_only()] {
        let server = Server::http(config).await;
        let mut client = server.connect().await;
        for _ in 0..3 {
            write(&mut client, GET).await;
            let (head, body) = read_answer(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(body, "/a");
            write(
                &mut client,
                "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            )
            .await;
            assert_eq!(read_answer(&mut client).await.1, "abc");
            let chunked = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
            write(&mut client, chunked).await;
            write(&mut client, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
            let (head, body) = read_answer(&mut client).await;
            assert_eq!(body, "abcde");
            assert!(!head.to_lowercase().contains("connection: close"), "{head}");
        }
        drop(client);
        assert_eq!(server.stop().await.len(), 9);
    }
}

#[tokio::test]
async fn a_client_that_says_close_is_closed() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(
        &mut client,
        "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    let rest = read_rest(&mut client).await;
    assert!(
        rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("\r\n\r\n/a"),
        "{rest}"
    );
}

#[tokio::test]
async fn http_1_0_is_one_request_a_connection_unless_it_asks_for_more() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, "GET /a HTTP/1.0\r\n\r\n").await;
    let rest = read_rest(&mut client).await;
    assert!(
        rest.starts_with("HTTP/1.0 200 OK\r\n") && rest.ends_with("\r\n\r\n/a"),
        "{rest}"
    );

    let mut client = server.connect().await;
    for _ in 0..2 {
        write(&mut client, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let (head, body) = read_answer(&mut client).await;
        assert!(head.to_lowercase().contains("connection: keep-alive"), "{head}");
        assert_eq!(body, "/a");
    }
}

#[tokio::test]
async fn http_1_0_gets_no_chunks() {
    let server = Server::http(config()).await;
    server.release.add_permits(1);
    let mut client = server.connect().await;
    write(&mut client, "GET /stream HTTP/1.0\r\n\r\n").await;
    let rest = read_rest(&mut client).await;
    assert!(rest.ends_with("\r\n\r\nhalfdone"), "{rest}");
    assert!(!rest.to_lowercase().contains("transfer-encoding"), "{rest}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    let requests = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n\
                    POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
                    GET /b HTTP/1.1\r\nHost: x\r\n\r\n\
                    GET /c HTTP/1.1\r\nHost: x\r\n\r\n";
    write(&mut client, requests).await;
    for wanted in ["/a", "abc", "/b", "/c"] {
        assert_eq!(read_answer(&mut client).await.1, wanted);
    }
    // And as before after the last of them.
    write(&mut client, GET).await;
    assert_eq!(read_answer(&mut client).await.1, "/a");
    assert_eq!(server.stop().await, ["/a", "/echo", "/b", "/c", "/a"]);
}

#[tokio::test]
async fn a_pipelined_request_in_chunks_is_the_last_one() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    let chunked = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    write(&mut client, format!("{chunked}{chunked}{chunked}")).await;
    let (head, body) = read_answer(&mut client).await;
    assert!(!head.to_lowercase().contains("connection: close"), "{head}");
    assert_eq!(body, "a");
    // Nobody saw whether its head had a length, too.
    let rest = read_rest(&mut client).await;
    assert!(rest.to_lowercase().contains("connection: close"), "{rest}");
    assert_eq!(rest.matches("HTTP/1.1 ").count(), 1, "{rest}");
    assert_eq!(server.stop().await, ["/echo", "/echo"]);
}

#[tokio::test]
async fn empty_lines_before_a_request_are_nothing() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        write(&mut client, format!("\r\n\r\n{GET}")).await;
        assert_eq!(read_answer(&mut client).await.1, "/a");
    }
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let head = read_head(&mut client).await;
    assert!(head.contains("Content-Length: 2\r\n"), "{head}");
    write(&mut client, GET).await;
    assert_eq!(read_answer(&mut client).await.1, "/a");
}

#[tokio::test]
async fn an_answer_that_breaks_is_not_complete() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, "GET /break HTTP/1.1\r\nHost: x\r\n\r\n").await;
    read_head(&mut client).await;
    let mut half = [0; 9];
    soon(client.read_exact(&mut half)).await.unwrap();
    assert_eq!(&half, b"4\r\nhalf\r\n");
    server.release.add_permits(1);
    assert_eq!(read_rest(&mut client).await, "");
}

#[tokio::test]
async fn a_client_that_goes_away_drops_the_handler() {
    for config in [config(), http1_only()] {
        let mut server = Server::http(config).await;
        let mut client = server.connect().await;
        write(&mut client, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(server.sees().await, "/wait");
        drop(client);
        assert_eq!(server.sees().await, "dropped");
        server.stop().await;
    }
}
