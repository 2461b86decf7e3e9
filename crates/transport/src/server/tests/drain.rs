//! The end of a server.

use super::*;
use crate::testing::{
    GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame, next_frame, read_answer, read_frame, read_head, read_rest,
    write,
};

/// Waits until nobody takes new connections.
async fn refused(server: &Server) {
    soon(async {
        // One that was made just before is not served.
        while TcpStream::connect(&server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_in_flight_finishes_and_nothing_new_comes() {
    for config in [config(), http1_only()] {
        let mut server = Server::http(config).await;
        let mut client = server.connect().await;
        write(&mut client, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(server.sees().await, "/wait");
        server.trigger.begin_drain();
        refused(&server).await;
        assert!(!server.served.is_finished());
        server.release.add_permits(1);
        let (head, body) = read_answer(&mut client).await;
        assert_eq!(body, "released");
        assert!(head.to_lowercase().contains("connection: close"), "{head}");
        assert_eq!(read_rest(&mut client).await, "");
        assert!(server.stop().await.is_empty());
    }
}

#[tokio::test]
async fn an_answer_that_streams_finishes() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await;
    read_head(&mut client).await;
    server.trigger.begin_drain();
    refused(&server).await;
    server.release.add_permits(1);
    assert_eq!(
        read_rest(&mut client).await,
        "4\r\nhalf\r\n4\r\ndone\r\n0\r\n\r\n"
    );
    server.stop().await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    for config in [config(), http1_only()] {
        let server = Server::http(config).await;
        let mut idle = server.connect().await;
        write(&mut idle, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        read_answer(&mut idle).await;
        // These have not said anything, or next to nothing.
        let mut silent = server.connect().await;
        let mut undecided = server.connect().await;
        write(&mut undecided, "P").await;
        let mut other = server.connect().await;
        write(&mut other, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        read_answer(&mut other).await;
        server.trigger.begin_drain();
        for client in [&mut idle, &mut silent, &mut other] {
            assert_eq!(read_rest(client).await, "");
        }
        drop(undecided);
        server.stop().await;
    }
}

async fn h2_drains(mut server: Server) {
    let mut idle = server.connect_h2().await;
    let mut busy = server.connect_h2().await;
    write(&mut busy, frame(HEADERS, 5, 1, GET_WAIT)).await;
    assert_eq!(server.sees().await, "/wait");
    server.trigger.begin_drain();
    refused(&server).await;
    assert_eq!(next_frame(&mut idle, &[GOAWAY]).await.unwrap().number(4), 0);
    while let Some(frame) = next_frame(&mut idle, &[GOAWAY, HEADERS, RST_STREAM]).await {
        assert_eq!(frame.kind, GOAWAY);
    }
    // First that no new streams should come, then which one was the last.
    assert_eq!(
        next_frame(&mut busy, &[GOAWAY]).await.unwrap().number(0),
        0x7fff_ffff
    );
    let last = next_frame(&mut busy, &[GOAWAY]).await.unwrap();
    assert_eq!((last.number(0), last.number(4)), (1, 0));
    // What comes now is not taken.
    write(&mut busy, frame(HEADERS, 5, 3, GET)).await;
    server.release.add_permits(1);
    let answer = next_frame(&mut busy, &[HEADERS, RST_STREAM]).await.unwrap();
    assert_eq!((answer.kind, answer.stream), (HEADERS, 1));
    while let Some(frame) = next_frame(&mut busy, &[HEADERS]).await {
        assert_eq!(frame.stream, 1);
    }
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn http2_says_goodbye() {
    h2_drains(Server::http(config()).await).await;
}

#[tokio::test]
async fn grpc_says_goodbye() {
    h2_drains(Server::grpc(GrpcServerConfig::default()).await).await;
}

#[tokio::test]
async fn a_grpc_connection_without_a_preface_does_not_hold_the_drain() {
    for start in [&PREFACE[..0], &PREFACE[..10]] {
        let config = GrpcServerConfig {
            handshake_timeout: Duration::from_secs(600),
            ..GrpcServerConfig::default()
        };
        let server = Server::grpc(config).await;
        let mut client = server.connect().await;
        write(&mut client, start).await;
        assert_eq!(read_frame(&mut client).await.unwrap().kind, SETTINGS);
        server.stop().await;
        read_rest(&mut client).await;
    }
}

async fn is_forced(mut server: Server, mut client: TcpStream) {
    assert_eq!(server.sees().await, "/wait");
    server.trigger.begin_drain();
    refused(&server).await;
    assert!(!server.served.is_finished());
    server.trigger.force();
    soon(&mut server.served).await.unwrap();
    assert_eq!(server.sees().await, "dropped");
    while read_frame_or_bytes(&mut client).await {}
}

/// Whether something came.
async fn read_frame_or_bytes(client: &mut TcpStream) -> bool {
    let mut piece = [0; 100];
    matches!(soon(tokio::io::AsyncReadExt::read(client, &mut piece)).await, Ok(count) if count > 0)
}

#[tokio::test]
async fn force_drops_what_is_in_flight() {
    let server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    is_forced(server, client).await;

    let server = Server::http(config()).await;
    let mut client = server.connect_h2().await;
    write(&mut client, frame(HEADERS, 5, 1, GET_WAIT)).await;
    is_forced(server, client).await;

    let server = Server::grpc(GrpcServerConfig::default()).await;
    let mut client = server.connect_h2().await;
    write(&mut client, frame(HEADERS, 5, 1, GET_WAIT)).await;
    is_forced(server, client).await;
}

#[tokio::test]
async fn a_lost_trigger_is_force() {
    let mut server = Server::http(config()).await;
    let mut client = server.connect().await;
    write(&mut client, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(server.sees().await, "/wait");
    drop(server.trigger);
    soon(&mut server.served).await.unwrap();
    assert_eq!(soon(server.seen.recv()).await.unwrap(), "dropped");
}
