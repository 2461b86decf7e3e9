//! Callers that do not read what they asked for: they cost little, and hold nobody up.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use integration_tests::{HttpApp, Protocol, RawClient, Request, text};

use crate::stage::{Pair, soon};

const SIZE: usize = 1 << 20;

/// The beginning of a connection whose windows never close.
fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE, and WINDOW_UPDATE of the connection.
    bytes.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
    bytes.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0]);
    bytes
}

/// A `GET` of a path, without a body.
fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    let mut frame = u32::try_from(block.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([1, 5]);
    frame.extend(stream.to_be_bytes());
    frame.extend(block);
    frame
}

/// An app with an answer of a megabyte, and a small one.
async fn app() -> HttpApp {
    // One for all: thousands of them would fill the memory of the machine.
    let large = Bytes::from(vec![b'x'; SIZE]);
    HttpApp::start(Protocol::Http, move |request: Request| {
        let large = large.clone();
        async move {
            match request.uri().path() {
                "/large" => text(200, large),
                _ => text(200, "small"),
            }
        }
    })
    .await
}

/// Connections of a client that asks for much and reads nothing.
async fn deaf_clients(port: u16, connections: usize, streams: u32) -> Vec<RawClient> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = RawClient::connect(port).await;
        client.send(preface()).await;
        for number in 0..streams {
            let large = get(2 * number + 1, "/v1.0/invoke/callee/method/large");
            client.send(large).await;
        }
        clients.push(client);
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_read_costs_little() {
    let app = app().await;
    let pair = Pair::with(app.port, |sidecar| sidecar.log_level("info")).await;
    for sidecar in [&pair.caller, &pair.callee] {
        reqwest::get(sidecar.invoke_url("callee", "small")).await.unwrap();
        let before = sidecar.resident_bytes();
        let clients = deaf_clients(sidecar.http_port, 1, 100).await;
        // Until all of them hold what they can.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let growth = sidecar.peak_resident_bytes().saturating_sub(before);
        println!("{} grew by {} KiB", sidecar.app_id, growth >> 10);
        assert!(growth < 60 << 20, "{} grew by {growth}", sidecar.app_id);
        drop(clients);
    }
}

/// What must still work, and how much the sidecars may grow for it.
async fn others_are_served(pair: &Pair, before: [u64; 2]) {
    let client = reqwest::Client::new();
    for _ in 0..5 {
        let calls = (0..20).map(|_| {
            let call = client.get(pair.url("small")).send();
            async { call.await.unwrap().text().await.unwrap() }
        });
        for text in soon("calls beside those that stand still", join_all(calls)).await {
            assert_eq!(text, "small");
        }
    }
    for (sidecar, before) in [&pair.caller, &pair.callee].into_iter().zip(before) {
        let growth = sidecar.peak_resident_bytes().saturating_sub(before);
        println!("{} grew by {} MiB", sidecar.app_id, growth >> 20);
        assert!(growth < 240 << 20, "{} grew by {growth}", sidecar.app_id);
    }
}

/// Over HTTP/1 each call is a connection at its caller and one at the app.
#[tokio::test(flavor = "multi_thread")]
async fn callers_over_http1_that_do_not_read_hold_nobody_up() {
    let (_app, pair, before) = stage().await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send("GET /v1.0/invoke/callee/method/large HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        clients.push(client);
    }
    others_are_served(&pair, before).await;
    drop(clients);
}

async fn stage() -> (HttpApp, Pair, [u64; 2]) {
    let app = app().await;
    let pair = Pair::with(app.port, |sidecar| sidecar.log_level("info")).await;
    reqwest::get(pair.url("small")).await.unwrap();
    let before = [pair.caller.resident_bytes(), pair.callee.resident_bytes()];
    (app, pair, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_answers_that_nobody_reads_hold_nobody_up() {
    let (_app, pair, before) = stage().await;
    let clients = deaf_clients(pair.caller.http_port, 16, 250).await;
    others_are_served(&pair, before).await;
    drop(clients);
}
