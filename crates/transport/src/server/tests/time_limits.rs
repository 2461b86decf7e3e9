//! How long a client may take. What must not be cut off is compared with what is: the same limit, later.

use super::*;
use crate::testing::{read_answer, read_rest, write};

const LIMIT: Duration = Duration::from_millis(400);

fn impatient(config: HttpServerConfig) -> HttpServerConfig {
    HttpServerConfig {
        header_timeout: LIMIT,
        ..config
    }
}

/// Lets the limit pass twice, as another client feels it.
async fn let_the_limit_pass(server: &Server) {
    for _ in 0..2 {
        let mut slow = server.connect().await;
        write(&mut slow, "GET /slow HT").await;
        assert_eq!(read_rest(&mut slow).await, "");
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    for config in [config(), http1_only()] {
        let server = Server::http(impatient(config)).await;
        let mut clients = Vec::new();
        for start in [
            "",
            "G",
            "P",
            "PRI * HTTP/2.0\r\n\r\nS",
            "GET / HTTP/1.1\r\nHost: x\r\n",
        ] {
            let mut client = server.connect().await;
            write(&mut client, start).await;
            clients.push(client);
        }
        for mut client in clients {
            read_rest(&mut client).await;
        }
        assert!(server.stop().await.is_empty());
    }
}

#[tokio::test]
async fn a_head_that_drips_ends_the_connection() {
    let server = Server::http(impatient(config())).await;
    let mut client = server.connect().await;
    write(&mut client, "GET / HTTP/1.1\r\nX: ").await;
    // Until the server has had enough.
    while soon(tokio::io::AsyncWriteExt::write_all(&mut client, b"y"))
        .await
        .is_ok()
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn later_heads_are_timed_like_the_first() {
    let server = Server::http(impatient(config())).await;
    let mut clients = Vec::new();
    for first in [
        "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        write(&mut client, first).await;
        read_answer(&mut client).await;
        write(&mut client, "GET /slow HT").await;
        clients.push((first, client));
    }
    for (first, mut client) in clients {
        assert_eq!(read_rest(&mut client).await, "", "{first:?}");
    }
}

#[tokio::test]
async fn silence_between_requests_is_not_timed() {
    for config in [config(), http1_only()] {
        let server = Server::http(impatient(config)).await;
        let mut idle = Vec::new();
        for first in [
            "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let mut client = server.connect().await;
            write(&mut client, first).await;
            read_answer(&mut client).await;
            idle.push(client);
        }
        let_the_limit_pass(&server).await;
        for mut client in idle {
            write(&mut client, "GET /b HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(read_answer(&mut client).await.1, "/b");
        }
    }
}

#[tokio::test]
async fn bodies_and_handlers_may_take_their_time() {
    let mut server = Server::http(impatient(config())).await;
    let mut uploading = server.connect().await;
    write(
        &mut uploading,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf",
    )
    .await;
    assert_eq!(server.sees().await, "/echo");
    let mut waiting = server.connect().await;
    write(&mut waiting, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(server.sees().await, "/wait");
    let_the_limit_pass(&server).await;
    write(&mut uploading, "done").await;
    assert_eq!(read_answer(&mut uploading).await.1, "halfdone");
    server.release.add_permits(1);
    assert_eq!(read_answer(&mut waiting).await.1, "released");
}
