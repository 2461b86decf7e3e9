//! The versions of HTTP that the API speaks, and the sockets it listens on.

use std::sync::Arc;

use http_body_util::BodyExt;
use integration_tests::{H2Client, HttpApp, Protocol, RawClient, Request, text};
use tokio::sync::Barrier;

use crate::stage::{Pair, head, soon};

/// The preface of a client and its (empty) settings (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_answered_in_kind() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    for connection in ["", "connection: keep-alive\r\n"] {
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send(format!(
                "POST /v1.0/invoke/callee/method/old HTTP/1.0\r\n{connection}content-length: 2\r\n\r\nhi"
            ))
            .await;
        let answer = client.receive().await.unwrap();
        assert!(
            answer.status_line.starts_with("HTTP/1.0 200"),
            "{}",
            answer.status_line
        );
        assert_eq!(answer.header("transfer-encoding"), None);
        assert!(answer.text().contains("\"target\":\"/old\""), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_many_calls() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    for number in 0..20 {
        client
            .send(format!("{}\r\n", head("GET", &number.to_string())))
            .await;
        let answer = client.receive().await.unwrap();
        assert!(answer.text().contains(&format!("\"target\":\"/{number}\"")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h2c_by_prior_knowledge() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let client = H2Client::connect(pair.caller.http_port).await;
    let answer = client.get("/v1.0/invoke/callee/method/two?x=1").await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("\"target\":\"/two?x=1\""));
    let answer = client.get("/v1.0/healthz").await.unwrap();
    assert_eq!(answer.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn h2c_by_upgrade() {
    let app = HttpApp::start(Protocol::Http, |request: Request| async move {
        text(200, format!("upgraded {}", request.uri().path()))
    })
    .await;
    let pair = Pair::new(app.port).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client
        .send(format!(
            "{}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: \r\n\r\n",
            head("GET", "first")
        ))
        .await;
    let switch = client.receive().await.unwrap();
    assert_eq!(switch.status(), 101);
    assert_eq!(switch.header("upgrade"), Some("h2c"));
    client.send(PREFACE).await;
    // The request that asked is stream 1; its answer comes without another request.
    let (mut has_head, mut body) = (false, Vec::new());
    loop {
        let frame_head = client.receive_bytes(9).await.expect("a frame");
        let length =
            usize::from(frame_head[0]) << 16 | usize::from(frame_head[1]) << 8 | usize::from(frame_head[2]);
        let payload = client.receive_bytes(length).await.expect("its payload");
        if frame_head[8] != 1 {
            continue;
        }
        match frame_head[3] {
            // A HEADERS frame; 0x88 is `:status: 200` (RFC 7541, appendix A).
            1 => has_head = payload.contains(&0x88),
            0 => body.extend(payload),
            _ => {}
        }
        if frame_head[4] & 1 == 1 {
            break;
        }
    }
    assert!(has_head);
    assert_eq!(String::from_utf8(body).unwrap(), "upgraded /first");
}

#[tokio::test(flavor = "multi_thread")]
async fn h2c_can_be_switched_off() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::with(app.port, |sidecar| sidecar.env("DAPR_HTTP_DISABLE_H2C", "true")).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client
        .send(format!(
            "{}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: \r\n\r\n",
            head("GET", "m")
        ))
        .await;
    assert_eq!(client.receive().await.unwrap().status(), 200);
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client.send(PREFACE).await;
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_calls_share_a_connection() {
    let app = HttpApp::start(Protocol::H2c, |request: Request| async move {
        let body = request
            .into_body()
            .collect()
            .await
            .map(|body| body.to_bytes().len());
        text(200, body.unwrap_or(0).to_string())
    })
    .await;
    let pair = Pair::with(app.port, |sidecar| {
        sidecar.arg("--app-protocol=h2c").log_level("info")
    })
    .await;
    let client = H2Client::connect(pair.caller.http_port).await;
    let calls = (0..2000).map(|number| {
        let body = http_body_util::Full::from(vec![b'x'; number])
            .map_err(|never| match never {})
            .boxed_unsync();
        let call = client.send(http::Method::POST, "/v1.0/invoke/callee/method/m", body);
        async move {
            let answer = call.await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let body = answer
                .into_body()
                .collect()
                .await
                .expect("a whole body")
                .to_bytes();
            assert_eq!(body, number.to_string());
        }
    });
    soon("all calls", futures_util::future::join_all(calls)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_calls_are_at_the_app_at_once() {
    const CALLS: usize = 2000;
    let barrier = Arc::new(Barrier::new(CALLS));
    let app = HttpApp::start(Protocol::H2c, move |request: Request| {
        let barrier = Arc::clone(&barrier);
        async move {
            if request.uri().path() == "/m" {
                barrier.wait().await;
            }
            text(200, "together")
        }
    })
    .await;
    let pair = Pair::with(app.port, |sidecar| {
        sidecar.arg("--app-protocol=h2c").log_level("info")
    })
    .await;
    // A connection to the API may have 250 calls in flight.
    let mut clients = Vec::new();
    for _ in 0..CALLS / 250 {
        clients.push(H2Client::connect(pair.caller.http_port).await);
    }
    let calls = (0..CALLS).map(|number| {
        let call = clients[number / 250].get("/v1.0/invoke/callee/method/m");
        async move { call.await.expect("an answer").status() }
    });
    let statuses = soon("all calls", futures_util::future::join_all(calls)).await;
    assert!(statuses.iter().all(|status| *status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_takes_the_place_of_the_ports() {
    let app = HttpApp::echo(Protocol::Http).await;
    let folder = tempfile::tempdir().unwrap();
    let mesh = integration_tests::Mesh::new();
    let sidecar = mesh
        .sidecar("callee")
        .app_port(app.port)
        .arg(format!("--unix-domain-socket={}", folder.path().display()))
        .without_waiting()
        .start()
        .await;
    sidecar.await_log("dapr initialized").await;
    let path = folder.path().join("dapr-callee-http.socket");
    let mut client = RawClient::connect_unix(&path).await;
    client.send(format!("{}\r\n", head("GET", "by/socket"))).await;
    let answer = client.receive().await.unwrap();
    assert!(
        answer.text().contains("\"target\":\"/by/socket\""),
        "{}",
        answer.text()
    );
    assert!(folder.path().join("dapr-callee-grpc.socket").exists());
    let tcp = tokio::net::TcpStream::connect(("127.0.0.1", sidecar.http_port)).await;
    assert!(tcp.is_err(), "the port is open all the same");
    assert_eq!(sidecar.stop().await.code, Some(0));
    assert!(!path.exists(), "the socket file was left behind");
}
