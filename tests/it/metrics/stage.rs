//! Three sidecars whose metrics are looked at: one with an HTTP app that calls, one with an HTTP app and one with a gRPC
//! app that are called.

use std::collections::BTreeSet;

use integration_tests::grpc::{
    GrpcApp, GrpcCall, GrpcClient, InvokeRequest, InvokeResponse, InvokeServiceRequest,
};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, eventually, text};
use prost::Message as _;

/// The sidecars, their apps, and how they find each other.
pub(super) struct Stage {
    _mesh: Mesh,
    _apps: [HttpApp; 2],
    _grpc_app: GrpcApp,
    pub(super) caller: Daprd,
    pub(super) http: Daprd,
    pub(super) grpc: Daprd,
}

/// `/status/N` is answered with that status, everything else with `ok`.
async fn http_app() -> HttpApp {
    HttpApp::start(Protocol::Http, |request| async move {
        let path = request.uri().path().to_owned();
        let status = path
            .strip_prefix("/status/")
            .and_then(|status| status.parse().ok());
        match (path.as_str(), status) {
            ("/dapr/config", _) => text(404, ""),
            (_, None) => text(200, "ok"),
            (_, Some(status)) => text(status, "no"),
        }
    })
    .await
}

/// A method that ends in `code-N` is answered with that code; other messages come back.
async fn grpc_app() -> GrpcApp {
    GrpcApp::start(|mut call: GrpcCall| async move {
        let mut messages = call.messages().await.0;
        let mut method = call.path().to_owned();
        if method.ends_with("/OnInvoke") {
            let request = InvokeRequest::decode(&*messages[0].data).unwrap();
            messages[0].data = InvokeResponse::text("ok").encode_to_vec().into();
            method = request.method;
        }
        match method.rsplit_once("code-") {
            Some((_, code)) => call.refuse(code.parse().unwrap(), "no", &[]),
            None => {
                for message in messages {
                    call.send(&message.data).await;
                }
                call.finish(0, "", &[]);
            }
        }
    })
    .await
}

impl Stage {
    /// With `spec.metrics` of the configuration.
    pub(super) async fn start(metrics: &str) -> Self {
        let mesh = Mesh::with_configuration(metrics);
        let (mine, theirs, grpc_app) = (http_app().await, http_app().await, grpc_app().await);
        let caller = mesh.sidecar("c").app_port(mine.port).start().await;
        let http = mesh.sidecar("s").app_port(theirs.port).start().await;
        let grpc = mesh
            .sidecar("g")
            .app_port(grpc_app.port)
            .arg("--app-protocol=grpc");
        Self {
            caller,
            http,
            grpc: grpc.start().await,
            _mesh: mesh,
            _apps: [mine, theirs],
            _grpc_app: grpc_app,
        }
    }

    /// The calls, each with the status that its caller gets.
    pub(super) async fn call_all(&self) {
        let client = reqwest::Client::new();
        for (method, path, app, status) in [
            ("GET", "/v1.0/invoke/s/method/ok", None, 200),
            ("GET", "/v1.0/invoke/s.default/method/ok", None, 200),
            ("POST", "/v1.0/invoke/s/method/ok", None, 200),
            ("POST", "/v1.0/invoke/s/method/orders/17?x=1", None, 200),
            ("GET", "/v1.0/invoke/s/method/status/404", None, 404),
            ("GET", "/v1.0/invoke/s/method/status/500", None, 500),
            ("GET", "/v1.0/invoke/s/method/status/302", None, 302),
            ("GET", "/ok", Some("s"), 200),
            ("GET", "//ok//", Some("s"), 200),
            ("GET", "/v1.0/invoke/s/method/tail/healthz", None, 200),
            ("POST", "/v1.0/invoke/g/method/ok", None, 200),
            ("POST", "/v1.0/invoke/g/method/code-5", None, 404),
            ("GET", "/v1.0/invoke/c/method/ok", None, 200),
            ("GET", "/v1.0/invoke/nope/method/ok", None, 500),
            ("GET", "/nothing/here", None, 404),
            ("GET", "/v1.0/metadata", None, 200),
            ("PROPFIND", "/v1.0/invoke/s/method/ok", None, 200),
        ] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap_or_else(|_| client.clone())
                .request(method.clone(), self.caller.url(path));
            if let Some(app) = app {
                request = request.header("dapr-app-id", app);
            }
            if method == reqwest::Method::POST {
                request = request.body("12345");
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status, "{method} {path}");
            answer.bytes().await.unwrap();
        }
        let client = GrpcClient::connect(self.caller.grpc_port).await;
        for (app, method, code) in [
            ("s", "ok", 0),
            ("s", "status/404", 5),
            ("g", "ok", 0),
            ("g", "code-5", 5),
            ("c", "ok", 0),
            ("nope", "ok", 13),
        ] {
            let request = InvokeServiceRequest::post(app, method, "12345");
            let (answer, _) = client.invoke(&request, &[]).await;
            assert_eq!(answer.code(), code, "{app} {method}");
        }
        for (path, stream, code) in [
            ("/test.Svc/ok", None, 0),
            ("/test.Svc/code-5", None, 5),
            ("/test.Svc/Stream", Some("true"), 0),
        ] {
            let mut metadata = vec![("dapr-app-id", "g")];
            metadata.extend(stream.map(|stream| ("dapr-stream", stream)));
            let answer = client.call(path, &metadata, &[b"x"]).await;
            assert_eq!(answer.code(), code, "{path}");
        }
    }
}

/// What a sidecar shows of itself.
pub(super) async fn scrape(daprd: &Daprd) -> String {
    let url = format!("http://127.0.0.1:{}/metrics", daprd.metrics_port);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// The samples of families whose names begin with one of the prefixes, without buckets, sums, and what depends on how
/// often a test polls.
pub(super) fn samples(text: &str, prefixes: &[&str]) -> BTreeSet<String> {
    text.lines()
        .filter(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)))
        .filter(|line| !line.contains("_bucket{") && !line.contains("_sum{"))
        .filter(|line| !line.contains("/v1.0/healthz\"") && !line.contains("http_server_request_bytes"))
        .filter(|line| !line.contains("http_server_response_bytes"))
        // Polls of the health where paths are not shown.
        .filter(|line| {
            !line.contains("path=\"\",status=\"204\"") && !line.contains("path=\"\",status=\"500\"")
        })
        .map(ToOwned::to_owned)
        .collect()
}

/// Waits until a sidecar shows exactly these samples.
pub(super) async fn shows(daprd: &Daprd, prefixes: &[&str], wanted: &str) {
    let wanted: BTreeSet<String> = wanted.lines().map(|line| line.trim().to_owned()).collect();
    let is_shown = || async { samples(&scrape(daprd).await, prefixes) == wanted };
    for _ in 0..20 {
        if is_shown().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let shown = samples(&scrape(daprd).await, prefixes);
    let missing: Vec<_> = wanted.difference(&shown).collect();
    let more: Vec<_> = shown.difference(&wanted).collect();
    panic!(
        "{}: not shown: {missing:#?}\nshown as well: {more:#?}",
        daprd.app_id
    );
}

/// Waits until a sidecar shows a line.
pub(super) async fn shows_line(daprd: &Daprd, line: &str) {
    let line = format!("{line}\n");
    eventually(&format!("{line} of {}", daprd.app_id), || async {
        scrape(daprd).await.contains(&line)
    })
    .await;
}
