//! Memory does not grow with what goes through.

use bytes::Bytes;
use http_body_util::BodyExt;
use integration_tests::{Daprd, HttpApp, Protocol, RawClient, Request, stream, text};

use crate::stage::{Pair, chunk, head};

const SIZE: usize = 256 << 20;
const PIECE: usize = 256 << 10;
/// A bound for builds with and without optimisation. A body that was kept would be far beyond.
const MOST_GROWTH: u64 = 48 << 20;

/// Sizes of the sidecars before something goes through.
struct Watched<'a>(Vec<(&'a Daprd, u64)>);

impl<'a> Watched<'a> {
    fn new(pair: &'a Pair) -> Self {
        let sidecars = [&pair.caller, &pair.callee];
        Self(sidecars.map(|sidecar| (sidecar, sidecar.resident_bytes())).into())
    }

    fn check(&self, what: &str) {
        for (sidecar, before) in &self.0 {
            let growth = sidecar.peak_resident_bytes().saturating_sub(*before);
            println!("{what}: {} grew by {} KiB", sidecar.app_id, growth >> 10);
            assert!(
                growth < MOST_GROWTH,
                "{what}: {} grew by {growth}",
                sidecar.app_id
            );
        }
    }
}

/// An app that counts what it gets at `/up` and gives at `/chunks` and `/length`.
async fn app() -> HttpApp {
    HttpApp::start(Protocol::Http, |request: Request| async move {
        let path = request.uri().path().to_owned();
        if path == "/up" {
            let mut body = request.into_body();
            let mut size = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    return text(400, "broken");
                };
                size += frame.data_ref().map_or(0, Bytes::len);
            }
            return text(200, size.to_string());
        }
        let (mut sender, mut answer) = stream(200);
        if path == "/length" {
            answer.headers_mut().insert("content-length", SIZE.into());
        }
        tokio::spawn(async move {
            let piece = Bytes::from(vec![7; PIECE]);
            for _ in 0..SIZE / PIECE {
                if sender.send_data(piece.clone()).await.is_err() {
                    return;
                }
            }
        });
        answer
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_leave_no_trace() {
    let app = app().await;
    let pair = Pair::with(app.port, |sidecar| {
        sidecar.arg("--max-body-size=512Mi").log_level("info")
    })
    .await;
    let watched = Watched::new(&pair);
    for framing in [
        "transfer-encoding: chunked".to_owned(),
        format!("content-length: {SIZE}"),
    ] {
        let is_chunked = framing.ends_with("chunked");
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send(format!("{}{framing}\r\n\r\n", head("POST", "up")))
            .await;
        let piece = if is_chunked {
            chunk(&vec![7; PIECE])
        } else {
            vec![7; PIECE]
        };
        for _ in 0..SIZE / PIECE {
            client.send(&piece).await;
        }
        if is_chunked {
            client.send("0\r\n\r\n").await;
        }
        assert_eq!(client.receive().await.unwrap().text(), SIZE.to_string());
        watched.check(&framing);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_leave_no_trace() {
    let app = app().await;
    let pair = Pair::with(app.port, |sidecar| sidecar.log_level("info")).await;
    let watched = Watched::new(&pair);
    for method in ["chunks", "length"] {
        let mut answer = reqwest::get(pair.url(method)).await.unwrap();
        let mut size = 0;
        while let Some(piece) = answer.chunk().await.unwrap() {
            size += piece.len();
        }
        assert_eq!(size, SIZE, "{method}");
        watched.check(method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bodies_at_once_leave_no_trace() {
    const CALLS: usize = 100;
    const EACH: usize = 4 << 20;
    let app = app().await;
    let pair = Pair::with(app.port, |sidecar| sidecar.log_level("info")).await;
    let watched = Watched::new(&pair);
    let client = reqwest::Client::new();
    let body = Bytes::from(vec![7; EACH]);
    let calls = (0..CALLS).map(|_| {
        let call = client.post(pair.url("up")).body(body.clone()).send();
        async move { call.await.unwrap().text().await.unwrap() }
    });
    for size in futures_util::future::join_all(calls).await {
        assert_eq!(size, EACH.to_string());
    }
    // Each call may have a window's worth on the way, on each side.
    for (sidecar, before) in &watched.0 {
        let growth = sidecar.peak_resident_bytes().saturating_sub(*before);
        println!("{} grew by {} KiB", sidecar.app_id, growth >> 10);
        assert!(growth < 200 << 20, "{} grew by {growth}", sidecar.app_id);
    }
}
