//! The log, as text and as JSON, and the log of the API.

use integration_tests::grpc::{GrpcClient, InvokeServiceRequest};
use integration_tests::{Daprd, DaprdBuilder, HttpApp, Mesh, Protocol, RawClient, eventually, free_port};
use serde_json::Value;

use crate::stage::{Pair, head};

/// The fields of a line in `logfmt`, in their order.
fn fields(line: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (name, value) = rest
            .split_once('=')
            .unwrap_or_else(|| panic!("no field in {rest:?} of {line:?}"));
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            let mut end = 0;
            let bytes = quoted.as_bytes();
            while bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            (
                serde_json::from_str(&format!("\"{}\"", &quoted[..end])).expect("a quoted value"),
                &quoted[end + 1..],
            )
        } else {
            let end = value.find(' ').unwrap_or(value.len());
            (value[..end].to_owned(), &value[end..])
        };
        fields.push((name.to_owned(), value));
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    fields
}

const LIFE: &[(&str, &str, &str)] = &[
    (
        "info",
        "dapr.runtime",
        "Starting Dapr Runtime -- version edge -- commit ",
    ),
    ("info", "dapr.runtime", "Log level set to: info"),
    (
        "warning",
        "dapr.runtime.security",
        "mTLS is disabled. Skipping certificate request and tls validation",
    ),
    ("info", "dapr.runtime", "standalone mode configured"),
    ("info", "dapr.runtime", "app id: callee"),
    ("info", "dapr.runtime", "Initialized name resolution to sqlite"),
    (
        "info",
        "dapr.runtime.grpc.api",
        "gRPC server listening on TCP address: 127.0.0.1:GRPC",
    ),
    ("info", "dapr.runtime.grpc.api", "Enabled gRPC tracing middleware"),
    ("info", "dapr.runtime.grpc.api", "Enabled gRPC metrics middleware"),
    ("info", "dapr.runtime", "API gRPC server is running on port GRPC"),
    (
        "info",
        "dapr.runtime.http",
        "Enabled max body size HTTP middleware with size 4194304 bytes",
    ),
    ("info", "dapr.runtime.http", "Enabled tracing HTTP middleware"),
    ("info", "dapr.runtime.http", "Enabled metrics HTTP middleware"),
    (
        "info",
        "dapr.runtime.http",
        "HTTP server listening on TCP address: 127.0.0.1:HTTP",
    ),
    ("info", "dapr.runtime", "HTTP server is running on port HTTP"),
    (
        "info",
        "dapr.runtime",
        "The request body size parameter is: 4194304 bytes",
    ),
    (
        "info",
        "dapr.runtime.grpc.internal",
        "gRPC server listening on pre-bound TCP address: 127.0.0.1:INTERNAL",
    ),
    (
        "info",
        "dapr.runtime.grpc.internal",
        "Enabled gRPC tracing middleware",
    ),
    (
        "info",
        "dapr.runtime.grpc.internal",
        "Enabled gRPC metrics middleware",
    ),
    (
        "info",
        "dapr.runtime",
        "Internal gRPC server is running on 127.0.0.1:INTERNAL",
    ),
    (
        "info",
        "dapr.runtime",
        "application protocol: http. waiting on port APP.  This will block until the app is listening on that port.",
    ),
    ("info", "dapr.runtime", "application discovered on port APP"),
    (
        "info",
        "dapr.runtime",
        "dapr initialized. Status: Running. Init Elapsed ",
    ),
    (
        "info",
        "dapr.signals",
        "Received signal 'terminated'; beginning shutdown",
    ),
    ("info", "dapr.runtime", "Dapr is shutting down"),
    ("info", "dapr.runtime.http", "Closing HTTP server 127.0.0.1:HTTP…"),
    ("info", "dapr.runtime", "Dapr runtime stopped"),
    ("info", "dapr.runtime", "Daprd shutdown gracefully"),
];

async fn life(as_json: bool) -> (String, impl Fn(&str) -> String) {
    let mesh = Mesh::new();
    let app = HttpApp::echo(Protocol::Http).await;
    let mut sidecar = mesh.sidecar("callee").app_port(app.port).log_level("info");
    if as_json {
        sidecar = sidecar.arg("--log-as-json");
    }
    let sidecar = sidecar.start().await;
    let ports = [
        ("GRPC", sidecar.grpc_port),
        ("HTTP", sidecar.http_port),
        ("INTERNAL", sidecar.internal_port),
        ("APP", app.port),
    ];
    // `HTTP server` is no port.
    let put = move |text: &str| {
        ports.iter().fold(text.to_owned(), |text, (name, port)| {
            text.replace(&format!(":{name}"), &format!(":{port}"))
                .replace(&format!("port {name}"), &format!("port {port}"))
        })
    };
    (sidecar.stop().await.stdout, put)
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_text() {
    let (log, put) = life(false).await;
    let lines: Vec<_> = log.lines().map(fields).collect();
    for line in &lines {
        let names: Vec<&str> = line.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..3], ["time", "level", "msg"], "{line:?}");
        assert!(names[3..].is_sorted(), "{line:?}");
        for wanted in ["app_id", "instance", "scope", "type", "ver"] {
            assert!(names.contains(&wanted), "{wanted} is not in {line:?}");
        }
        let time = &line[0].1;
        assert!(
            time.starts_with("20") && time.ends_with('Z') && time.contains('T'),
            "{time}"
        );
    }
    let of = |line: &[(String, String)], name: &str| {
        let found = line.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let mut after = 0;
    for (level, scope, message) in LIFE {
        let message = put(message);
        let found = lines[after..]
            .iter()
            .position(|line| of(line, "msg").starts_with(&message))
            .unwrap_or_else(|| panic!("{message:?} is not in its place in\n{log}"));
        after += found;
        assert_eq!(
            (of(&lines[after], "level"), of(&lines[after], "scope")),
            ((*level).into(), (*scope).into())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_json() {
    let (log, put) = life(true).await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            // The order of the keys is part of the form.
            let keys: Vec<usize> = object
                .as_object()
                .expect("an object")
                .keys()
                .map(|key| line.find(&format!("\"{key}\":")).expect("the key"))
                .collect();
            assert!(keys.is_sorted(), "{line}");
            object
        })
        .collect();
    let mut after = 0;
    for (level, scope, message) in LIFE {
        let message = put(message);
        after += lines[after..]
            .iter()
            .position(|line| {
                line["msg"]
                    .as_str()
                    .is_some_and(|text| text.starts_with(&message))
            })
            .unwrap_or_else(|| panic!("{message:?} is not in its place in\n{log}"));
        let line = &lines[after];
        assert_eq!(
            (&line["level"], &line["scope"]),
            (&Value::from(*level), &Value::from(*scope))
        );
        assert_eq!(
            (&line["app_id"], &line["type"]),
            (&Value::from("callee"), &Value::from("log"))
        );
    }
}

async fn api_lines(sidecar: &Daprd, count: usize) -> Vec<Vec<(String, String)>> {
    let of = || -> Vec<_> {
        let log = sidecar.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("msg=\"HTTP API Called\"") && !line.contains("/v1.0/healthz"));
        lines.map(fields).collect()
    };
    eventually("lines of the API log", || async { of().len() >= count }).await;
    of()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_logged_when_asked_for() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::with(app.port, |sidecar| {
        sidecar.arg("--enable-api-logging").log_level("fatal")
    })
    .await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    // What a caller writes cannot break a line in two.
    client
        .send(format!(
            "{}user-agent: me \"and\\ you\r\n\r\n",
            head("GET", "a%20b")
        ))
        .await;
    let answer = client.receive().await.unwrap();
    assert_eq!(answer.status(), 200);
    reqwest::get(pair.caller.invoke_url("nobody", "x")).await.unwrap();
    let lines = api_lines(&pair.caller, 2).await;
    let line = lines
        .iter()
        .find(|line| line.iter().any(|(_, value)| value == "me \"and\\ you"))
        .expect("the call");
    let of = |name: &str| {
        let found = line.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    assert_eq!(of("method"), "GET /v1.0/invoke/callee/method/a b");
    assert_eq!((of("code"), of("level")), ("200", "info"));
    assert_eq!(of("scope"), "dapr.runtime.http-info");
    assert_eq!(of("size"), answer.body.len().to_string());
    assert!(of("duration").parse::<u64>().is_ok());
    let failed = lines
        .iter()
        .flatten()
        .any(|field| *field == ("code".into(), "500".into()));
    assert!(failed, "{lines:?}");
    // The callee's API was not called.
    assert!(!pair.callee.log().contains("/v1.0/invoke"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_log_can_hide_urls_and_health() {
    let mesh = Mesh::with_configuration(
        "  logging:\n    apiLogging:\n      enabled: true\n      obfuscateURLs: true\n      omitHealthChecks: true\n",
    );
    let app = HttpApp::echo(Protocol::Http).await;
    let sidecar = mesh.sidecar("callee").app_port(app.port).start().await;
    reqwest::get(sidecar.invoke_url("callee", "secret"))
        .await
        .unwrap();
    reqwest::get(sidecar.url("/v1.0/healthz")).await.unwrap();
    let lines = api_lines(&sidecar, 1).await;
    let methods: Vec<&str> = lines
        .iter()
        .flatten()
        .filter(|(name, _)| name == "method")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(methods, ["InvokeService/callee"]);
    let quiet = mesh
        .sidecar("quiet")
        .app_port(app.port)
        .arg("--enable-api-logging=false")
        .start()
        .await;
    reqwest::get(quiet.invoke_url("quiet", "x")).await.unwrap();
    assert!(!quiet.stop().await.stdout.contains("HTTP API Called"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_may_go_to_a_file() {
    let mesh = Mesh::new();
    let file = mesh.folder().join("mine.log");
    let sidecar = mesh
        .sidecar("x")
        .arg(format!("--log-file={}", file.display()))
        .start()
        .await;
    let exit = sidecar.stop().await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), ""));
    let log = std::fs::read_to_string(file).unwrap();
    assert!(log.contains("Starting Dapr Runtime"));
    assert!(
        log.lines().last().unwrap().contains("Daprd shutdown gracefully"),
        "{log}"
    );
}

/// The lines of a sidecar with these arguments and this `spec`, as scope and message.
async fn scopes(spec: &str, more: impl Fn(DaprdBuilder) -> DaprdBuilder) -> Vec<(String, String)> {
    let mesh = Mesh::with_configuration(spec);
    let sidecar = more(mesh.sidecar("a").arg("--log-as-json")).start().await;
    let client = reqwest::Client::new();
    let answer = client.put(sidecar.url("/v1.0/metadata/k")).body("v").send().await;
    assert_eq!(answer.unwrap().status(), 204);
    let answer = client.post(sidecar.url("/v1.0/shutdown")).send().await;
    assert_eq!(answer.unwrap().status(), 204);
    let log = sidecar.exit().await.stdout;
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .map(|line| {
            (
                text(&line["scope"]),
                format!("{}{}", text(&line["msg"]), text(&line["method"])),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_what() {
    let log = scopes(
        "  logging: {apiLogging: {enabled: true, obfuscateURLs: true}}\n",
        |sidecar| sidecar,
    )
    .await;
    for (scope, message) in [
        (
            "dapr.runtime.channels",
            "App channel is not initialized. Did you configure an app-port?",
        ),
        (
            "dapr.runtime.scheduler.watchhosts",
            "No scheduler host addresses provided. Scheduler disabled",
        ),
        (
            "dapr.runtime.actor",
            "Actor runtime disabled: api error: code = Unavailable desc = placement service is not configured. Actors and \
             Workflow APIs will be unavailable",
        ),
        ("dapr.api", "Shutdown requested via API"),
        ("dapr.runtime.http-info", "HTTP API CalledPutMetadata"),
    ] {
        let line = (scope.to_owned(), message.to_owned());
        assert!(log.contains(&line), "{line:?} is not in {log:#?}");
    }
    let off = "  tracing: {samplingRate: '0'}\n  metrics: {enabled: false}\n  api: {allowed: [{name: metadata, version: v1, \
               protocol: http}, {name: shutdown, version: v1, protocol: http}]}\n";
    let log = scopes(off, |sidecar| sidecar).await;
    let says = |text: &str| log.iter().filter(|(_, message)| message.contains(text)).count();
    assert_eq!(
        says("tracing HTTP middleware") + says("gRPC tracing middleware"),
        0
    );
    assert_eq!(
        says("metrics HTTP middleware") + says("gRPC metrics middleware"),
        0
    );
    assert_eq!(says("Enabled API access list on gRPC server"), 1);
    assert_eq!(
        says("The default value for 'spec.metric.http.increasedCardinality'"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_app_is_waited_for() {
    let mesh = Mesh::new();
    let sidecar = mesh
        .sidecar("a")
        .app_port(free_port())
        .without_waiting()
        .start()
        .await;
    sidecar.await_log("waiting on port").await;
    let exit = sidecar.stop().await;
    assert_eq!(exit.code, Some(0));
    for line in [
        "Dapr is shutting down",
        "Closing HTTP server 127.0.0.1:",
        "Dapr runtime stopped",
        "Daprd shutdown gracefully",
    ] {
        assert!(exit.stdout.contains(line), "{line}: {}", exit.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_told_once() {
    let mesh = Mesh::new();
    let app = HttpApp::echo(Protocol::Http).await;
    let sidecar = mesh.sidecar("a").app_port(app.port).start().await;
    let client = GrpcClient::connect(sidecar.grpc_port).await;
    for _ in 0..2 {
        let request = InvokeServiceRequest::post("a", "m", "x");
        assert_eq!(client.invoke(&request, &[]).await.0.code(), 0);
    }
    let log = sidecar.stop().await.stdout;
    for text in [
        "InvokeService is deprecated and will be removed in the future, please use proxy mode instead.",
        "Invocation path of gRPC -> HTTP is deprecated and will be removed in the future.",
    ] {
        let line = format!("level=warning msg=\"[DEPRECATION NOTICE] {text}\"");
        assert_eq!(log.matches(&line).count(), 1, "{text}: {log}");
    }
    assert!(
        log.lines()
            .any(|line| line.contains("DEPRECATION") && line.contains("scope=dapr.runtime.grpc.api "))
    );
}
