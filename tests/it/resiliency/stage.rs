//! Sidecars with policies.

use integration_tests::{Daprd, DaprdBuilder, Mesh};

/// A mesh whose sidecars have folders of resources.
pub(super) struct Stage {
    pub(super) mesh: Mesh,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { mesh: Mesh::new() }
    }

    /// A sidecar with these resources, each a file.
    pub(super) fn sidecar(&self, app_id: &str, resources: &[&str]) -> DaprdBuilder {
        let folder = self.mesh.folder().join(format!("resources-{app_id}"));
        std::fs::create_dir(&folder).unwrap();
        for (index, text) in resources.iter().enumerate() {
            std::fs::write(folder.join(format!("r{index}.yaml")), text).unwrap();
        }
        self.mesh
            .sidecar(app_id)
            .arg(format!("--resources-path={}", folder.display()))
    }
}

/// A resource with this `spec`, indented by two.
pub(super) fn resiliency(spec: &str) -> String {
    format!("apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata:\n  name: policies\nspec:\n{spec}\n")
}

/// What came back of a call of the HTTP API: the status and the body, and whether that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) is_whole: bool,
}

/// Calls a method with a body.
pub(super) async fn post(caller: &Daprd, target: &str, method: &str, body: reqwest::Body) -> Answer {
    let url = caller.invoke_url(target, method);
    let mut response = reqwest::Client::new().post(url).body(body).send().await.unwrap();
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    let is_whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    Answer {
        status,
        body: String::from_utf8(bytes).unwrap(),
        is_whole,
    }
}
