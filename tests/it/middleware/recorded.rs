//! What Dapr's `daprd` did with middleware: component, metadata, call; the answer, and what the app saw. Recorded in
//! `data/middleware.jsonl`; what is meant to differ stands here and in the page on compatibility.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use integration_tests::{HttpApp, Mesh, Protocol, RawClient, text};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Stage, pipelines, started};

const RECORDED: &str = include_str!("../data/middleware.jsonl");

/// Where this sidecar is meant to differ: the set-up, the path, the status, and what the app sees instead.
const DIFFERENCES: [(&str, &str, u64, Option<&str>); 8] = [
    // Dapr sets a field that its own client refuses: every variable in front of an app is an error.
    (
        "routeralias app",
        "/v1.0/invoke/me/method/u/7",
        200,
        Some("/user?id=7"),
    ),
    (
        "routeralias app",
        "/v1.0/invoke/me/method/u/7?z=1&a=2",
        200,
        Some("/user?a=2&id=7&z=1"),
    ),
    // Dapr sends a request line that is none.
    ("routeralias app", "/v1.0/invoke/me/method/rel", 200, Some("/rel")),
    // A token that says when it ends has ended.
    ("bearer tokens", "/v1.0/invoke/me/method/exp-0", 401, None),
    ("bearer tokens", "/v1.0/invoke/me/method/exp-iso", 401, None),
    // RFC 7515: what must be understood must be understood, and there is one way to write it.
    ("bearer tokens", "/v1.0/invoke/me/method/crit", 401, None),
    ("bearer tokens", "/v1.0/invoke/me/method/padded", 401, None),
    (
        "bearer tokens",
        "/v1.0/invoke/me/method/signature-std-alphabet",
        401,
        None,
    ),
];

/// Set-ups that are refused: there a limit is none, or a limit of nothing.
const REFUSED: [&str; 2] = ["ratelimit odd NaN http", "ratelimit odd +Inf http"];

#[tokio::test(flavor = "multi_thread")]
async fn components_do_what_they_did_for_dapr() {
    let room = Arc::new(Semaphore::new(4));
    let mut running = JoinSet::new();
    for line in RECORDED.lines() {
        let room = Arc::clone(&room);
        running.spawn(async move {
            let _room = room.acquire().await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base = format!("http://{}", listener.local_addr().unwrap());
            let setup: Value = serde_json::from_str(&line.replace("{base}", &base)).unwrap();
            play(listener, &setup).await
        });
    }
    let results = running.join_all().await;
    let (played, wrong) = results
        .into_iter()
        .fold((0, String::new()), |(played, wrong), (more, report)| {
            (played + more, wrong + &report)
        });
    assert!(wrong.is_empty(), "{wrong}");
    assert!(played >= 200, "only {played} were played");
}

type Seen = Arc<Mutex<Vec<Value>>>;

/// The app of the recording, which is the issuer of tokens, too: `files` are what it has.
fn app(listener: TcpListener, seen: Seen, files: Value, sees_configuration: bool) -> HttpApp {
    let files = Arc::new(files);
    HttpApp::start_on(listener, Protocol::Http, move |request| {
        let (seen, files) = (Arc::clone(&seen), Arc::clone(&files));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let file = files.get(parts.uri.path());
            let is_secret =
                matches!(parts.uri.path(), "/dapr/config" | "/dapr/subscribe") && !sees_configuration;
            let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
            let body = String::from_utf8_lossy(&body).into_owned();
            if file.map_or(!is_secret, |file| file["see"] == true) {
                let mut headers = headers(&parts.headers, |name| {
                    let is_own = name.starts_with("x-") && !name.starts_with("x-forwarded");
                    is_own || matches!(name, "authorization" | "cookie" | "content-type")
                });
                headers.sort();
                let call = json!([parts.method.as_str(), target, headers, body]);
                seen.lock().unwrap().push(call);
            }
            if let Some(file) = file {
                let status = file["status"].as_u64().unwrap_or(200);
                let mut answer = text(
                    u16::try_from(status).unwrap(),
                    file["body"].as_str().unwrap().to_owned(),
                );
                let kind = file["type"]
                    .as_str()
                    .unwrap_or("application/json")
                    .parse()
                    .unwrap();
                answer.headers_mut().insert(http::header::CONTENT_TYPE, kind);
                return answer;
            }
            if is_secret {
                return text(404, "");
            }
            let mut answer = text(200, format!("echo:{body}"));
            let plain = http::HeaderValue::from_static("text/plain");
            answer.headers_mut().insert(http::header::CONTENT_TYPE, plain);
            let here = http::HeaderValue::from_static("Here");
            answer.headers_mut().insert("x-app", here);
            answer
        }
    })
}

fn headers(headers: &http::HeaderMap, is_wanted: impl Fn(&str) -> bool) -> Vec<[String; 2]> {
    let wanted = headers.iter().filter(|(name, _)| is_wanted(name.as_str()));
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    wanted
        .map(|(name, value)| [name.to_string(), text(value)])
        .collect()
}

/// How many calls of a set-up were made, and what was not as it should be.
async fn play(listener: TcpListener, setup: &Value) -> (usize, String) {
    let name = setup["name"].as_str().unwrap();
    let seen = Seen::default();
    let sees_configuration = setup["sees_configuration"] == true;
    let app = app(
        listener,
        Arc::clone(&seen),
        setup["files"].clone(),
        sees_configuration,
    );
    let stage = Stage {
        mesh: Mesh::with_configuration(&pipelines(&setup["http"], &setup["app"])),
    };
    for component in setup["components"].as_array().unwrap() {
        stage.component(component);
    }
    let mut sidecar = stage.sidecar("me").app_port(app.port);
    for arg in setup["args"].as_array().into_iter().flatten() {
        sidecar = sidecar.arg(arg.as_str().unwrap());
    }
    for (name, value) in setup["env"].as_object().into_iter().flatten() {
        sidecar = sidecar.env(name, value.as_str().unwrap());
    }
    let fatal = setup["fatal"].as_str();
    if fatal.is_some() || REFUSED.contains(&name) {
        let wanted = fatal.unwrap_or("metadata property maxRequestsPerSecond must be a positive value");
        let exit = sidecar.without_waiting().start().await.exit().await;
        let plain = |text: &str| text.replace("\\n", "\n").replace(['\\', '"'], "");
        return match exit.code {
            Some(1) if plain(&exit.stdout).contains(&plain(wanted)) => (1, String::new()),
            code => (
                1,
                format!("{name}\n   wanted {wanted}\n   found  {code:?} {}\n", exit.stdout),
            ),
        };
    }
    let sidecar = started(sidecar).await;
    let at_start = std::mem::take(&mut *seen.lock().unwrap());
    if setup["sees_configuration"] == true {
        assert_eq!(
            at_start[0][1], "/own/config",
            "the question of the sidecar itself"
        );
    }
    let mut report = String::new();
    let calls = setup["calls"].as_array().unwrap();
    for call in calls {
        let got = exchange(sidecar.http_port, call).await;
        let saw = std::mem::take(&mut *seen.lock().unwrap());
        let path = call["path"].as_str().unwrap();
        let mut wanted = json!([
            call["status"],
            call["answer_headers"],
            call["answer"],
            call["seen"]
        ]);
        let differs = DIFFERENCES
            .iter()
            .find(|(setup, of, ..)| (*setup, *of) == (name, path));
        if let Some((.., status, target)) = differs {
            let plain = json!([["content-type", "text/plain"], ["x-app", "Here"]]);
            let saw = target.map(|target| json!(["GET", target, [], ""]));
            wanted = match status {
                401 => json!([
                    401,
                    [["content-type", "text/plain; charset=utf-8"]],
                    "Unauthorized",
                    []
                ]),
                _ => json!([status, plain, "echo:", saw.into_iter().collect::<Vec<_>>()]),
            };
        }
        if name.starts_with("clientcredentials") && call["answer"] == "" {
            // Dapr swallows a call for which there is no token: 200, and nothing.
            let plain = json!([["content-type", "text/plain; charset=utf-8"]]);
            wanted = json!([500, plain, "Internal Server Error", call["seen"]]);
        }
        let found = json!([got.0, got.1, got.2, saw]);
        if found != wanted {
            writeln!(report, "{name}: {path}\n   wanted {wanted}\n   found  {found}").unwrap();
        }
    }
    (calls.len(), report)
}

/// Status, headers and body of an answer.
async fn exchange(port: u16, call: &Value) -> (u16, Vec<[String; 2]>, String) {
    let mut client = RawClient::connect(port).await;
    let (method, path) = (call["method"].as_str().unwrap(), call["path"].as_str().unwrap());
    let body = call["body"].as_str().unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n");
    for header in call["headers"].as_array().unwrap() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    client.send(format!("{request}\r\n{body}")).await;
    // That to a HEAD says how long it would be, and ends with its head.
    let answer = match method {
        "HEAD" => client.receive_head().await.unwrap(),
        _ => client.receive().await.unwrap(),
    };
    let mut headers: Vec<[String; 2]> = answer
        .headers
        .iter()
        .map(|(name, value)| [name.to_lowercase(), value.clone()])
        .filter(|[name, _]| !NOT_COMPARED.contains(&name.as_str()))
        .collect();
    headers.sort();
    let is_address = |value: &str| value.starts_with("127.0.0.1:");
    for [name, value] in &mut headers {
        if name == "x-rate-limit-request-remote-addr" && is_address(value) {
            "{peer}".clone_into(value);
        }
    }
    (answer.status(), headers, answer.text())
}

const NOT_COMPARED: [&str; 7] = [
    "date",
    "traceparent",
    "tracestate",
    "connection",
    "transfer-encoding",
    "content-length",
    "server",
];
