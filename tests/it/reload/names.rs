//! How others are found changes while calls go on.

use std::fs;
use std::path::Path;

use integration_tests::{Daprd, DaprdBuilder, HttpApp, Mesh, Protocol, eventually, text};

use super::Load;

/// A configuration file that is put in place as a whole.
fn configure(file: &Path, names: &str) {
    let beside = file.with_extension("beside");
    let text =
        format!("apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: it\nspec:\n{names}");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, file).unwrap();
}

async fn finds(sidecar: &Daprd, app_id: &str) -> bool {
    let answer = reqwest::get(sidecar.invoke_url(app_id, "m")).await.unwrap();
    answer.status().as_u16() == 200
}

fn times(sidecar: &Daprd, text: &str) -> usize {
    sidecar.log().matches(text).count()
}

/// Sidecars of two registries, and one that goes from the first to the second.
#[tokio::test(flavor = "multi_thread")]
async fn another_registry_takes_the_place_of_the_first() {
    let (first, second) = (Mesh::new(), Mesh::new());
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "fine") }).await;
    let file = first.folder().join("moving.yaml");
    configure(&file, &Mesh::names(first.folder()));
    let moving = DaprdBuilder::new("RN1-one")
        .arg(format!("--config={}", file.display()))
        .app_port(app.port);
    let moving = Mesh::at_home(moving).start();
    let here = first.sidecar("RN1-two").app_port(app.port).start();
    let there = second.sidecar("RN1-two").app_port(app.port).start();
    let (moving, here, there) = tokio::join!(moving, here, there);
    let load = Load::begin(moving.http_port, &["RN1-two"]);
    load.goes_on().await;
    assert!(finds(&here, "RN1-one").await && !finds(&there, "RN1-one").await);

    // What cannot be had changes nothing.
    configure(&file, "  nameResolution:\n    component: nonsense\n");
    moving
        .await_log(
            "The configuration stays as it was: [CREATE_COMPONENT_FAILURE]: initialization error occurred for nr \
             (nonsense/v1): couldn't find name resolver nonsense/v1",
        )
        .await;
    configure(
        &file,
        "  nameResolution:\n    component: sqlite\n    configuration:\n      connectionString: /no/such/folder/names.db\n",
    );
    moving
        .await_log("The configuration stays as it was: [INIT_COMPONENT_FAILURE]: initialization error occurred for nr (sqlite/v1)")
        .await;
    load.goes_on().await;
    assert!(finds(&here, "RN1-one").await);

    configure(&file, &Mesh::names(second.folder()));
    eventually("it is found in the second", || finds(&there, "RN1-one")).await;
    eventually("it has left the first", || async {
        !finds(&here, "RN1-one").await
    })
    .await;
    // It does not need whoever is in the first alone.
    here.stop().await;
    load.goes_on().await;

    // Other settings for the same place: it stays there.
    let longer = Mesh::names(second.folder()) + "      updateInterval: 7s\n";
    configure(&file, &longer);
    eventually("it is registered once more", || async {
        times(&moving, "Initialized name resolution to sqlite") == 3
            && times(&moving, "The changes are in place") >= 2
    })
    .await;
    let new = second.sidecar("RN1-three").start().await;
    assert!(finds(&new, "RN1-one").await);

    // Another resolver, which registers nobody.
    let fixed = format!(
        "  nameResolution:\n    component: static\n    configuration:\n      apps:\n        RN1-two: 127.0.0.1:{}\n",
        there.internal_port
    );
    configure(&file, &fixed);
    eventually("it has left the second", || async {
        !finds(&there, "RN1-one").await
    })
    .await;
    load.goes_on().await;
    assert_eq!(times(&moving, "restarting"), 0, "{}", moving.log());
    load.ends_well().await;
}
