//! Another `daprd`: after the same calls its metrics and ours are compared, family by family. The sidecars find each other
//! by mDNS, so the host needs multicast.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use integration_tests::grpc::{
    GrpcApp, GrpcCall, GrpcClient, InvokeRequest, InvokeResponse, InvokeServiceRequest,
};
use integration_tests::{Daprd, DaprdBuilder, HttpApp, Protocol, Request, eventually, text};
use prost::Message as _;

use crate::Findings;

/// Families that are not compared: those of the process, our own, and those that the page about compatibility names.
const APART: [&str; 4] = ["go_", "process_", "daprd_", "dapr_runtime_workflow_local_"];

/// The calls of the HTTP API: verb, path, whether there is a body.
const CALLS: [(&str, &str, bool); 12] = [
    ("GET", "/v1.0/invoke/s/method/ok", false),
    ("POST", "/v1.0/invoke/s/method/ok", true),
    ("DELETE", "/v1.0/invoke/s/method/a/b", false),
    ("GET", "/v1.0/invoke/s/method/status/404", false),
    ("GET", "/v1.0/invoke/s/method/status/500", false),
    ("GET", "/v1.0/invoke/s.default/method/ok", false),
    ("GET", "/v1.0/invoke/c/method/ok", false),
    ("POST", "/v1.0/invoke/g/method/ok", true),
    ("POST", "/v1.0/invoke/g/method/code-5", true),
    ("GET", "/v1.0/invoke/nope/method/ok", false),
    ("GET", "/v1.0/metadata", false),
    ("GET", "/nothing/here", false),
];

/// Calls of `InvokeService`: app and method.
const INVOKED: [(&str, &str); 5] = [
    ("s", "ok"),
    ("s", "status/404"),
    ("g", "ok"),
    ("g", "code-5"),
    ("c", "ok"),
];

/// Calls of a service of an app: path, whether they are said to be streams.
const PROXIED: [(&str, bool); 3] = [
    ("/test.Svc/ok", false),
    ("/test.Svc/code-5", false),
    ("/test.Svc/Stream", true),
];

const SPEC: &str = "  metrics: {recordErrorCodes: true}\n  accessControl:\n    defaultAction: allow\n    trustDomain: public\n    \
                    policies: [{appId: c, defaultAction: allow, trustDomain: public, namespace: default}]\n";

const RESILIENCY: &str = "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec:\n  policies:\n    \
                          retries: {r: {policy: constant, duration: 10ms, maxRetries: 2}}\n    timeouts: {t: 5s}\n    \
                          circuitBreakers: {c: {trip: consecutiveFailures > 50}}\n  \
                          targets: {apps: {s: {retry: r, timeout: t, circuitBreaker: c}}}\n";

/// A family as it is shown.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    kind: String,
    help: String,
    series: BTreeMap<String, f64>,
}

pub(crate) async fn judge(name: &str, binary: &Path) -> Findings {
    let (ours, theirs) = (shown(None).await, shown(Some(binary)).await);
    let mut findings = Findings::new();
    for (app, ours) in &ours {
        let theirs = theirs.iter().find(|(known, _)| known == app);
        let found = theirs
            .map(|(_, theirs)| differences(ours, theirs))
            .unwrap_or_default();
        findings.extend(
            found
                .into_iter()
                .map(|found| format!("{name}, sidecar of {app}: {found}")),
        );
    }
    if findings.is_empty() {
        let families: usize = ours.iter().map(|(_, families)| families.len()).sum();
        println!("{name}: {families} families are the same: names, help, types, labels, buckets, counts");
    }
    findings
}

/// A method that ends in `code-N` is answered with that code; other messages come back.
async fn grpc_app() -> GrpcApp {
    GrpcApp::start(|mut call: GrpcCall| async move {
        let mut messages = call.messages().await.0;
        let mut method = call.path().to_owned();
        if method.ends_with("/OnInvoke") {
            let request = InvokeRequest::decode(&*messages[0].data).expect("a request");
            messages[0].data = InvokeResponse::text("ok").encode_to_vec().into();
            method = request.method;
        }
        match method.rsplit_once("code-") {
            Some((_, code)) => call.refuse(code.parse().expect("a code"), "no", &[]),
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

/// The calls of the gRPC API.
async fn call_grpc(caller: &Daprd) {
    let client = GrpcClient::connect(caller.grpc_port).await;
    for (app, method) in INVOKED {
        let request = InvokeServiceRequest::post(app, method, "12345");
        client.invoke(&request, &[]).await;
    }
    for (path, is_stream) in PROXIED {
        let mut metadata = vec![("dapr-app-id", "g")];
        if is_stream {
            metadata.push(("dapr-stream", "true"));
        }
        client.call(path, &metadata, &[b"x"]).await;
    }
}

/// What the sidecars show after the calls: one that calls, one with an HTTP app and one with a gRPC app that are called.
async fn shown(binary: Option<&Path>) -> Vec<(&'static str, BTreeMap<String, Shown>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.yaml");
    let text_of = format!("kind: Configuration\nmetadata: {{name: c}}\nspec:\n{SPEC}");
    std::fs::write(&config, text_of).expect("a file");
    let resources = folder.path().join("resources");
    std::fs::create_dir(&resources).expect("a folder");
    std::fs::write(resources.join("r.yaml"), RESILIENCY).expect("a file");
    let app = HttpApp::start(Protocol::Http, |request: Request| async move {
        let path = request.uri().path().to_owned();
        match path
            .strip_prefix("/status/")
            .and_then(|status| status.parse().ok())
        {
            Some(status) => text(status, "no"),
            None if path == "/dapr/config" => text(404, ""),
            None => text(200, "hello"),
        }
    })
    .await;
    let grpc = grpc_app().await;
    let start = |id: &str| {
        // They find each other by mDNS, which every daprd has.
        let builder = DaprdBuilder::new(id).log_level("warn");
        let builder = match id {
            "g" => builder.app_port(grpc.port).arg("--app-protocol=grpc"),
            _ => builder.app_port(app.port),
        };
        let builder = builder
            .arg(format!("--config={}", config.display()))
            .arg(format!("--resources-path={}", resources.display()));
        match binary {
            Some(binary) => builder.binary(binary),
            None => builder,
        }
        .start()
    };
    let (caller, callee, callee_grpc) = (start("c").await, start("s").await, start("g").await);
    let client = reqwest::Client::new();
    for (verb, path, has_body) in CALLS {
        let verb = reqwest::Method::from_bytes(verb.as_bytes()).expect("a verb");
        let mut request = client.request(verb, caller.url(path));
        if has_body {
            request = request.body("12345");
        }
        let answer = request.send().await.expect("the sidecar answers");
        answer.bytes().await.expect("a whole answer");
    }
    call_grpc(&caller).await;
    let mut all = Vec::new();
    for (app, daprd) in [("c", &caller), ("s", &callee), ("g", &callee_grpc)] {
        let last = std::sync::Mutex::new(String::new());
        // Some counts come after the answer.
        eventually("counts that stay", || async {
            let text = scrape(daprd).await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            let again = scrape(daprd).await;
            let is_same = families(&text) == families(&again);
            *last.lock().expect("nobody panics here") = again;
            is_same
        })
        .await;
        let text = last.into_inner().expect("nobody panics here");
        all.push((app, families(&text)));
    }
    caller.stop().await;
    callee.stop().await;
    callee_grpc.stop().await;
    all
}

async fn scrape(daprd: &Daprd) -> String {
    let url = format!("http://127.0.0.1:{}/metrics", daprd.metrics_port);
    let answer = reqwest::get(url).await.expect("the metrics port answers");
    answer.text().await.expect("a text")
}

/// The families that are compared; sums and counts of time are not, but for whether they are there.
fn families(text: &str) -> BTreeMap<String, Shown> {
    let mut families: BTreeMap<String, Shown> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            name.clone_into(&mut current);
        } else if let Some((series, value)) = line.rsplit_once(' ') {
            let is_of_time = series.contains("_sum{") || series.contains("_bucket{");
            // How often a start asks for the health is nobody's business.
            if series.contains("/v1.0/healthz") || series.contains("ERR_HEALTH_NOT_READY") {
                continue;
            }
            let is_of_all = ["http_server_request_bytes", "http_server_response_bytes"]
                .iter()
                .any(|family| series.contains(family));
            let value = value.parse().unwrap_or(f64::NAN);
            let value = if is_of_time || is_of_all { 0.0 } else { value };
            let family = families.entry(current.clone()).or_default();
            family.series.insert(series.to_owned(), value);
        }
    }
    families.retain(|name, shown| {
        !shown.series.is_empty() && !APART.iter().any(|prefix| name.starts_with(prefix))
    });
    families
}

fn differences(ours: &BTreeMap<String, Shown>, theirs: &BTreeMap<String, Shown>) -> Findings {
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut found = Findings::new();
    for name in names {
        let (Some(our), Some(their)) = (ours.get(name), theirs.get(name)) else {
            let who = if ours.contains_key(name) { "ours" } else { "theirs" };
            found.push(format!("{name} is {who} alone"));
            continue;
        };
        if (&our.kind, &our.help) != (&their.kind, &their.help) {
            found.push(format!(
                "{name}: {} {:?}, not {} {:?}",
                our.kind, our.help, their.kind, their.help
            ));
        }
        let series: BTreeSet<&String> = our.series.keys().chain(their.series.keys()).collect();
        for series in series {
            let (our, their) = (our.series.get(series), their.series.get(series));
            if our != their {
                found.push(format!("{series}: {our:?}, not {their:?}"));
            }
        }
    }
    found
}
