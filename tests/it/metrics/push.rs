//! Metrics that are pushed to a collector of OpenTelemetry.

use std::collections::BTreeMap;

use integration_tests::collector::{Collector, SeenMetric, Spoken, grpc};
use integration_tests::{Daprd, DaprdBuilder, HttpApp, Mesh, Protocol, eventually, run_daprd, text};

use super::stage::scrape;

async fn app() -> HttpApp {
    HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await
}

async fn call(daprd: &Daprd) {
    let answer = reqwest::get(daprd.invoke_url("a", "x")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// What a collector heard of requests to this path.
fn requests_to(path: &str, metrics: &[SeenMetric]) -> Option<SeenMetric> {
    let wanted: BTreeMap<String, String> = [
        ("app_id", "a"),
        ("method", "GET"),
        ("path", path),
        ("status", "200"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let found = metrics
        .iter()
        .find(|metric| metric.name == "dapr_http_server_request_count" && metric.attributes == wanted);
    found.cloned()
}

const PATH: &str = "/v1.0/invoke/a/method/x";

/// How many requests a collector heard of.
fn requests(metrics: &[SeenMetric]) -> f64 {
    requests_to(PATH, metrics).map_or(0.0, |metric| metric.value)
}

#[tokio::test]
async fn what_is_scraped_is_pushed_too() {
    for (spoken, protocol, path) in [
        (
            Spoken::Grpc,
            "grpc",
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        ),
        (Spoken::Http, "http", "/v1/metrics"),
    ] {
        let collector = Collector::start(spoken).await;
        let mesh = Mesh::with_configuration(&format!(
            "  daprd:\n    metrics:\n      otlp:\n        endpointAddress: 127.0.0.1:{}\n        \
             protocol: {protocol}\n        isSecure: false\n        interval: 200ms\n        headers: ['x-key=k']\n",
            collector.port
        ));
        let app = app().await;
        let daprd = mesh.sidecar("a").app_port(app.port).start().await;
        call(&daprd).await;
        call(&daprd).await;
        eventually("both requests", || async {
            requests(&collector.metrics()) >= 2.0
        })
        .await;
        let metrics = collector.metrics();
        for (name, kind) in [
            ("dapr_http_server_latency", "histogram"),
            ("daprd_connections_open", "gauge"),
            ("process_cpu_seconds_total", "counter"),
        ] {
            let found = metrics.iter().find(|metric| metric.name == name);
            assert_eq!(found.map(|metric| metric.kind), Some(kind), "{name}");
        }
        let export = collector.exports().swap_remove(0);
        assert_eq!(
            (export.path.as_str(), &export.headers["x-key"]),
            (path, &"k".parse().unwrap())
        );
        assert_eq!(metrics[0].resource["service.name"], "a");
        // They are scraped as before.
        assert!(scrape(&daprd).await.contains("dapr_http_server_request_count"));
    }
}

fn by_variables(builder: DaprdBuilder, port: u16) -> DaprdBuilder {
    builder
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .env("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")
        .env(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            &format!("http://127.0.0.1:{port}/my/metrics"),
        )
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .env("OTEL_SERVICE_NAME", "named")
}

#[tokio::test]
async fn by_variables_and_once_more_at_the_stop() {
    let collector = Collector::start(Spoken::Http).await;
    let (mesh, app) = (Mesh::new(), app().await);
    let daprd = by_variables(mesh.sidecar("a").app_port(app.port), collector.port)
        .start()
        .await;
    call(&daprd).await;
    assert!(collector.exports().is_empty(), "a minute has not passed");
    assert_eq!(daprd.stop().await.code, Some(0));
    let exports = collector.exports();
    assert!(exports.iter().all(|export| export.path == "/my/metrics"));
    let metrics = collector.metrics();
    assert!((requests(&metrics) - 1.0).abs() < f64::EPSILON, "{metrics:?}");
    assert_eq!(metrics[0].resource["service.name"], "named");
}

#[tokio::test]
async fn a_collector_that_refuses_or_is_away_harms_nothing() {
    let collector = Collector::answering(Spoken::Grpc, |before| (before < 2).then(|| grpc(14))).await;
    let (mesh, app) = (Mesh::new(), app().await);
    let daprd = mesh
        .sidecar("a")
        .app_port(app.port)
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("http://127.0.0.1:{}", collector.port),
        )
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .start()
        .await;
    call(&daprd).await;
    daprd.await_log("metrics cannot be pushed: ").await;
    daprd.await_log("metrics are pushed again").await;
    eventually("the request", || async { requests(&collector.metrics()) >= 1.0 }).await;
    drop(collector);
    call(&daprd).await;
    let exit = daprd.stop().await;
    assert_eq!(exit.code, Some(0), "a collector is no reason to fail");
}

/// Counters say since when they count. They begin anew when something else is measured, and at no other change.
#[tokio::test]
async fn counters_that_begin_anew_say_so() {
    let collector = Collector::start(Spoken::Http).await;
    let own = |interval: &str| {
        format!(
            "  daprd:\n    metrics:\n      endpoints: true\n      otlp: {{endpointAddress: '127.0.0.1:{}', \
             protocol: http, isSecure: false, interval: {interval}}}\n",
            collector.port
        )
    };
    let mesh = Mesh::with_configuration(&own("200ms"));
    let file = mesh.folder().join("config.yaml");
    let replace = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        let beside = mesh.folder().join("beside");
        std::fs::write(&beside, text.replace(from, to)).unwrap();
        std::fs::rename(beside, &file).unwrap();
    };
    let app = app().await;
    let daprd = mesh.sidecar("a").app_port(app.port).start().await;
    call(&daprd).await;
    eventually("the first request", || async {
        requests(&collector.metrics()) >= 1.0
    })
    .await;
    let first = requests_to(PATH, &collector.metrics()).unwrap();
    replace("endpoints: true", "endpoints: false");
    replace("200ms", "150ms");
    daprd
        .await_log("The changes are in place; calls that had begun go on as they began")
        .await;
    call(&daprd).await;
    eventually("both requests", || async {
        requests(&collector.metrics()) >= 2.0
    })
    .await;
    assert_eq!(
        requests_to(PATH, &collector.metrics()).unwrap().began,
        first.began
    );
    replace(
        "  daprd:",
        "  metrics: {http: {increasedCardinality: false}}\n  daprd:",
    );
    daprd.await_log("increasedCardinality\\\":false").await;
    eventually("requests without their paths", || async {
        call(&daprd).await;
        requests_to("", &collector.metrics()).is_some()
    })
    .await;
    let metrics = collector.metrics();
    let process = metrics
        .iter()
        .find(|metric| metric.name == "process_cpu_seconds_total");
    let process = process.unwrap().began;
    let next = requests_to("", &metrics).unwrap().began;
    assert!(
        process <= first.began && first.began < next,
        "{process} {} {next}",
        first.began
    );
}

#[tokio::test]
async fn mistakes_end_the_start() {
    for (otlp, wanted) in [
        (
            "{endpointAddress: 'x:1', protocol: udp}",
            "the protocol \\\"udp\\\" is neither grpc nor http",
        ),
        (
            "{endpointAddress: 'x:1', interval: soon}",
            "spec.daprd.metrics.otlp.interval",
        ),
        ("{endpoint: 'x:1'}", "unknown field"),
    ] {
        let mesh = Mesh::with_configuration(&format!("  daprd: {{metrics: {{otlp: {otlp}}}}}\n"));
        let mut args = mesh.args();
        args.extend(["--app-id=a", "--metrics-port=0"].map(str::to_owned));
        let exit = run_daprd(args).await;
        assert_eq!(exit.code, Some(1), "{otlp}");
        assert!(exit.stdout.contains(wanted), "{otlp}: {}", exit.stdout);
    }
}
