//! What must not be served with.

use serde_json::json;

use super::Stage;

/// Starts a sidecar that is to refuse its component, and gives what it said.
pub(super) async fn refused(stage: &Stage) -> String {
    let exit = stage.sidecar("me").without_waiting().start().await.exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    exit.stdout
}

#[tokio::test]
async fn what_is_not_part_of_this_build_is_refused_by_name() {
    for kind in ["sentinel"] {
        let stage = Stage::new(&[("guard", kind)], &[]);
        stage.middleware("guard", kind, &[]);
        let said = refused(&stage).await;
        let wanted = format!(
            "HTTP middleware middleware.http.{kind}/v1 is not part of this build of daprd-rs, and serving without it \
             is not safe: the binary daprd-full has all that there are"
        );
        assert!(said.contains(&wanted), "{said}");
    }
}

#[tokio::test]
async fn it_is_refused_although_its_errors_are_to_be_ignored() {
    let stage = Stage::new(&[("guard", "sentinel")], &[]);
    stage.component(&json!({
        "name": "guard", "type": "middleware.http.sentinel", "version": "v1", "metadata": [], "ignoreErrors": true,
    }));
    let said = refused(&stage).await;
    assert!(said.contains("is not part of this build of daprd-rs"), "{said}");
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_an_error() {
    let stage = Stage::new(&[("check", "routerchecker")], &[]);
    let folder = stage.mesh.folder().join("resources");
    std::fs::create_dir_all(&folder).unwrap();
    let text = "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: check\nspec:\n  type: \
                middleware.http.routerchecker\n  version: v1\n  metadata:\n  - name: rule\n    secretKeyRef: {name: \
                rule, key: rule}\nauth:\n  secretStore: nowhere\n";
    std::fs::write(folder.join("check.yaml"), text).unwrap();
    let said = refused(&stage).await;
    assert!(said.contains("nowhere"), "{said}");
}
