//! The dashboard and the alert rules that come with the documentation ask for what sidecars really show.

use std::collections::BTreeSet;
use std::path::Path;

use integration_tests::sentry::Sentry;
use integration_tests::{HttpApp, Mesh, Protocol, eventually, text};

use super::stage::{Stage, scrape};
use crate::mtls::secured;

/// What is asked for: words of expressions that are names of families.
fn asked(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/monitoring")
        .join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text
        .lines()
        .filter(|line| !line.contains("\"uid\"") && !line.contains("\"tags\""))
        .flat_map(|line| line.split(|character| !is_part(character)));
    words
        .filter(|word| {
            ["dapr_", "daprd_", "process_", "go_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        })
        .map(ToOwned::to_owned)
        .collect()
}

fn names(exposition: &str) -> BTreeSet<String> {
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(ToOwned::to_owned)
        .collect()
}

#[tokio::test]
async fn every_name_that_they_ask_for_exists() {
    let stage = Stage::start("  daprd: {metrics: {endpoints: true}}\n").await;
    stage.call_all().await;
    // A pair with everything that has families of its own: mTLS, a breaker, a limit, an exporter of spans.
    let mesh = Mesh::with_configuration("  tracing: {samplingRate: '1', stdout: true}\n");
    std::fs::create_dir(mesh.folder().join("resources")).unwrap();
    std::fs::write(
        mesh.folder().join("resources/breaker.yaml"),
        "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec:\n  \
         policies: {circuitBreakers: {c: {trip: consecutiveFailures > 9}}}\n  \
         targets: {apps: {two: {circuitBreaker: c}}}\n",
    )
    .unwrap();
    let sentry = Sentry::start().await;
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await;
    let start = |id: &str| {
        secured(mesh.sidecar(id), &sentry)
            .app_port(app.port)
            .arg("--app-max-concurrency=9")
            .arg(format!(
                "--resources-path={}",
                mesh.folder().join("resources").display()
            ))
            .start()
    };
    let (one, _two) = (start("one").await, start("two").await);
    eventually("a call over mTLS", || async {
        reqwest::get(one.invoke_url("two", "x"))
            .await
            .is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let mut shown = names(&scrape(&stage.caller).await);
    shown.extend(names(&scrape(&stage.http).await));
    shown.extend(names(&scrape(&one).await));
    for file in ["dashboard.json", "alerts.yml"] {
        let asked = asked(file);
        assert!(asked.len() > 8, "{file}: {asked:?}");
        let missing: Vec<_> = asked.difference(&shown).collect();
        assert!(
            missing.is_empty(),
            "{file} asks for {missing:?}, of which nobody shows any"
        );
    }
}

#[test]
fn the_dashboard_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring/dashboard.json");
    let text = std::fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = &panel["gridPos"];
        assert!(
            place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24,
            "{panel}"
        );
        if panel["type"] != "row" {
            let expressions = panel["targets"].as_array().unwrap();
            assert!(!expressions.is_empty() && !panel["description"].as_str().unwrap().is_empty());
        }
    }
}
