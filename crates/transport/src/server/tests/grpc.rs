//! What is special about the server for gRPC.

use super::*;
use crate::testing::{HEADERS, SETTINGS, frame, next_frame, read_frame, read_rest, write};

fn impatient() -> GrpcServerConfig {
    GrpcServerConfig {
        handshake_timeout: Duration::from_millis(400),
        ..GrpcServerConfig::default()
    }
}

#[tokio::test]
async fn the_server_speaks_first() {
    let server = Server::grpc(GrpcServerConfig::default()).await;
    let mut client = server.connect().await;
    let settings = read_frame(&mut client).await.unwrap();
    assert_eq!((settings.kind, settings.flags), (SETTINGS, 0));
}

#[tokio::test]
async fn a_preface_that_does_not_come_ends_the_connection_and_silence_after_it_does_not() {
    let server = Server::grpc(impatient()).await;
    let mut silent = server.connect().await;
    write(&mut silent, PREFACE).await;
    write(&mut silent, frame(SETTINGS, 0, 0, &[])).await;
    next_frame(&mut silent, &[SETTINGS]).await.unwrap();
    for start in [0, 1, 23] {
        let mut client = server.connect().await;
        write(&mut client, &PREFACE[..start]).await;
        read_rest(&mut client).await;
    }
    write(&mut silent, frame(HEADERS, 5, 1, GET)).await;
    assert_eq!(next_frame(&mut silent, &[HEADERS]).await.unwrap().stream, 1);
    drop(silent);
    assert_eq!(server.stop().await, ["/"]);
}

#[tokio::test]
async fn a_preface_that_drips_ends_the_connection() {
    let server = Server::grpc(impatient()).await;
    let mut client = server.connect().await;
    let mut bytes = PREFACE.iter().take(23).copied().cycle();
    // As slowly as it goes; the preface is wrong long before its end.
    loop {
        let byte = [bytes.next().unwrap()];
        if soon(tokio::io::AsyncWriteExt::write_all(&mut client, &byte))
            .await
            .is_err()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn http1_is_not_spoken() {
    let server = Server::grpc(GrpcServerConfig::default()).await;
    let mut client = server.connect().await;
    write(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let rest = read_rest(&mut client).await;
    assert!(!rest.contains("HTTP/1.1"), "{rest:?}");
    assert!(server.stop().await.is_empty());
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_given_up() {
    let short = Duration::from_millis(100);
    let config = GrpcServerConfig {
        keep_alive: (short, short),
        ..GrpcServerConfig::default()
    };
    let mut server = Server::grpc(config).await;
    let mut client = server.connect().await;
    write(&mut client, PREFACE).await;
    write(&mut client, frame(SETTINGS, 0, 0, &[])).await;
    write(&mut client, frame(HEADERS, 5, 1, GET_WAIT)).await;
    assert_eq!(server.sees().await, "/wait");
    read_rest(&mut client).await;
    assert_eq!(server.sees().await, "dropped");
    server.stop().await;
}
