//! The metrics: after the same calls they are those of Dapr, family by family, in every mode.

mod exemplars;
mod modes;
mod monitoring;
mod own;
mod push;
mod scrapers;
mod stage;

use std::fmt::Write as _;

use crate::dapr_peers::{InternalRequest, Values};
use integration_tests::grpc::{GrpcClient, InvokeServiceRequest};
use integration_tests::{DaprdBuilder, HttpApp, Mesh, Protocol, eventually, text};
use stage::{Stage, scrape, shows, shows_line};

const SERVER: &[&str] = &[
    "dapr_http_server_request_count",
    "dapr_http_server_response_count",
];

#[tokio::test]
async fn what_a_caller_shows() {
    let stage = Stage::start("").await;
    stage.call_all().await;
    let requests = "GET /nothing/here 404 1
GET /ok 200 1
GET /ok/ 200 1
GET /v1.0/invoke/c/method/ok 200 1
GET /v1.0/invoke/nope/method/ok 500 1
GET /v1.0/invoke/s.default/method/ok 200 1
GET /v1.0/invoke/s/method/ok 200 1
GET /v1.0/invoke/s/method/status/302 302 1
GET /v1.0/invoke/s/method/status/404 404 1
GET /v1.0/invoke/s/method/status/500 500 1
GET /v1.0/invoke/s/method/tail/healthz 200 1
GET /v1.0/metadata 200 1
POST /v1.0/invoke/g/method/code-5 404 1
POST /v1.0/invoke/g/method/ok 200 1
POST /v1.0/invoke/s/method/ok 200 1
POST /v1.0/invoke/s/method/orders/17 200 1
UNKNOWN /v1.0/invoke/s/method/ok 200 1";
    let mut wanted = String::new();
    for request in requests.lines() {
        let [method, path, status, count]: [&str; 4] =
            request.split(' ').collect::<Vec<_>>().try_into().unwrap();
        for family in ["request_count", "response_count", "latency_count"] {
            writeln!(
                wanted,
                "dapr_http_server_{family}{{app_id=\"c\",method=\"{method}\",path=\"{path}\",status=\"{status}\"}} {count}"
            )
            .unwrap();
        }
    }
    shows(&stage.caller, &["dapr_http_server"], &wanted).await;
    shows(
        &stage.caller,
        &["dapr_runtime_service_invocation"],
        r#"dapr_runtime_service_invocation_req_sent_total{app_id="c",dst_app_id="g",type="streaming"} 1
        dapr_runtime_service_invocation_req_sent_total{app_id="c",dst_app_id="g",type="unary"} 6
        dapr_runtime_service_invocation_req_sent_total{app_id="c",dst_app_id="s",type="unary"} 13
        dapr_runtime_service_invocation_res_recv_latency_ms_count{app_id="c",src_app_id="g",status="0"} 3
        dapr_runtime_service_invocation_res_recv_latency_ms_count{app_id="c",src_app_id="g",status="5"} 3
        dapr_runtime_service_invocation_res_recv_latency_ms_count{app_id="c",src_app_id="s",status="200"} 9
        dapr_runtime_service_invocation_res_recv_latency_ms_count{app_id="c",src_app_id="s",status="302"} 1
        dapr_runtime_service_invocation_res_recv_latency_ms_count{app_id="c",src_app_id="s",status="404"} 2
        dapr_runtime_service_invocation_res_recv_latency_ms_count{app_id="c",src_app_id="s",status="500"} 1
        dapr_runtime_service_invocation_res_recv_total{app_id="c",src_app_id="g",status="0",type="unary"} 3
        dapr_runtime_service_invocation_res_recv_total{app_id="c",src_app_id="g",status="5",type="unary"} 3
        dapr_runtime_service_invocation_res_recv_total{app_id="c",src_app_id="s",status="200",type="unary"} 9
        dapr_runtime_service_invocation_res_recv_total{app_id="c",src_app_id="s",status="302",type="unary"} 1
        dapr_runtime_service_invocation_res_recv_total{app_id="c",src_app_id="s",status="404",type="unary"} 2
        dapr_runtime_service_invocation_res_recv_total{app_id="c",src_app_id="s",status="500",type="unary"} 1"#,
    )
    .await;
    shows(
        &stage.caller,
        &["dapr_grpc_io"],
        r#"dapr_grpc_io_server_completed_rpcs{app_id="c",grpc_server_method="/dapr.proto.runtime.v1.Dapr/InvokeService",grpc_server_status="Internal"} 1
        dapr_grpc_io_server_completed_rpcs{app_id="c",grpc_server_method="/dapr.proto.runtime.v1.Dapr/InvokeService",grpc_server_status="NotFound"} 2
        dapr_grpc_io_server_completed_rpcs{app_id="c",grpc_server_method="/dapr.proto.runtime.v1.Dapr/InvokeService",grpc_server_status="OK"} 3
        dapr_grpc_io_server_completed_rpcs{app_id="c",grpc_server_method="/test.Svc/Stream",grpc_server_status="OK"} 1
        dapr_grpc_io_server_completed_rpcs{app_id="c",grpc_server_method="/test.Svc/code-5",grpc_server_status="NotFound"} 1
        dapr_grpc_io_server_completed_rpcs{app_id="c",grpc_server_method="/test.Svc/ok",grpc_server_status="OK"} 1
        dapr_grpc_io_server_received_bytes_per_rpc_count{app_id="c",grpc_server_method="/dapr.proto.runtime.v1.Dapr/InvokeService"} 6
        dapr_grpc_io_server_sent_bytes_per_rpc_count{app_id="c",grpc_server_method="/dapr.proto.runtime.v1.Dapr/InvokeService"} 6
        dapr_grpc_io_server_server_latency_count{app_id="c",grpc_server_method="/dapr.proto.runtime.v1.Dapr/InvokeService",grpc_server_status="Internal"} 1
        dapr_grpc_io_server_server_latency_count{app_id="c",grpc_server_method="/dapr.proto.runtime.v1.Dapr/InvokeService",grpc_server_status="NotFound"} 2
        dapr_grpc_io_server_server_latency_count{app_id="c",grpc_server_method="/dapr.proto.runtime.v1.Dapr/InvokeService",grpc_server_status="OK"} 3
        dapr_grpc_io_server_server_latency_count{app_id="c",grpc_server_method="/test.Svc/Stream",grpc_server_status="OK"} 1
        dapr_grpc_io_server_server_latency_count{app_id="c",grpc_server_method="/test.Svc/code-5",grpc_server_status="NotFound"} 1
        dapr_grpc_io_server_server_latency_count{app_id="c",grpc_server_method="/test.Svc/ok",grpc_server_status="OK"} 1"#,
    )
    .await;
    shows(
        &stage.caller,
        &["dapr_http_client"],
        r#"dapr_http_client_completed_count{app_id="c",method="GET",path="/dapr/config",status="404"} 1
        dapr_http_client_completed_count{app_id="c",method="GET",path="/ok",status="200"} 1
        dapr_http_client_completed_count{app_id="c",method="POST",path="/ok",status="200"} 1
        dapr_http_client_received_bytes_count{app_id="c"} 3
        dapr_http_client_roundtrip_latency_count{app_id="c",method="GET",path="/dapr/config",status="404"} 1
        dapr_http_client_roundtrip_latency_count{app_id="c",method="GET",path="/ok",status="200"} 1
        dapr_http_client_roundtrip_latency_count{app_id="c",method="POST",path="/ok",status="200"} 1
        dapr_http_client_sent_bytes_count{app_id="c",method="GET",path="/dapr/config",status=""} 1
        dapr_http_client_sent_bytes_count{app_id="c",method="GET",path="/ok",status=""} 1
        dapr_http_client_sent_bytes_count{app_id="c",method="POST",path="/ok",status=""} 1"#,
    )
    .await;
    shows_line(
        &stage.caller,
        "dapr_http_client_received_bytes_sum{app_id=\"c\"} 4",
    )
    .await;
}

#[tokio::test]
async fn what_callees_show() {
    let stage = Stage::start("").await;
    stage.call_all().await;
    shows(
        &stage.http,
        &["dapr_runtime", "dapr_grpc", "dapr_http_client_completed"],
        r#"dapr_http_client_completed_count{app_id="s",method="GET",path="/dapr/config",status="404"} 1
        dapr_http_client_completed_count{app_id="s",method="GET",path="/ok",status="200"} 4
        dapr_http_client_completed_count{app_id="s",method="GET",path="/status/302",status="302"} 1
        dapr_http_client_completed_count{app_id="s",method="GET",path="/status/404",status="404"} 1
        dapr_http_client_completed_count{app_id="s",method="GET",path="/status/500",status="500"} 1
        dapr_http_client_completed_count{app_id="s",method="GET",path="/tail/healthz",status="200"} 1
        dapr_http_client_completed_count{app_id="s",method="POST",path="/ok",status="200"} 3
        dapr_http_client_completed_count{app_id="s",method="POST",path="/orders/17",status="200"} 1
        dapr_http_client_completed_count{app_id="s",method="POST",path="/status/404",status="404"} 1
        dapr_runtime_acl_global_policy_action_allowed_total{app_id="",namespace="",trustDomain=""} 13
        dapr_runtime_service_invocation_req_recv_total{app_id="s",src_app_id="c"} 13
        dapr_runtime_service_invocation_res_sent_total{app_id="s",dst_app_id="c",status="200"} 9
        dapr_runtime_service_invocation_res_sent_total{app_id="s",dst_app_id="c",status="302"} 1
        dapr_runtime_service_invocation_res_sent_total{app_id="s",dst_app_id="c",status="404"} 2
        dapr_runtime_service_invocation_res_sent_total{app_id="s",dst_app_id="c",status="500"} 1"#,
    )
    .await;
    shows(
        &stage.grpc,
        &["dapr_runtime_service", "dapr_grpc", "dapr_http_client"],
        r#"dapr_grpc_io_client_completed_rpcs{app_id="g",grpc_client_method="/dapr.proto.runtime.v1.AppCallback/OnInvoke",grpc_client_status="NotFound"} 2
        dapr_grpc_io_client_completed_rpcs{app_id="g",grpc_client_method="/dapr.proto.runtime.v1.AppCallback/OnInvoke",grpc_client_status="OK"} 2
        dapr_grpc_io_client_received_bytes_per_rpc_count{app_id="g",grpc_client_method="/dapr.proto.runtime.v1.AppCallback/OnInvoke"} 4
        dapr_grpc_io_client_roundtrip_latency_count{app_id="g",grpc_client_method="/dapr.proto.runtime.v1.AppCallback/OnInvoke",grpc_client_status="NotFound"} 2
        dapr_grpc_io_client_roundtrip_latency_count{app_id="g",grpc_client_method="/dapr.proto.runtime.v1.AppCallback/OnInvoke",grpc_client_status="OK"} 2
        dapr_grpc_io_client_sent_bytes_per_rpc_count{app_id="g",grpc_client_method="/dapr.proto.runtime.v1.AppCallback/OnInvoke"} 4
        dapr_runtime_service_invocation_req_recv_total{app_id="g",src_app_id="c"} 4
        dapr_runtime_service_invocation_res_sent_total{app_id="g",dst_app_id="c",status="0"} 2
        dapr_runtime_service_invocation_res_sent_total{app_id="g",dst_app_id="c",status="5"} 2"#,
    )
    .await;
}

#[tokio::test]
async fn a_histogram_is_whole_and_in_order() {
    let mesh = Mesh::new();
    let app = HttpApp::echo(Protocol::Http).await;
    let sidecar = mesh.sidecar("a").app_port(app.port).start().await;
    assert_eq!(
        reqwest::get(sidecar.invoke_url("a", "m")).await.unwrap().status(),
        200
    );
    let labels = r#"app_id="a",method="GET",path="/v1.0/invoke/a/method/m",status="200""#;
    shows_line(&sidecar, &format!("dapr_http_server_latency_count{{{labels}}} 1")).await;
    let text = scrape(&sidecar).await;
    let bounds: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("dapr_http_server_latency_bucket{{{labels},le=\"")))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(
        bounds.join(" "),
        "1 2 3 4 5 6 8 10 13 16 20 25 30 40 50 65 80 100 130 160 200 250 300 400 500 650 800 1000 2000 5000 10000 \
         20000 50000 100000 +Inf"
    );
    let sizes: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("dapr_http_server_response_bytes_bucket{app_id=\"a\",le=\""))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(
        sizes.join(" "),
        "1024 2048 4096 16384 65536 262144 1.048576e+06 4.194304e+06 1.6777216e+07 6.7108864e+07 2.68435456e+08 \
         1.073741824e+09 4.294967296e+09 +Inf"
    );
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!(text.contains("# HELP dapr_http_server_latency HTTP request end-to-end latency in server.\n"));
    assert!(
        names.contains(&"dapr_http_server_request_count counter") && names.contains(&"go_goroutines gauge")
    );
}

/// A caller that is turned away is measured on HTTP, and on the gRPC API it is not.
#[tokio::test]
async fn callers_without_a_token() {
    let mesh = Mesh::new();
    let sidecar = mesh.sidecar("a").env("DAPR_API_TOKEN", "secret");
    let sidecar = sidecar.arg("--enable-api-logging=true").start().await;
    assert_eq!(
        reqwest::get(sidecar.url("/v1.0/metadata"))
            .await
            .unwrap()
            .status(),
        401
    );
    let client = GrpcClient::connect(sidecar.grpc_port).await;
    let answer = client
        .call("/dapr.proto.runtime.v1.Dapr/GetMetadata", &[], &[b""])
        .await;
    assert_eq!(answer.code(), 16);
    shows_line(
        &sidecar,
        r#"dapr_http_server_request_count{app_id="a",method="GET",path="/v1.0/metadata",status="401"} 1"#,
    )
    .await;
    assert!(!scrape(&sidecar).await.contains("dapr_grpc_io_server"));
    // What comes after it in the log shows that it is not there.
    let call = [("dapr-api-token", "secret")];
    let answer = client
        .call("/dapr.proto.runtime.v1.Dapr/GetMetadata", &call, &[b""])
        .await;
    assert_eq!(answer.code(), 0);
    sidecar.await_log("gRPC API Called").await;
    assert_eq!(sidecar.log().matches("gRPC API Called").count(), 1);
}

#[tokio::test]
async fn the_health_of_apps_is_measured() {
    let mesh = Mesh::new();
    let app = HttpApp::start(Protocol::Http, |_| async { text(204, "") }).await;
    let sidecar = mesh.sidecar("a").app_port(app.port);
    let sidecar = sidecar
        .arg("--enable-app-health-check=true")
        .arg("--app-health-probe-interval=1");
    let sidecar = sidecar.start().await;
    eventually("a probe", || async {
        let text = scrape(&sidecar).await;
        text.contains("dapr_http_healthprobes_completed_count{app_id=\"a\",status=\"204\"} ")
            && text.contains("dapr_http_healthprobes_roundtrip_latency_count{app_id=\"a\",status=\"204\"} ")
    })
    .await;
    drop(app);
    eventually("a failed probe", || async {
        let text = scrape(&sidecar).await;
        text.contains("dapr_http_healthprobes_completed_count{app_id=\"a\",status=\"500\"} ")
    })
    .await;
}

#[tokio::test]
async fn components_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let spec = "spec: {nameResolution: {component: nonsense}}";
    std::fs::write(
        &config,
        format!("kind: Configuration\nmetadata: {{name: c}}\n{spec}\n"),
    )
    .unwrap();
    let resources = folder.path().join("resources");
    std::fs::create_dir(&resources).unwrap();
    for (name, kind) in [("good", "state.in-memory"), ("bad", "state.sqlite")] {
        let component = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {{name: {name}}}\n\
             spec: {{type: {kind}, version: v1, ignoreErrors: true, metadata: []}}\n"
        );
        std::fs::write(resources.join(format!("{name}.yaml")), component).unwrap();
    }
    let sidecar = DaprdBuilder::new("a")
        .arg(format!("--config={}", config.display()))
        .arg(format!("--resources-path={}", resources.display()));
    let sidecar = sidecar.start().await;
    shows(
        &sidecar,
        &["dapr_runtime_component"],
        r#"dapr_runtime_component_init_fail_total{app_id="a",component="nameResolution",componentName="nonsense",reason="creation"} 1
        dapr_runtime_component_init_fail_total{app_id="a",component="state.sqlite",componentName="bad",reason="init"} 1
        dapr_runtime_component_init_total{app_id="a",component="state.in-memory"} 1
        dapr_runtime_component_loaded{app_id="a"} 1"#,
    )
    .await;
}

#[tokio::test]
async fn unary_calls_of_old_sidecars() {
    let mesh = Mesh::new();
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await;
    let sidecar = mesh.sidecar("a").app_port(app.port).start().await;
    let client = GrpcClient::connect(sidecar.internal_port).await;
    let values = vec!["old".to_owned()];
    let request = InternalRequest {
        version: 1,
        metadata: [("dapr-caller-app-id".to_owned(), Values { values })].into(),
        message: InvokeServiceRequest::post("a", "m", "12345").message,
    };
    let request = prost::Message::encode_to_vec(&request);
    let method = "/dapr.proto.internals.v1.ServiceInvocation/CallLocal";
    let answer = client.call(method, &[], &[&request]).await;
    assert_eq!(answer.code(), 0, "{}", answer.status_message());
    let labels = format!("app_id=\"a\",grpc_server_method=\"{method}\"");
    let family = "dapr_grpc_io_server";
    shows_line(
        &sidecar,
        &format!("{family}_completed_rpcs{{{labels},grpc_server_status=\"OK\"}} 1"),
    )
    .await;
    let length = request.len();
    let received = format!("{family}_received_bytes_per_rpc_sum{{{labels}}} {length}");
    shows_line(&sidecar, &received).await;
    shows_line(
        &sidecar,
        "dapr_runtime_service_invocation_req_recv_total{app_id=\"a\",src_app_id=\"old\"} 1",
    )
    .await;
}

/// What callers name is shown as it is, but not at any length; how many paths are shown is bounded, too, as the tests of
/// the table beside the code say.
#[tokio::test]
async fn long_and_odd_paths() {
    let mesh = Mesh::new();
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "") }).await;
    let sidecar = mesh.sidecar("a").app_port(app.port).start().await;
    for path in ["\u{fc}".repeat(500), "a%22b%5Cc%0A".to_owned()] {
        reqwest::get(sidecar.invoke_url("a", &path)).await.unwrap();
    }
    let long = format!("/v1.0/invoke/a/method/{}", "\u{fc}".repeat(116));
    for (path, status) in [(long.as_str(), 200), (r#"/v1.0/invoke/a/method/a\"b\\c\n"#, 500)] {
        let labels = format!("app_id=\"a\",method=\"GET\",path=\"{path}\",status=\"{status}\"");
        shows_line(&sidecar, &format!("dapr_http_server_request_count{{{labels}}} 1")).await;
    }
}
