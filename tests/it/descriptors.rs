//! Sidecars that may have few files open: those who ask are served, and those who do nothing make room.

use futures_util::future::join_all;
use integration_tests::{HttpApp, Mesh, Protocol, RawClient, Request, eventually, stream, text};

use crate::stage::{chunk, soon};

const LIMIT: u32 = 256;
const WORDS: &str = "connections without a call are closed to make room for new ones";

/// Answers `/stream` in pieces, whenever the client has sent one, and everything else at once.
async fn app() -> HttpApp {
    HttpApp::start(Protocol::Http, |request: Request| async move {
        if request.uri().path() != "/stream" {
            return text(200, "here");
        }
        let (mut sender, answer) = stream(200);
        let mut body = request.into_body();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
                let data = frame.into_data().unwrap_or_default();
                if sender.send_data(data).await.is_err() {
                    return;
                }
            }
        });
        answer
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_served_when_others_hold_all_that_there_is() {
    let app = app().await;
    let mesh = Mesh::new();
    let sidecar = mesh
        .sidecar("few")
        .app_port(app.port)
        .open_files(LIMIT)
        .start()
        .await;
    // One that is in the middle of a call.
    let mut busy = RawClient::connect(sidecar.http_port).await;
    busy.send(
        "POST /v1.0/invoke/few/method/stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    busy.send(chunk(b"first")).await;
    busy.receive_head().await.unwrap();
    assert_eq!(busy.receive_chunk().await.unwrap(), b"first");

    // Many that have had a call, on both ports, and many that never say anything.
    let ask = "GET /v1.0/healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut idle = Vec::new();
    for n in 0..2 * LIMIT {
        let mut client = RawClient::connect(sidecar.http_port).await;
        if n % 2 == 0 {
            client.try_send(ask).await;
            // It may be one of those that make room before it is answered only if it has said nothing.
            if let Some(answer) = soon("an answer", client.receive()).await {
                assert_eq!(answer.status(), 204);
            }
        }
        idle.push(client);
    }
    // New callers come, one after the other and many at once.
    for _ in 0..20 {
        let answer = soon("a call", reqwest::get(sidecar.invoke_url("few", "m")))
            .await
            .unwrap();
        assert_eq!(answer.text().await.unwrap(), "here");
    }
    let url = sidecar.invoke_url("few", "m");
    let calls = join_all((0..20).map(|_| reqwest::get(&url)));
    for answer in soon("calls at once", calls).await {
        let answer = answer.unwrap();
        let status = answer.status();
        assert_eq!(status, 200, "{}", answer.text().await.unwrap());
    }
    // So are those who watch the sidecar.
    let metrics = format!("http://127.0.0.1:{}/", sidecar.metrics_port);
    assert_eq!(reqwest::get(metrics).await.unwrap().status(), 200);
    let health = format!("http://127.0.0.1:{}/v1.0/healthz", sidecar.public_port);
    assert_eq!(reqwest::get(health).await.unwrap().status(), 204);
    // The call in the middle goes on.
    busy.send(chunk(b"second")).await;
    assert_eq!(busy.receive_chunk().await.unwrap(), b"second");
    let log = sidecar.log();
    assert_eq!(log.matches(WORDS).count(), 1, "{log}");
    assert!(
        log.contains(&format!("few open files of {LIMIT} are left")),
        "{log}"
    );

    // When they go everything is as before: connections stay.
    drop(idle);
    let open = || {
        std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid()))
            .unwrap()
            .count()
    };
    eventually("connections to be let go", || async { open() < 64 }).await;
    let mut kept = RawClient::connect(sidecar.http_port).await;
    for _ in 0..2 {
        kept.send(ask).await;
        assert_eq!(kept.receive().await.unwrap().status(), 204);
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    }
}
