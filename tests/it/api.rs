//! Metadata, health, the public port, the metrics port, and the APIs of what is not there.

use integration_tests::{Daprd, HttpApp, Mesh, Protocol, RawClient};
use serde_json::{Value, json};

/// Requests with the answers that Dapr gives when nothing is configured.
const OUT_OF_SCOPE: &str = include_str!("../../crates/api-http/tests-data/out-of-scope.tsv");

async fn status_and_text(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.expect("an answer");
    (
        answer.status().as_u16(),
        answer.text().await.expect("a whole body"),
    )
}

async fn metadata(sidecar: &Daprd) -> Value {
    let answer = reqwest::get(sidecar.url("/v1.0/metadata")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_tells_what_there_is() {
    let mesh = Mesh::new();
    let app = HttpApp::echo(Protocol::Http).await;
    let alone = mesh.sidecar("m").start().await;
    let mut seen = metadata(&alone).await;
    let version = seen["runtimeVersion"].as_str().unwrap().to_owned();
    assert_eq!(seen["extended"]["daprRuntimeVersion"], version.as_str());
    let mut features = seen["enabledFeatures"].take();
    features
        .as_array_mut()
        .unwrap()
        .sort_by_key(|feature| feature.as_str().map(str::to_owned));
    assert_eq!(features, json!(["HotReload", "WorkflowsRemoteActivityReminder"]));
    assert_eq!(seen["id"], "m");
    assert_eq!(
        seen["appConnectionProperties"],
        json!({"protocol": "http", "channelAddress": "127.0.0.1"})
    );
    assert_eq!(
        seen["actorRuntime"],
        json!({"runtimeStatus": "DISABLED", "hostReady": false, "placement": "placement: disconnected"})
    );
    let with_app = mesh.sidecar("n").app_port(app.port).start().await;
    assert_eq!(
        metadata(&with_app).await["appConnectionProperties"],
        json!({"port": app.port, "protocol": "http", "channelAddress": "127.0.0.1"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_can_be_set() {
    let mesh = Mesh::new();
    let sidecar = mesh.sidecar("m").start().await;
    let client = reqwest::Client::new();
    let put = async |url: String, body: String| status_and_text(client.put(url).body(body)).await;
    let of = |key: &str| sidecar.url(&format!("/v1.0/metadata/{key}"));
    assert_eq!(put(of("key1"), "value 1".into()).await, (204, String::new()));
    assert_eq!(put(of("a+b%20c"), "\"<>&".into()).await.0, 204);
    let public = format!("http://127.0.0.1:{}/v1.0/metadata/public", sidecar.public_port);
    assert_eq!(put(public, "p".into()).await.0, 204);
    let extended = metadata(&sidecar).await["extended"].take();
    assert_eq!(extended["key1"], "value 1");
    assert_eq!(extended["a b c"], "\"<>&");
    assert_eq!(extended["public"], "p");
    // Beyond the limit of a body.
    let mut raw = RawClient::connect(sidecar.http_port).await;
    let request = format!(
        "PUT /v1.0/metadata/large HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        5 << 20
    );
    raw.send(request).await;
    let answer = raw.receive().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    assert_eq!(
        answer.text(),
        r#"{"errorCode":"ERR_BODY_READ","message":"failed to read request body: stream too large"}"#
    );
    // The metadata of a sidecar is bounded, however many there are who leave something.
    let mut statuses = Vec::new();
    for number in 0..1100 {
        statuses.push(put(of(&format!("n{number}")), "x".into()).await.0);
    }
    assert_eq!(statuses.first(), Some(&204));
    assert_ne!(statuses.last(), Some(&204));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_in_all_its_forms() {
    let mesh = Mesh::new();
    let sidecar = mesh.sidecar("m").start().await;
    let client = reqwest::Client::new();
    let not_this = r#"{"errorCode":"ERR_HEALTH_APPID_NOT_MATCH","message":"dapr app-id does not match"}"#;
    for port in [sidecar.http_port, sidecar.public_port] {
        for (path, status, text) in [
            ("/v1.0/healthz", 204, ""),
            ("/v1.0/healthz/", 204, ""),
            ("/v1.0/healthz/outbound", 204, ""),
            ("/v1.0/healthz?appid=m", 204, ""),
            ("/v1.0/healthz?appid=other", 500, not_this),
        ] {
            let url = format!("http://127.0.0.1:{port}{path}");
            assert_eq!(
                status_and_text(client.get(url)).await,
                (status, text.to_owned()),
                "{path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_port_has_four_routes() {
    let mesh = Mesh::new();
    let sidecar = mesh.sidecar("m").start().await;
    let client = reqwest::Client::new();
    for (method, path, status, text) in [
        ("GET", "/v1.0/nosuch", 404, "404 page not found\n"),
        ("GET", "/v1.0/invoke/m/method/x", 404, "404 page not found\n"),
        ("POST", "/v1.0/shutdown", 404, "404 page not found\n"),
        ("POST", "/v1.0/metadata", 405, ""),
        ("DELETE", "/v1.0/healthz", 405, ""),
    ] {
        let url = format!("http://127.0.0.1:{}{path}", sidecar.public_port);
        let request = client
            .request(method.parse().unwrap(), url)
            .header("dapr-app-id", "m");
        assert_eq!(
            status_and_text(request).await,
            (status, text.to_owned()),
            "{method} {path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_answers_as_recorded() {
    let mesh = Mesh::new();
    let sidecar = mesh.sidecar("oos").start().await;
    let client = reqwest::Client::new();
    let mut played = 0;
    for line in OUT_OF_SCOPE.lines() {
        let [request, body, status, wanted] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line:?}");
        };
        let (method, path) = request.split_once(' ').unwrap();
        // A header that names an app does not make a call of it.
        let call = client
            .request(method.parse().unwrap(), sidecar.url(path))
            .header("dapr-app-id", "oos")
            .body(body.to_owned());
        let (got, text) = status_and_text(call).await;
        assert_eq!(
            (got.to_string().as_str(), text.as_str()),
            (status, wanted),
            "{request}"
        );
        played += 1;
    }
    assert!(played > 25, "only {played} requests were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_port_shows_the_process() {
    let mesh = Mesh::new();
    let sidecar = mesh.sidecar("m").start().await;
    for path in ["/metrics", "/"] {
        let url = format!("http://127.0.0.1:{}{path}", sidecar.metrics_port);
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), 200);
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(content_type.starts_with("text/plain"), "{content_type}");
        let text = answer.text().await.unwrap();
        for family in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{family} ")))
                .unwrap_or_else(|| panic!("{family} is not in\n{text}"));
            assert!(
                value.parse::<f64>().is_ok_and(|value| value >= 0.0),
                "{family} {value}"
            );
            assert!(text.contains(&format!("# TYPE {family} ")), "{family}");
        }
    }
    let off = mesh.sidecar("n").arg("--enable-metrics=false").start().await;
    let closed = tokio::net::TcpStream::connect(("127.0.0.1", off.metrics_port)).await;
    assert!(closed.is_err());
}
