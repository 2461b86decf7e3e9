//! Families that Dapr does not have.

use std::sync::Arc;

use integration_tests::{HttpApp, Mesh, Protocol, eventually, run_daprd, text};
use tokio::sync::Semaphore;

use super::stage::{Stage, scrape, shows_line};

#[tokio::test]
async fn attempts_connections_and_instances() {
    let stage = Stage::start("  daprd:\n    metrics: {endpoints: true}\n").await;
    stage.call_all().await;
    for line in [
        r#"daprd_attempts_total{app_id="c",outcome="error",target="g"} 3"#,
        r#"daprd_attempts_total{app_id="c",outcome="error",target="s"} 1"#,
        r#"daprd_attempts_total{app_id="c",outcome="ok",target="g"} 4"#,
        r#"daprd_attempts_total{app_id="c",outcome="ok",target="s"} 12"#,
        r#"daprd_calls_in_flight{app_id="c",target="s"} 0"#,
        r#"daprd_endpoints{app_id="c",target="s"} 1"#,
        r#"daprd_endpoints_ejected{app_id="c",target="s"} 0"#,
        r#"daprd_endpoint_ejections_total{app_id="c",reason="stalled",target="s"} 0"#,
        r#"daprd_endpoint_ejections_total{app_id="c",reason="unreachable",target="s"} 0"#,
        r#"daprd_requests_in_flight{api="http",app_id="c"} 0"#,
        r#"daprd_log_lines_lost_total{app_id="c"} 0"#,
    ] {
        shows_line(&stage.caller, line).await;
    }
    let text = scrape(&stage.caller).await;
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    // One to each of two sidecars, and some to the app.
    assert!(value("daprd_connections_open{app_id=\"c\",side=\"client\"}") >= 2.0);
    assert!(value("daprd_connections_open{app_id=\"c\",side=\"server\"}") >= 1.0);
    assert!(value("daprd_socket_sent_bytes_total{app_id=\"c\",side=\"client\"}") > 1000.0);
    assert!(value("daprd_socket_received_bytes_total{app_id=\"c\",side=\"server\"}") > 1000.0);
    let picks = text
        .lines()
        .filter(|line| line.starts_with("daprd_endpoint_picks_total{app_id=\"c\",endpoint=\""))
        .find(|line| line.contains("target=\"s\""));
    assert!(picks.is_some_and(|line| line.ends_with(" 13")), "{picks:?}");
    assert!(!text.contains("daprd_tls_handshakes_total"), "there was none");
}

#[tokio::test]
async fn what_waits_for_the_app_and_who_is_gone() {
    let mesh = Mesh::new();
    let gate = Arc::new(Semaphore::new(0));
    let app = {
        let gate = Arc::clone(&gate);
        HttpApp::start(Protocol::Http, move |request| {
            let gate = Arc::clone(&gate);
            async move {
                if request.uri().path() == "/wait" {
                    gate.acquire().await.unwrap().forget();
                }
                text(200, "ok")
            }
        })
        .await
    };
    let other = HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await;
    let caller = mesh.sidecar("c").app_port(other.port).start().await;
    let callee = mesh
        .sidecar("s")
        .app_port(app.port)
        .arg("--app-max-concurrency=1")
        .start()
        .await;
    let url = caller.url("/v1.0/invoke/s/method/wait");
    let calls: Vec<_> = (0..3).map(|_| tokio::spawn(reqwest::get(url.clone()))).collect();
    for line in [
        r#"daprd_app_concurrency_limit{app_id="s"} 1"#,
        r#"daprd_app_calls_in_flight{app_id="s"} 1"#,
        r#"daprd_app_calls_waiting{app_id="s"} 2"#,
        r#"daprd_requests_in_flight{api="internal",app_id="s"} 3"#,
    ] {
        shows_line(&callee, line).await;
    }
    for line in [
        r#"daprd_calls_in_flight{app_id="c",target="s"} 3"#,
        r#"daprd_requests_in_flight{api="http",app_id="c"} 3"#,
    ] {
        shows_line(&caller, line).await;
    }
    gate.add_permits(3);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    shows_line(&callee, r#"daprd_app_calls_waiting{app_id="s"} 0"#).await;
    drop(callee);
    eventually("an attempt that reaches nobody", || async {
        let _ = reqwest::get(caller.url("/v1.0/invoke/s/method/ok")).await;
        let text = scrape(&caller).await;
        text.contains(r#"daprd_attempts_total{app_id="c",outcome="unreachable",target="s"}"#)
            && !text.contains(
                "daprd_endpoint_ejections_total{app_id=\"c\",reason=\"unreachable\",target=\"s\"} 0\n",
            )
    })
    .await;
}

#[tokio::test]
async fn they_can_be_switched_off_while_the_sidecar_runs() {
    let spec = |daprd: &str| format!("  daprd: {{metrics: {daprd}}}\n");
    let mesh = Mesh::with_configuration(&spec("{}"));
    let daprd = mesh.sidecar("a").start().await;
    let shows_own = || async { scrape(&daprd).await.contains("\ndaprd_") };
    assert!(shows_own().await);
    let file = mesh.args()[0].trim_start_matches("--config=").to_owned();
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        before.replace("{metrics: {}}", "{metrics: {enabled: false}}"),
    )
    .unwrap();
    eventually("the families are gone", || async { !shows_own().await }).await;
    reqwest::get(daprd.url("/v1.0/metadata")).await.unwrap();
    eventually("those of Dapr are there", || async {
        scrape(&daprd).await.contains("dapr_http_server_request_count")
    })
    .await;
}

#[tokio::test]
async fn mistakes_name_file_and_field() {
    for (spec, wanted) in [
        ("{metrics: {enabled: 7}}", "spec.daprd.metrics.enabled"),
        ("{metrics: {endpoint: true}}", "unknown field"),
        ("{metric: {}}", "unknown field"),
    ] {
        let mesh = Mesh::with_configuration(&format!("  daprd: {spec}\n"));
        let mut args = mesh.args();
        args.push("--app-id=a".to_owned());
        let exit = run_daprd(args).await;
        assert_eq!(exit.code, Some(1), "{spec}");
        let said = exit.stdout;
        assert!(
            said.contains(wanted) && said.contains("config.yaml"),
            "{spec}: {said}"
        );
    }
}
