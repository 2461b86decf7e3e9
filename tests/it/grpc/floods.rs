//! Connections that are made to hurt.

use h2::Reason;
use integration_tests::RawClient;
use integration_tests::grpc::{GrpcApp, GrpcClient};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{APP, METHOD, Pair, TO_APP};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

async fn is_well(pair: &Pair) {
    for port in [pair.caller.grpc_port, pair.callee.internal_port] {
        let client = GrpcClient::connect(port).await;
        let metadata = [TO_APP, ("dapr-callee-app-id", APP)];
        assert_eq!(client.call(METHOD, &metadata, &[b"x"]).await.only(), b"x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_that_is_not_finished() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    let mut waiting = tokio::task::JoinSet::new();
    for port in [pair.caller.grpc_port, pair.callee.internal_port] {
        for sent in [&b""[..], &PREFACE[..7]] {
            waiting.spawn(async move {
                let mut client = RawClient::connect(port).await;
                client.send(sent).await;
                assert!(client.is_closed().await, "after {sent:?}");
            });
        }
    }
    while let Some(closed) = waiting.join_next().await {
        closed.expect("the connection was closed");
    }
    is_well(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http2() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    for junk in [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        [PREFACE, SETTINGS, &[0xff; 64]].concat(),
        [PREFACE, &frame(0, 0, 1, b"data before headers")].concat(),
        [PREFACE, SETTINGS, &frame(1, 4, 2, &[0x82])].concat(),
        [PREFACE, SETTINGS, &frame(1, 4, 1, &[0xff; 9])].concat(),
        [PREFACE, SETTINGS, &frame(8, 0, 0, &[0, 0, 0, 0])].concat(),
    ] {
        for port in [pair.caller.grpc_port, pair.callee.internal_port] {
            let mut client = RawClient::connect(port).await;
            client.send(&junk).await;
            assert!(client.is_closed().await, "{junk:?}");
        }
    }
    is_well(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_as_fast_as_they_are_opened() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    is_well(&pair).await;
    let before = pair.caller.resident_bytes() + pair.callee.resident_bytes();
    for _ in 0..3 {
        let client = pair.client().await;
        for _ in 0..1500 {
            match client.try_open(METHOD, &[TO_APP]).await {
                Ok(mut stream) => stream.reset(Reason::CANCEL),
                // It may have had enough.
                Err(_) => break,
            }
        }
    }
    is_well(&pair).await;
    let after = pair.caller.resident_bytes() + pair.callee.resident_bytes();
    assert!(after < before + (100 << 20), "from {before} to {after} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_without_an_end() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    for payload in [&[][..], &[0; 1], &[0x0f; 1000]] {
        let mut socket = TcpStream::connect(("127.0.0.1", pair.caller.grpc_port))
            .await
            .expect("somebody listens");
        // POST, http, and no END_HEADERS.
        let begin = [PREFACE, SETTINGS, &frame(1, 0, 1, &[0x83, 0x86])].concat();
        socket.write_all(&begin).await.expect("open");
        let more = frame(9, 0, 1, payload);
        let mut sent = 0_usize;
        while sent < 64 << 20 && socket.write_all(&more).await.is_ok() {
            sent += more.len();
        }
        assert!(sent < 64 << 20, "{sent} bytes of headers were taken");
    }
    is_well(&pair).await;
    let resident = pair.caller.resident_bytes();
    assert!(resident < 200 << 20, "{resident} bytes");
}
