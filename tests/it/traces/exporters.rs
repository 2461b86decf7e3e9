//! Each kind of collector, what goes along, and what the environment says.

use integration_tests::collector::{Collector, Export, SeenSpan, Spoken};
use integration_tests::pki::Authority;
use integration_tests::{DaprdBuilder, Mesh, TlsApp};

use super::{app, call, exporting, sidecar};

/// The only export after a call by a sidecar with this `spec` and these variables.
async fn export(
    spoken: Spoken,
    spec: impl Fn(u16) -> String,
    variables: impl Fn(u16) -> Vec<(&'static str, String)>,
) -> Export {
    let (collector, app, mesh) = (Collector::start(spoken).await, app().await, Mesh::new());
    let mut builder = sidecar(&mesh, &app, &spec(collector.port));
    for (name, value) in variables(collector.port) {
        builder = builder.env(name, &value);
    }
    let daprd = builder.start().await;
    assert_eq!(call(&daprd, &[]).await.status(), 200);
    collector.await_spans(1).await;
    assert_eq!(daprd.stop().await.code, Some(0));
    let exports = collector.exports();
    assert_eq!(exports.len(), 1);
    exports[0].clone()
}

fn no_variables(_: u16) -> Vec<(&'static str, String)> {
    Vec::new()
}

fn is_right(span: &SeenSpan) {
    assert_eq!(
        (&*span.name, &*span.kind, span.service()),
        ("CallLocal/a/m", "CLIENT", "a")
    );
    assert_eq!(span.attributes["dapr.status_code"], "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_over_grpc() {
    let spec = |port| {
        exporting(
            Spoken::Grpc,
            port,
            ", timeout: 30s, headers: ['x-key=a=b', lonely, 'X-Other=c']",
        )
    };
    let export = export(Spoken::Grpc, spec, no_variables).await;
    assert_eq!(
        export.path,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    assert_eq!(export.headers["x-key"], "a=b");
    assert_eq!(export.headers["x-other"], "c");
    assert_eq!(export.headers["content-type"], "application/grpc");
    is_right(&export.spans[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_over_http() {
    let spec = |port| exporting(Spoken::Http, port, ", headers: ['x-key=v']");
    let export = export(Spoken::Http, spec, no_variables).await;
    assert_eq!(export.path, "/v1/traces");
    assert_eq!(export.headers["x-key"], "v");
    assert_eq!(export.headers["content-type"], "application/x-protobuf");
    is_right(&export.spans[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn zipkin() {
    let export = export(
        Spoken::Zipkin,
        |port| exporting(Spoken::Zipkin, port, ""),
        no_variables,
    )
    .await;
    assert_eq!(export.path, "/api/v2/spans");
    assert_eq!(export.headers["content-type"], "application/json");
    let mut span = export.json[0].clone();
    for key in ["timestamp", "duration", "traceId", "id"] {
        assert!(span.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    let port = span["tags"].as_object_mut().unwrap().remove("server.port");
    assert!(port.unwrap().as_str().unwrap().parse::<u16>().is_ok());
    // As it is recorded of Dapr.
    let wanted = serde_json::json!({
        "name": "calllocal/a/m",
        "kind": "CLIENT",
        "localEndpoint": { "serviceName": "a" },
        "remoteEndpoint": { "serviceName": "127.0.0.1" },
        "tags": {
            "dapr.api": "GET /v1.0/invoke/a/method/m",
            "dapr.protocol": "http",
            "dapr.status_code": "200",
            "http.request.method": "GET",
            "net.peer.name": "a",
            "otel.scope.name": "dapr-diagnostics",
            "rpc.service": "ServiceInvocation",
            "server.address": "127.0.0.1",
            "service.name": "a",
            "url.full": "/v1.0/invoke/a/method/m",
        },
    });
    assert_eq!(span, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log() {
    let (app, mesh) = (app().await, Mesh::new());
    let daprd = sidecar(&mesh, &app, "  tracing: {stdout: true, samplingRate: '1'}\n")
        .start()
        .await;
    call(&daprd, &[]).await;
    daprd.await_log("[CallLocal/a/m] Trace: ").await;
    let log = daprd.log();
    let line = log
        .lines()
        .find(|line| line.contains("CallLocal/a/m] Trace"))
        .unwrap();
    assert!(
        line.contains(" Span: 0000000000000000/") && line.contains("Annotations: []"),
        "{line}"
    );
    assert!(line.contains("scope=dapr.runtime.trace"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_has_a_collector_where_the_configuration_has_none() {
    let variables = |port: u16| {
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}")),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b".to_owned()),
            ("OTEL_SERVICE_NAME", "by-variable".to_owned()),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.namespace=production,k8s.pod.name=pod%2D1".to_owned(),
            ),
        ]
    };
    let export = export(Spoken::Grpc, |_| String::new(), variables).await;
    assert_eq!(export.headers["x-key"], "a b");
    let span = &export.spans[0];
    assert_eq!(span.service(), "by-variable");
    assert_eq!(span.resource["service.namespace"], "production");
    assert_eq!(span.resource["k8s.pod.name"], "pod-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_comes_before_the_environment() {
    let variables = |_| {
        vec![
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://127.0.0.1:1".to_owned(),
            ),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-env=1".to_owned()),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "junk".to_owned()),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
        ]
    };
    let spec = |port| exporting(Spoken::Http, port, ", headers: ['x-file=1']");
    let packed = export(Spoken::Http, spec, variables).await;
    assert_eq!(packed.headers["x-file"], "1");
    assert_eq!(packed.headers.get("x-env"), None);
    assert_eq!(packed.headers["content-encoding"], "gzip");
    // Headers that the file leaves out are those of the environment.
    let export = export(Spoken::Grpc, |port| exporting(Spoken::Grpc, port, ""), variables).await;
    assert_eq!(export.headers["x-env"], "1");
    assert_eq!(export.headers["grpc-encoding"], "gzip");
    is_right(&export.spans[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_exporters_get_the_same_spans() {
    let collectors = [
        Collector::start(Spoken::Grpc).await,
        Collector::start(Spoken::Zipkin).await,
    ];
    let (app, mesh) = (app().await, Mesh::new());
    let spec = format!(
        "{}    zipkin: {{endpointAddress: 'http://127.0.0.1:{}/z'}}\n",
        exporting(Spoken::Grpc, collectors[0].port, ""),
        collectors[1].port
    );
    let daprd = sidecar(&mesh, &app, &spec).start().await;
    call(&daprd, &[]).await;
    let [otlp, zipkin] = [
        collectors[0].await_spans(1).await,
        collectors[1].await_spans(1).await,
    ];
    assert_eq!((&otlp[0].trace, &otlp[0].id), (&zipkin[0].trace, &zipkin[0].id));
}

/// What cannot be is told at the start, without what may be a secret.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_end_the_start() {
    let mesh = Mesh::new();
    for (spec, variable, wanted) in [
        (
            "tracing: {otel: {endpointAddress: 'a:1', protocol: grpcs}}",
            None,
            "failed to setup tracing: invalid protocol grpcs provided for Otel endpoint",
        ),
        (
            "tracing: {zipkin: {endpointAddress: 'collector:9411'}}",
            None,
            "failed to setup tracing: invalid collector URL",
        ),
        (
            "tracing: {otel: {endpointAddress: 'a:1', protocol: grpc, timeout: soon}}",
            None,
            "time: invalid duration",
        ),
        (
            "",
            Some(("OTEL_EXPORTER_OTLP_HEADERS", "hush")),
            "error setting tracing spec from env: missing '=' parse headers input",
        ),
        (
            "",
            Some(("OTEL_EXPORTER_OTLP_TIMEOUT", "1s")),
            "error setting tracing spec from env: ",
        ),
    ] {
        let path = mesh.folder().join("bad.yaml");
        std::fs::write(&path, format!("spec:\n  {spec}\n")).unwrap();
        let config = format!("--config={}", path.display());
        let mut builder = DaprdBuilder::new("bad").arg(config).without_waiting();
        if let Some((name, value)) = variable {
            builder = builder.env(name, value);
        }
        let exit = builder.start().await.exit().await;
        assert_eq!(exit.code, Some(1), "{spec} {}", exit.stdout);
        assert!(
            exit.stdout.contains("Fatal error from runtime: "),
            "{}",
            exit.stdout
        );
        assert!(exit.stdout.contains(wanted), "{wanted}: {}", exit.stdout);
        assert!(!exit.stdout.contains("hush"), "{}", exit.stdout);
    }
}

/// Without `isSecure: false` the connection is TLS, and the collector must be who it is.
#[tokio::test(flavor = "multi_thread")]
async fn collectors_behind_tls() {
    let authority = Authority::new();
    for (spoken, protocol) in [(Spoken::Grpc, "grpc"), (Spoken::Http, "http")] {
        let (collector, app, mesh) = (Collector::start(spoken).await, app().await, Mesh::new());
        let tls = TlsApp::in_front_of(&authority, collector.port).await;
        let roots = mesh.folder().join("roots.pem");
        std::fs::write(&roots, authority.pem()).unwrap();
        let spec = format!(
            "  tracing:\n    samplingRate: '1'\n    otel: {{endpointAddress: 'localhost:{}', protocol: {protocol}}}\n",
            tls.port
        );
        let trusting =
            sidecar(&mesh, &app, &spec).env("OTEL_EXPORTER_OTLP_CERTIFICATE", &roots.display().to_string());
        let daprd = trusting.start().await;
        call(&daprd, &[]).await;
        is_right(&collector.await_spans(1).await[0]);
        assert_eq!(daprd.stop().await.code, Some(0));
        let daprd = sidecar(&mesh, &app, &spec).start().await;
        call(&daprd, &[]).await;
        let exit = daprd.stop().await;
        assert!(
            exit.stdout.contains("spans are not exported to otel"),
            "{}",
            exit.stdout
        );
        assert_eq!(collector.spans().len(), 1, "{protocol}: nobody vouches for it");
    }
}
