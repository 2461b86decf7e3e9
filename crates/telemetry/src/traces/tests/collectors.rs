//! Collectors that say too much.

use super::*;
use crate::otlp::{Collector, TIMEOUT};

/// A collector that answers the first that it reads with these bytes, and then with more of the last of them as long as
/// they are taken.
async fn collector(protocol: Protocol, answer: &'static [u8], more: &'static [u8]) -> Collector {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read_buf(&mut Vec::new()).await;
        let _ = socket.write_all(answer).await;
        while socket.write_all(more).await.is_ok() {}
    });
    Collector {
        authority,
        protocol,
        is_secure: false,
        roots: None,
        headers: Vec::new(),
        timeout: TIMEOUT,
        is_packed: false,
    }
}

/// Whether the spans count as lost, which is not tried again.
fn is_for_good(sent: Result<(), Refused>, why: &str) {
    let refused = sent.unwrap_err();
    assert!(refused.why.contains(why), "{refused:?}");
    assert_eq!(refused.again, None, "{refused:?}");
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read() {
    let exporters = Exporters::new("me", Tasks::new(), Tasks::new(), Proxies::default());
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = b"10\r\n0123456789abcdef\r\n";
    let http = collector(Protocol::Http(String::new()), head, chunk).await;
    let post = HttpPost::to_collector(&http, "/", &exporters).unwrap();
    is_for_good(
        post.send(Bytes::new()).await,
        "the answer of the collector is too long",
    );

    // SETTINGS; the head of an answer: 200, and application/grpc as its content type; the head of a message of 65,537 bytes.
    let frames = b"\0\0\0\x04\0\0\0\0\0\
                   \0\0\x14\x01\x04\0\0\0\x01\x88\x0f\x10\x10application/grpc\
                   \0\0\x05\0\0\0\0\0\x01\0\0\x01\0\x01";
    let data = b"\0\0\x10\0\0\0\0\0\x010123456789abcdef";
    let grpc = collector(Protocol::Grpc, frames, data).await;
    let grpc = OtlpGrpc::new(&grpc, grpc::EXPORT, &exporters).unwrap();
    is_for_good(grpc.send(Bytes::new()).await, "larger than max (65537 vs. 65536)");
}
