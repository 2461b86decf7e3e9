//! What the servers listen on.

use tokio::net::UnixStream;

use super::*;
use crate::testing::{SETTINGS, read_answer, read_frame, write};

#[tokio::test]
async fn a_unix_socket_serves_and_goes_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.socket");
    let listener = Listener::unix(&path).unwrap();
    assert_eq!(listener.local_addr(), None);
    let server = Server::start(String::new(), |app, shutdown| {
        serve_http(listener, config(), app, shutdown)
    });
    let mut client = soon(UnixStream::connect(&path)).await.unwrap();
    for _ in 0..2 {
        write(&mut client, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(read_answer(&mut client).await.1, "/a");
    }
    assert_eq!(server.stop().await, ["/a", "/a"]);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_unix_socket_serves_grpc() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.socket");
    let listener = Listener::unix(&path).unwrap();
    let server = Server::start(String::new(), |app, shutdown| {
        serve_grpc(listener, GrpcServerConfig::default(), app, shutdown)
    });
    let mut client = soon(UnixStream::connect(&path)).await.unwrap();
    assert_eq!(read_frame(&mut client).await.unwrap().kind, SETTINGS);
    drop(client);
    server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_port_that_is_served_is_in_use() {
    let server = Server::http(config()).await;
    let error = Listener::tcp(&server.address, Patience::None).await.unwrap_err();
    assert!(error.is_in_use());
    assert_eq!(
        error.to_string(),
        format!("listen tcp {}: bind: address already in use", server.address)
    );
    let address = server.address.clone();
    let waiting = tokio::spawn(async move {
        // As long as it takes.
        Listener::tcp(&address, Patience::For(Duration::from_secs(600))).await
    });
    // A connection to the old server must not stand in the way of the new one.
    let mut client = server.connect().await;
    write(&mut client, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
    read_answer(&mut client).await;
    let address = server.address.clone();
    server.stop().await;
    let listener = soon(waiting).await.unwrap().unwrap();
    assert_eq!(listener.local_addr().unwrap().to_string(), address);
}
