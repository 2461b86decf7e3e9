//! Connections without a call, and clients that have more to say than the server reads.

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::*;
use crate::testing::{read_answer, read_rest};

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
/// Long enough for a connection to give its buffers back.
const A_WHILE: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn a_connection_that_was_silent_goes_on_as_before() {
    for config in [config(), http1_only()] {
        let server = Server::http(config).await;
        let mut client = server.connect().await;
        write(&mut client, GET).await;
        assert_eq!(read_answer(&mut client).await.1, "/a");
        sleep(A_WHILE).await;
        // In pieces, the first of which wakes it.
        let (first, rest) = GET.split_at(1);
        write(&mut client, first).await;
        sleep(Duration::from_millis(20)).await;
        write(&mut client, rest).await;
        assert_eq!(read_answer(&mut client).await.1, "/a");
        sleep(A_WHILE).await;
        // More at once than what wakes it takes.
        let long = format!("POST /echo HTTP/1.1\r\nHost: x\r\nX: {}\r\n", "x".repeat(500));
        write(&mut client, format!("{long}Content-Length: 3\r\n\r\nabc{GET}")).await;
        assert_eq!(read_answer(&mut client).await.1, "abc");
        assert_eq!(read_answer(&mut client).await.1, "/a");
        drop(client);
        assert_eq!(server.stop().await.len(), 4);
    }
}

#[tokio::test]
async fn heads_are_watched_after_silence_as_before() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, GET).await;
    assert_eq!(read_answer(&mut client).await.1, "/a");
    sleep(A_WHILE).await;
    let both =
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    write(&mut client, both).await;
    let rest = read_rest(&mut client).await;
    assert!(rest.starts_with("HTTP/1.1 400 "), "{rest}");
    assert_eq!(server.stop().await, ["/a"]);
}

#[tokio::test]
async fn a_silent_connection_ends_with_its_client_and_with_the_server() {
    let server = Server::http(config()).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        write(&mut client, GET).await;
        assert_eq!(read_answer(&mut client).await.1, "/a");
        clients.push(client);
    }
    sleep(A_WHILE).await;
    clients[0].shutdown().await.unwrap();
    assert_eq!(read_rest(&mut clients[0]).await, "");
    // The other one must not hold the drain.
    assert_eq!(server.stop().await.len(), 2);
    assert_eq!(read_rest(&mut clients[1]).await, "");
}

#[tokio::test]
async fn a_call_that_takes_longer_than_silence_may_is_no_silence() {
    let mut server = Server::http(config()).await;
    let mut waiting = server.connect().await;
    write(&mut waiting, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.sees().await;
    let mut sending = server.connect().await;
    write(
        &mut sending,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc",
    )
    .await;
    server.sees().await;
    sleep(A_WHILE).await;
    server.release.add_permits(1);
    assert_eq!(read_answer(&mut waiting).await.1, "released");
    write(&mut sending, "def").await;
    assert_eq!(read_answer(&mut sending).await.1, "abcdef");
}

/// A client that goes on to send while its answer comes, and reads when it is done.
async fn answer_after(server: &Server, head: &str) -> String {
    let mut client = server.connect().await;
    write(&mut client, head).await;
    for _ in 0..8 {
        sleep(Duration::from_millis(20)).await;
        write(&mut client, vec![b'x'; 16 * 1024]).await;
    }
    client.shutdown().await.unwrap();
    read_rest(&mut client).await
}

#[tokio::test]
async fn a_client_that_is_not_read_to_its_end_is_not_reset() {
    let server = Server::http(config()).await;
    let large = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n";
    let answer = answer_after(&server, large).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("/a"),
        "{answer}"
    );
    let endless = "GET /a HTTP/1.1\r\nHost: x\r\nX: ";
    let answer = answer_after(&server, endless).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
