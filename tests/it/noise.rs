//! Noise on every port: the process lives, and answers those who make sense.

use std::time::Duration;

use fastrand::Rng;
use integration_tests::{HttpApp, Protocol, RawClient, eventually};

use crate::stage::Pair;

/// What noise is made from: beginnings of what the ports understand.
const SEEDS: &[&[u8]] = &[
    b"GET /v1.0/invoke/callee/method/m?x=1 HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n",
    b"POST /v1.0/invoke/callee/method/m HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /v1.0/metadata HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\nhello",
    b"PUT /v1.0/metadata/%zz HTTP/1.1\r\nhost: x\r\nauthorization: Basic ZGFwci1hcHAtaWQ6Y2FsbGVl\r\ncontent-length: 1\r\n\r\nx",
    // A preface with settings, then a request in HPACK for a gRPC method, then one message.
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x01\x04\x00\x00\x00\x01\x83\x86\x44\x02/x\x41\x00\x00\x00\x0a\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x05hello",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\xff\xff\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
];

fn noise(random: &mut Rng) -> Vec<u8> {
    let mut bytes = match random.u8(..4) {
        0 => (0..random.usize(1..600)).map(|_| random.u8(..)).collect(),
        _ => SEEDS[random.usize(..SEEDS.len())].to_vec(),
    };
    for _ in 0..random.usize(..6) {
        let at = random.usize(..bytes.len());
        match random.u8(..4) {
            0 => bytes[at] = random.u8(..),
            1 => bytes.truncate(at + 1),
            2 => bytes.insert(at, random.u8(..)),
            _ => {
                let again = bytes[at..].to_vec();
                bytes.extend(again);
            }
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_does_no_harm() {
    const CONNECTIONS: usize = 300;
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let sidecar = &pair.callee;
    let ports = [
        sidecar.http_port,
        sidecar.grpc_port,
        sidecar.internal_port,
        sidecar.public_port,
        sidecar.metrics_port,
    ];
    for port in ports {
        let talks = (0..CONNECTIONS).map(|_| {
            let bytes = noise(&mut random);
            async move {
                let mut client = RawClient::connect(port).await;
                client.try_send(bytes).await;
                // Some wait for what comes, all go away in the end.
                let _ = tokio::time::timeout(Duration::from_millis(20), client.is_closed()).await;
            }
        });
        let talks: Vec<_> = talks.collect();
        futures_util::future::join_all(talks).await;
    }
    assert!(!sidecar.log().contains("panicked"), "{}", sidecar.log());
    sidecar.await_health().await;
    let answer = reqwest::get(pair.url("m")).await.unwrap();
    assert_eq!(answer.status(), 200);
    // Nothing of it stays open.
    let open = || {
        std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid()))
            .unwrap()
            .count()
    };
    eventually("connections to be let go", || async { open() < 100 }).await;
    let exit = pair.callee.stop().await;
    assert_eq!(exit.code, Some(0));
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}
