//! What must not be served with.

use super::Stage;

/// Starts a sidecar that is to refuse its component, and gives what it said.
pub(super) async fn refused(stage: &Stage) -> String {
    let exit = stage.sidecar("me").without_waiting().start().await.exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    exit.stdout
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
