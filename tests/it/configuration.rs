//! Configuration files: mistakes with their place, and files that mean harm.

use std::fmt::Write as _;
use std::process::Stdio;

use integration_tests::{DaprdBuilder, Mesh, PATIENCE, daprd_binary};

/// What a start with this file says last, and how it ends. The address space of the process is bounded (in KiB), so
/// that a file which unfolds to gigabytes would end it otherwise.
async fn start_with(content: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.yaml");
    std::fs::write(&path, content).unwrap();
    let output = tokio::process::Command::new("sh")
        .args(["-c", "ulimit -v 1000000; exec \"$@\"", "sh"])
        .arg(daprd_binary())
        .args([
            "--app-id=x",
            "--enable-metrics=false",
            "--dapr-listen-addresses=127.0.0.1",
        ])
        .args([
            format!("--dapr-http-port={}", integration_tests::free_port()),
            format!("--dapr-grpc-port={}", integration_tests::free_port()),
            format!("--config={}", path.display()),
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.expect("the start ends in time").expect("sh starts");
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = log.lines().last().unwrap_or_default().to_owned();
    (
        output.status.code(),
        last + &String::from_utf8_lossy(&output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_told_with_its_place() {
    for (content, places) in [
        ("spec: [", vec!["mine.yaml", "yaml: ", "line 1"]),
        ("spec:\n  a: b: c\n", vec!["mine.yaml", "yaml: ", "line 2"]),
        (
            "spec:\n  metric: {}\n  metric: {}\n",
            vec!["mine.yaml", "metric", "line 3"],
        ),
        ("spec:\n\ttracing: {}\n", vec!["mine.yaml", "yaml: ", "line 2"]),
        (
            "spec:\n  tracing: [a]\n",
            vec!["mine.yaml", "spec.tracing", "found sequence"],
        ),
        ("spec: 7\n", vec!["mine.yaml", "spec", "found"]),
        (
            "spec:\n  metric:\n    enabled: maybe\n",
            vec!["mine.yaml", "spec.metric.enabled", "maybe"],
        ),
        (
            "spec:\n  features:\n  - name: A\n    enabled: true\n  - name: B\n    enabled: 7\n",
            vec!["mine.yaml", "spec.features.1.enabled", "expected true or false"],
        ),
        (
            "spec:\n  httpPipeline:\n    handlers: {name: x}\n",
            vec!["mine.yaml", "spec.httpPipeline.handlers"],
        ),
        (
            "spec:\n  nameResolution:\n    component: [x]\n",
            vec!["mine.yaml", "spec.nameResolution.component"],
        ),
        (
            "spec:\n  logging:\n    apiLogging: on\n",
            vec!["mine.yaml", "spec.logging.apiLogging"],
        ),
        (
            "spec:\n  secrets:\n    scopes:\n    - storeName: s\n    - storeName: s\n",
            vec!["s storeName is repeated in secrets configuration"],
        ),
    ] {
        let (code, last) = start_with(content).await;
        assert_eq!(code, Some(1), "{content:?}: {last}");
        assert!(last.contains("level=fatal"), "{content:?}: {last}");
        assert!(!last.contains("default.spec"), "{content:?}: {last}");
        assert!(!last.contains("\\n"), "more than a line: {content:?}: {last}");
        assert!(
            last.contains("Fatal error from runtime: error loading configuration: "),
            "{content:?}: {last}"
        );
        for place in places {
            assert!(last.contains(place), "{content:?}: {place:?} is not in {last}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_means_harm_is_refused_at_once() {
    const MIB: usize = 1 << 20;
    let staircase = |lines: usize| -> String {
        let mut text = String::new();
        for depth in 0..lines {
            text.push_str(&" ".repeat(depth));
            text.push_str("a:\n");
        }
        text
    };
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..20 {
        let below = vec![format!("*a{}", level - 1); 10].join(",");
        let _ = writeln!(laughs, "a{level}: &a{level} [{below}]");
    }
    for (what, content) in [
        ("a MiB of deeper and deeper lines", staircase(1447)),
        ("a MiB of brackets", "[".repeat(MIB)),
        ("a MiB of braces", "{a: ".repeat(MIB / 4)),
        ("a MiB of dashes", "- ".repeat(MIB / 2)),
        ("a MiB of question marks", "? ".repeat(MIB / 2)),
        ("aliases of aliases", laughs),
        ("a file that is too long", format!("# {}\n", "x".repeat(5 * MIB))),
        ("an endless text", format!("spec: \"{}", "x".repeat(MIB))),
        ("no text at all", "\u{0}\u{1}\u{2}".repeat(1000)),
    ] {
        let (code, last) = start_with(&content).await;
        let last: String = last.chars().take(400).collect();
        assert_eq!(code, Some(1), "{what}: {last}");
        assert!(
            last.contains("Fatal error from runtime: error loading configuration: "),
            "{what}: {last}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_that_means_no_harm_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let mut text = String::from("spec:\n  features:\n");
    for number in 0..10_000 {
        let _ = writeln!(
            text,
            "  - {{name: Feature{number}, enabled: true}} # [not] a {{bracket"
        );
    }
    std::fs::write(&path, text).unwrap();
    let mesh = Mesh::new();
    let sidecar = mesh
        .sidecar("x")
        .arg(format!("--config={}", path.display()))
        .start()
        .await;
    let metadata = reqwest::get(sidecar.url("/v1.0/metadata"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metadata.contains("Feature9999"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_cannot_be_set_up_is_told_and_lived_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let app = integration_tests::HttpApp::echo(integration_tests::Protocol::Http).await;
    for (resolver, told) in [
        (
            "component: nope",
            "[CREATE_COMPONENT_FAILURE]: initialization error occurred for nr (nope/v1): couldn't find name resolver nope/v1",
        ),
        (
            "component: sqlite",
            "[INIT_COMPONENT_FAILURE]: initialization error occurred for nr (sqlite/v1): ",
        ),
        (
            "component: sqlite\n    configuration: {connectionString: /nowhere/at/all.db}",
            "[INIT_COMPONENT_FAILURE]: initialization error occurred for nr (sqlite/v1): ",
        ),
        (
            "component: nameformat\n    configuration: {format: no-place-for-it}",
            "[INIT_COMPONENT_FAILURE]: initialization error occurred for nr (nameformat/v1): ",
        ),
    ] {
        std::fs::write(&path, format!("spec:\n  nameResolution:\n    {resolver}\n")).unwrap();
        let sidecar = DaprdBuilder::new("x")
            .app_port(app.port)
            .arg(format!("--config={}", path.display()))
            .start()
            .await;
        assert!(sidecar.log().contains(told), "{told} is not in {}", sidecar.log());
        let text = async |id: &str| {
            let answer = reqwest::get(sidecar.invoke_url(id, "m")).await.unwrap();
            answer.text().await.unwrap()
        };
        assert_eq!(
            text("other").await,
            r#"{"errorCode":"ERR_DIRECT_INVOKE","message":"failed to invoke, id: other, err: name resolver not initialized"}"#
        );
        assert!(
            text("x").await.contains("\"target\":\"/m\""),
            "the app itself is reached"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_expanded() {
    let mesh = Mesh::new();
    let folder = mesh.folder().join("more.yaml");
    let text =
        "spec:\n  features:\n  - {name: \"${MINE}-$APP_ID-${DAPR_HTTP_PORT}-${UNSET}.\", enabled: true}\n";
    std::fs::write(&folder, text).unwrap();
    let sidecar = mesh
        .sidecar("x")
        .env("MINE", "my")
        .arg(format!("--config={}", folder.display()))
        .start()
        .await;
    let metadata = reqwest::get(sidecar.url("/v1.0/metadata"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let wanted = format!("my-x-{}-.", sidecar.http_port);
    assert!(metadata.contains(&wanted), "{metadata}");
}
