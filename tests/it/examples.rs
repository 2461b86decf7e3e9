//! The examples of the crates do what they say.

use std::process::Output;

use http_body_util::BodyExt;
use integration_tests::{HttpApp, Mesh, PATIENCE, Protocol, Request, example, text};
use tokio::process::Command;

/// Runs an example to its end.
async fn run(package: &'static str, name: &'static str, args: &[&str]) -> Output {
    let program = tokio::task::spawn_blocking(move || example(package, name));
    let mut command = Command::new(program.await.unwrap());
    let output = command.args(args).kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap_or_else(|_| panic!("{name} does not end"))
        .unwrap()
}

/// What it printed; it must end well.
#[track_caller]
fn lines(output: &Output) -> Vec<&str> {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_a_sidecar_calls_an_app() {
    let app = HttpApp::start(Protocol::Http, |request: Request| async move {
        let caller = request.headers().get("dapr-caller-app-id").cloned();
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let caller = caller.unwrap();
        text(
            201,
            format!(
                "{} {path} {}",
                caller.to_str().unwrap(),
                String::from_utf8_lossy(&body)
            ),
        )
    })
    .await;
    let mesh = Mesh::new();
    let sidecar = mesh.sidecar("callee").app_port(app.port).start().await;
    let address = format!("127.0.0.1:{}", sidecar.internal_port);
    let called = run("internal-grpc", "call", &[&address, "callee", "orders", "hello"]).await;
    assert_eq!(lines(&called), ["201", "example /orders hello"]);
    // The id may be a part of the address; this one lacks a port.
    let failed = run("internal-grpc", "call", &["{appid}", "callee", "orders"]).await;
    let error = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success());
    assert!(error.contains("callee") && !error.contains("{appid}"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_composed_by_hand_call_each_other() {
    let output = run("internal-grpc", "by_hand", &[]).await;
    let lines = lines(&output);
    assert_eq!(
        lines,
        [
            "came: Answered(Some(503))",
            "came: Answered(Some(200))",
            "200 hello"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_speed_of_the_balancer_is_measured() {
    let output = run("invoke-core", "balancer_speed", &["--quick"]).await;
    let lines = lines(&output);
    assert!(lines[0].starts_with("a pick from 10000: "), "{lines:?}");
    assert_eq!(lines.len(), 3);
}
