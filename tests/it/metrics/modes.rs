//! What the configuration changes of the metrics.

use integration_tests::{Daprd, HttpApp, Mesh, Protocol, run_daprd};

use super::SERVER;
use super::stage::{Stage, samples, scrape, shows, shows_line};

#[tokio::test]
async fn low_cardinality() {
    let stage = Stage::start("  metrics:\n    http: {increasedCardinality: false}\n").await;
    stage.call_all().await;
    shows(
        &stage.caller,
        SERVER,
        r#"dapr_http_server_request_count{app_id="c",method="GET",path="",status="200"} 7
        dapr_http_server_request_count{app_id="c",method="GET",path="",status="302"} 1
        dapr_http_server_request_count{app_id="c",method="GET",path="",status="404"} 2
        dapr_http_server_request_count{app_id="c",method="POST",path="",status="200"} 3
        dapr_http_server_request_count{app_id="c",method="POST",path="",status="404"} 1
        dapr_http_server_request_count{app_id="c",method="UNKNOWN",path="",status="200"} 1"#,
    )
    .await;
    shows(
        &stage.http,
        &["dapr_http_client_completed"],
        r#"dapr_http_client_completed_count{app_id="s",method="GET",path="",status="200"} 5
        dapr_http_client_completed_count{app_id="s",method="GET",path="",status="302"} 1
        dapr_http_client_completed_count{app_id="s",method="GET",path="",status="404"} 1
        dapr_http_client_completed_count{app_id="s",method="GET",path="/dapr/config",status="404"} 1
        dapr_http_client_completed_count{app_id="s",method="POST",path="",status="200"} 4
        dapr_http_client_completed_count{app_id="s",method="POST",path="",status="404"} 1"#,
    )
    .await;
}

#[tokio::test]
async fn low_cardinality_with_patterns() {
    let patterns =
        "['/orders/{orderID}', '/status/{code}', '/v1.0/invoke/{app}/method/ok', '/{bad', '/status/{x}']";
    let stage = Stage::start(&format!(
        "  metric:\n    http: {{increasedCardinality: true}}\n  \
         metrics:\n    http:\n      increasedCardinality: false\n      pathMatching: {patterns}\n"
    ))
    .await;
    stage.call_all().await;
    shows(
        &stage.caller,
        SERVER,
        r#"dapr_http_server_request_count{app_id="c",method="GET",path="",status="200"} 4
        dapr_http_server_request_count{app_id="c",method="GET",path="",status="404"} 1
        dapr_http_server_request_count{app_id="c",method="GET",path="/v1.0/invoke/{app_id}/method/status/{code}",status="302"} 1
        dapr_http_server_request_count{app_id="c",method="GET",path="/v1.0/invoke/{app_id}/method/status/{code}",status="404"} 1
        dapr_http_server_request_count{app_id="c",method="GET",path="/v1.0/invoke/{app_id}/method/status/{code}",status="500"} 1
        dapr_http_server_request_count{app_id="c",method="GET",path="/v1.0/invoke/{app}/method/ok",status="200"} 3
        dapr_http_server_request_count{app_id="c",method="GET",path="/v1.0/invoke/{app}/method/ok",status="500"} 1
        dapr_http_server_request_count{app_id="c",method="POST",path="",status="404"} 1
        dapr_http_server_request_count{app_id="c",method="POST",path="/v1.0/invoke/{app_id}/method/orders/{orderID}",status="200"} 1
        dapr_http_server_request_count{app_id="c",method="POST",path="/v1.0/invoke/{app}/method/ok",status="200"} 2
        dapr_http_server_request_count{app_id="c",method="UNKNOWN",path="/v1.0/invoke/{app}/method/ok",status="200"} 1"#,
    )
    .await;
    shows(
        &stage.http,
        &["dapr_http_client_completed"],
        r#"dapr_http_client_completed_count{app_id="s",method="GET",path="",status="200"} 5
        dapr_http_client_completed_count{app_id="s",method="GET",path="/dapr/config",status="404"} 1
        dapr_http_client_completed_count{app_id="s",method="GET",path="/status/{code}",status="302"} 1
        dapr_http_client_completed_count{app_id="s",method="GET",path="/status/{code}",status="404"} 1
        dapr_http_client_completed_count{app_id="s",method="GET",path="/status/{code}",status="500"} 1
        dapr_http_client_completed_count{app_id="s",method="POST",path="",status="200"} 3
        dapr_http_client_completed_count{app_id="s",method="POST",path="/orders/{orderID}",status="200"} 1
        dapr_http_client_completed_count{app_id="s",method="POST",path="/status/{code}",status="404"} 1"#,
    )
    .await;
    for pattern in ["/{bad", "/status/{x}"] {
        stage
            .caller
            .await_log(&format!("the pattern \\\"{pattern}\\\" is not used"))
            .await;
    }
}

#[tokio::test]
async fn patterns_without_verbs_with_own_buckets_and_error_codes() {
    let stage = Stage::start(
        "  metrics:\n    recordErrorCodes: true\n    latencyDistributionBuckets: [500, 5, 0, -1]\n    \
         http:\n      excludeVerbs: true\n      pathMatching: [/status/]\n",
    )
    .await;
    stage.call_all().await;
    let text = samples(&scrape(&stage.caller).await, SERVER);
    for wanted in [
        r#"dapr_http_server_request_count{app_id="c",method="",path="/v1.0/invoke/s/method/ok",status="200"} 3"#,
        r#"dapr_http_server_response_count{app_id="c",method="",path="/v1.0/invoke/{app_id}/method/status/",status="404"} 1"#,
    ] {
        assert!(text.contains(wanted), "{wanted} is not among {text:#?}");
    }
    // Two answers of an HTTP app, a target that is not there, and a path that names none. A redirect is no error, and
    // neither is what a gRPC app answers.
    let codes =
        r#"dapr_error_code_total{app_id="c",category="service-invocation",error_code="ERR_DIRECT_INVOKE"} 4"#;
    shows_line(&stage.caller, codes).await;
    let text = scrape(&stage.caller).await;
    let mut bounds: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("dapr_http_server_latency_bucket") && line.contains("/metadata"))
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next())
        .collect();
    bounds.dedup();
    assert_eq!(bounds, ["5", "500", "+Inf"]);
    let told = "Using custom latency distribution buckets: [500 5 0 -1]";
    stage.caller.await_log(told).await;
    stage
        .caller
        .await_log("latencyDistributionBuckets: -1 is negative")
        .await;
}

async fn one(metrics: &str) -> (Mesh, HttpApp, Daprd) {
    let mesh = Mesh::with_configuration(metrics);
    let app = HttpApp::echo(Protocol::Http).await;
    let sidecar = mesh.sidecar("a").app_port(app.port).start().await;
    for path in ["orders/1", "orders/2"] {
        assert_eq!(
            reqwest::get(sidecar.invoke_url("a", path))
                .await
                .unwrap()
                .status(),
            200
        );
    }
    (mesh, app, sidecar)
}

#[tokio::test]
async fn rules_rewrite_labels() {
    let rule = "{name: dapr_http_server_request_count, labels: [{name: path, regex: {'/orders/{id}': '/orders/[0-9]+$'}}]}";
    let bad = "{name: dapr_http_server_latency, labels: [{name: path, regex: {x: '('}}]}";
    let (_mesh, _app, sidecar) = one(&format!("  metric:\n    rules: [{rule}, {bad}]\n")).await;
    shows_line(
        &sidecar,
        r#"dapr_http_server_request_count{app_id="a",method="GET",path="/v1.0/invoke/a/method/orders/{id}",status="200"} 2"#,
    )
    .await;
    let text = scrape(&sidecar).await;
    assert!(text.contains(
        r#"dapr_http_server_response_count{app_id="a",method="GET",path="/v1.0/invoke/a/method/orders/1",status="200"} 1"#
    ));
    let told = "[INIT_FAILURE]: initialization error occurred for metrics: failed to compile regex for rule";
    sidecar.await_log(told).await;
}

#[tokio::test]
async fn nothing_is_measured() {
    let (_mesh, _app, sidecar) = one("  metrics: {enabled: false}\n").await;
    let text = scrape(&sidecar).await;
    assert!(!text.contains("dapr_"), "{text}");
    assert!(text.contains("process_open_fds"));
}

#[tokio::test]
async fn mistakes_are_told_with_file_and_field() {
    for (metrics, field) in [
        (
            "  metrics:\n    http: {increasedCardinality: maybe}\n",
            "increasedCardinality",
        ),
        ("  metric:\n    http: [a]\n", "http"),
        (
            "  metrics:\n    latencyDistributionBuckets: [1, two]\n",
            "latencyDistributionBuckets",
        ),
        ("  metric:\n    rules: {a: b}\n", "rules"),
    ] {
        let mesh = Mesh::with_configuration(metrics);
        let mut args = mesh.args();
        args.push("--app-id=a".to_owned());
        let exit = run_daprd(args).await;
        assert_eq!(exit.code, Some(1), "{metrics}");
        let told = exit.stdout + &exit.stderr;
        assert!(
            told.contains("config.yaml") && told.contains(field),
            "{metrics}: {told}"
        );
    }
}
