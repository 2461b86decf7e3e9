//! The files of `--config`, the signal, and the feature.

use std::fs;

use integration_tests::{DaprdBuilder, HttpApp, Mesh, Protocol, eventually};
use rustix::process::Signal;

use super::{Stage, component, listed};

/// Writes the configuration of a mesh anew, with more of `spec`.
fn configure(mesh: &Mesh, spec: &str) {
    let names = mesh.folder().join("names.db");
    let text = format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: it\nspec:\n  nameResolution:\n    \
         component: sqlite\n    configuration:\n      connectionString: {}\n{spec}",
        names.display()
    );
    // Put in place as a whole.
    let beside = mesh.folder().join("beside");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, mesh.folder().join("config.yaml")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_file_takes_effect() {
    let stage = Stage::new("RC1", &[]).await;
    let status = || async {
        let answer = reqwest::get(stage.sidecar.url("/v1.0/metadata")).await.unwrap();
        answer.status().as_u16()
    };
    reqwest::Client::new()
        .put(stage.sidecar.url("/v1.0/metadata/cliPID"))
        .body("7")
        .send()
        .await
        .unwrap();
    assert_eq!(status().await, 200);
    configure(
        &stage.mesh,
        "  api:\n    allowed:\n    - {name: invoke, version: v1.0, protocol: http}\n",
    );
    eventually("the API is closed", || async { status().await != 200 }).await;
    // A mistake changes nothing, and is told with file and field.
    configure(&stage.mesh, "  api: 7\n");
    stage
        .sidecar
        .await_log("The configuration stays as it was: error loading configuration: ")
        .await;
    assert!(
        stage.sidecar.log().contains("spec.api"),
        "{}",
        stage.sidecar.log()
    );
    assert_ne!(status().await, 200);
    configure(&stage.mesh, "  accessControl:\n    policies:\n    - {appId: a}\n");
    stage
        .sidecar
        .await_log("The configuration stays as it was: invalid access control spec.")
        .await;
    configure(&stage.mesh, "  features:\n  - {name: Mine, enabled: true}\n");
    eventually("the API is open", || async { status().await == 200 }).await;
    let metadata = reqwest::get(stage.sidecar.url("/v1.0/metadata"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metadata.contains("\"Mine\"") && metadata.contains("\"cliPID\":\"7\""),
        "{metadata}"
    );
    stage.ends_well().await;
}

/// Files of both kinds and a signal, all at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn two_changes_at_once_are_both_seen() {
    let stage = Stage::new("RC10", &[("a.yaml", &component("a"))]).await;
    for round in 0..5 {
        let name = format!("c{round}");
        configure(
            &stage.mesh,
            &format!("  features:\n  - {{name: F{round}, enabled: true}}\n"),
        );
        stage.write("a.yaml", &component(&name));
        stage.sidecar.signal(Signal::HUP);
        stage.lists_components(&[&name]).await;
        eventually("the configuration", || async {
            let metadata = reqwest::get(stage.sidecar.url("/v1.0/metadata")).await.unwrap();
            metadata.text().await.unwrap().contains(&format!("\"F{round}\""))
        })
        .await;
    }
    stage.ends_well().await;
}

/// A pipeline with a component that is called `alias`.
const PIPELINE: &str =
    "  httpPipeline:\n    handlers:\n    - {name: alias, type: middleware.http.routeralias}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_and_its_components_change_in_place() {
    let alias = |from: &str| {
        format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: alias\nspec:\n  type: \
             middleware.http.routeralias\n  version: v1\n  metadata:\n  - name: routes\n    value: \
             '{{\"{from}\": \"/v1.0/invoke/RC9-one/method/m\"}}'\n"
        )
    };
    let stage = Stage::new("RC9", &[("alias.yaml", &alias("/one"))]).await;
    let finds = |path: &'static str| {
        let url = stage.sidecar.url(path);
        async move { reqwest::get(url).await.unwrap().status().as_u16() == 200 }
    };
    assert!(!finds("/one").await, "nobody names it");
    configure(&stage.mesh, PIPELINE);
    eventually("the component is in the way", || finds("/one")).await;
    stage.write("alias.yaml", &alias("/two"));
    eventually("the component is another one", || finds("/two")).await;
    assert!(!finds("/one").await);
    stage.remove("alias.yaml");
    eventually("the component is gone", || async { !finds("/two").await }).await;
    stage.write("alias.yaml", &alias("/one"));
    eventually("the component is back", || finds("/one")).await;
    configure(&stage.mesh, "");
    eventually("nobody names it any more", || async { !finds("/one").await }).await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured_changes_in_place() {
    let stage = Stage::new("RC2", &[]).await;
    let metrics = || async {
        let url = format!("http://127.0.0.1:{}/metrics", stage.sidecar.metrics_port);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    };
    assert!(
        metrics().await.contains("path=\""),
        "paths are labels unless somebody says otherwise"
    );
    configure(
        &stage.mesh,
        "  metrics:\n    http:\n      increasedCardinality: false\n",
    );
    stage.sidecar.await_log("increasedCardinality\\\":false").await;
    eventually("calls without paths", || async {
        let text = metrics().await;
        text.contains("dapr_http_server_request_count{") && !text.contains("path=\"/v1.0/invoke")
    })
    .await;
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_reads_everything_and_closes_nothing() {
    let stage = Stage::new("RC3", &[("a.yaml", &component("a"))]).await;
    for _ in 0..3 {
        stage.sidecar.signal(Signal::HUP);
    }
    stage
        .sidecar
        .await_log("Received signal 'hangup'; restarting")
        .await;
    eventually("what a start says is said again", || async {
        stage
            .sidecar
            .log()
            .matches("Component a (state.in-memory/v1) is listed")
            .count()
            >= 2
            && stage.sidecar.log().matches("metric spec: ").count() >= 2
    })
    .await;
    assert_eq!(stage.listed().await[0], ["a"]);
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_feature_only_a_hang_up_reads_again() {
    let mesh = Mesh::with_configuration("  features:\n  - {name: HotReload, enabled: false}\n");
    let folder = mesh.folder().join("resources");
    fs::create_dir(&folder).unwrap();
    let app = HttpApp::echo(Protocol::Http).await;
    let sidecar = mesh
        .sidecar("RC4")
        .app_port(app.port)
        .arg(format!("--resources-path={}", folder.display()))
        .arg("--hot-reload-reconcile-interval=50ms")
        .start()
        .await;
    fs::write(folder.join("a.yaml"), component("a")).unwrap();
    fs::write(folder.join("b.yaml"), component("b")).unwrap();
    // Nothing can be waited for that does not come; what comes later shows that it had time enough.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert!(listed(&sidecar).await[0].is_empty());
    sidecar.signal(Signal::HUP);
    eventually("the components", || async {
        listed(&sidecar).await[0] == ["a", "b"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_read_again_from_time_to_time() {
    let mesh = Mesh::new();
    let folder = mesh.folder().join("resources");
    fs::create_dir(&folder).unwrap();
    let sidecar = mesh
        .sidecar("RC5")
        .arg(format!("--resources-path={}", folder.display()))
        .arg("--hot-reload-reconcile-interval=50ms")
        .start()
        .await;
    sidecar.await_log("Running scheduled Component reconcile").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_must_be_there_at_the_start() {
    let sidecar = DaprdBuilder::new("RC6")
        .arg("--resources-path=/no/such/folder")
        .without_waiting()
        .start()
        .await;
    let exit = sidecar.exit().await;
    assert_eq!(exit.code, Some(1));
    let last = "Fatal error from runtime: failed to create watcher: failed to add target /no/such/folder: no such file or \
                directory";
    assert!(exit.stdout.contains(last), "{}", exit.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_among_resources_is_told() {
    let stage = Stage::new("RC7", &[]).await;
    stage.write(
        "c.yaml",
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: mine\nspec:\n  api: 7\n",
    );
    stage
        .sidecar
        .await_log("Received Configuration CREATED event: mine - triggering SIGHUP reload")
        .await;
    stage
        .sidecar
        .await_log("Configuration mine has no effect among resources")
        .await;
    stage.ends_well().await;
}
