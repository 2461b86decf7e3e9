//! Traces: spans of calls, and where they go.

mod exporters;
mod faults;
mod recorded;

use integration_tests::collector::{Collector, Spoken};
use integration_tests::{Daprd, DaprdBuilder, HttpApp, Mesh, Protocol, text};

/// An app that answers everything.
async fn app() -> HttpApp {
    HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await
}

/// A sidecar with an app, whose configuration has this `spec`. Its spans do not wait for others.
fn sidecar(mesh: &Mesh, app: &HttpApp, spec: &str) -> DaprdBuilder {
    let path = mesh.folder().join(format!("{}.yaml", app.port));
    std::fs::write(&path, format!("spec:\n{spec}")).unwrap();
    mesh.sidecar("a")
        .arg(format!("--config={}", path.display()))
        .app_port(app.port)
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
}

/// The part of `spec` that exports all spans to a collector.
fn exporting(spoken: Spoken, port: u16, more: &str) -> String {
    let destination = match spoken {
        Spoken::Zipkin => format!("zipkin: {{endpointAddress: 'http://127.0.0.1:{port}/api/v2/spans'}}"),
        Spoken::Grpc => {
            format!("otel: {{endpointAddress: '127.0.0.1:{port}', protocol: grpc, isSecure: false{more}}}")
        }
        Spoken::Http => {
            format!("otel: {{endpointAddress: '127.0.0.1:{port}', protocol: http, isSecure: false{more}}}")
        }
    };
    format!("  tracing:\n    samplingRate: '1'\n    {destination}\n")
}

/// Calls the app of a sidecar through it.
async fn call(daprd: &Daprd, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = reqwest::Client::new().get(daprd.invoke_url("a", "m"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_denied() {
    let (collector, app, mesh) = (Collector::start(Spoken::Grpc).await, app().await, Mesh::new());
    let spec = exporting(Spoken::Grpc, collector.port, "");
    let denying = format!("{spec}  accessControl:\n    defaultAction: deny\n");
    let callee = sidecar(&mesh, &app, &denying).start().await;
    let caller = mesh.sidecar("b").start().await;
    let answer = reqwest::get(caller.invoke_url("a", "m")).await.unwrap();
    assert_eq!(answer.status(), 403);
    let spans = collector.await_spans(1).await;
    assert_eq!(
        spans[0].error,
        "access control policy has denied access to id:  operation: m verb: GET"
    );
    assert_eq!((&*spans[0].name, &*spans[0].parent), ("CallLocal/a/m", ""));
    drop(callee);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_passed_on_with_ids_of_its_own() {
    let collector = Collector::start(Spoken::Grpc).await;
    let (app, mesh) = (HttpApp::echo(Protocol::Http).await, Mesh::new());
    let spec = exporting(Spoken::Grpc, collector.port, "").replace("'1'", "'0.0000000001'");
    let daprd = sidecar(&mesh, &app, &spec).start().await;
    let seen: serde_json::Value = call(&daprd, &[]).await.json().await.unwrap();
    let seen = seen["headers"].to_string();
    assert!(
        seen.contains("\"traceparent\",\"00-") && seen.contains("-00\"]"),
        "{seen}"
    );
    assert!(!seen.contains("00000000000000000000000000000000"), "{seen}");
    // A parent that is sampled counts more than the rate.
    call(
        &daprd,
        &[(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )],
    )
    .await;
    let spans = collector.await_spans(1).await;
    assert_eq!(spans[0].parent, "00f067aa0ba902b7");
    assert_eq!(daprd.stop().await.code, Some(0));
    assert_eq!(
        collector.spans().len(),
        1,
        "health checks and what is not sampled are not exported"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_zero_makes_no_spans_whatever_the_exporters() {
    let collector = Collector::start(Spoken::Grpc).await;
    let (app, mesh) = (app().await, Mesh::new());
    let spec = exporting(Spoken::Grpc, collector.port, "").replace("'1'", "'0'");
    let daprd = sidecar(&mesh, &app, &spec).start().await;
    daprd
        .await_log("Dapr trace sampler initialized: ParentBased{root:TraceIDRatioBased{0},")
        .await;
    let answer = call(
        &daprd,
        &[(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )],
    )
    .await;
    assert_eq!(answer.headers().get("traceparent"), None);
    assert_eq!(daprd.stop().await.code, Some(0));
    assert!(collector.spans().is_empty());
}
