//! Middleware, in front of the API and in front of the app.

mod edge;
mod login;
mod pipelines;
mod recorded;
mod refused;
mod sentinel;
mod tokens;
mod wasm;

use std::fmt::Write as _;

use integration_tests::{Daprd, DaprdBuilder, Mesh, eventually};
use serde_json::{Value, json};

/// A mesh with a folder of resources.
struct Stage {
    mesh: Mesh,
}

impl Stage {
    /// With these pipelines in the configuration: name and type of each handler.
    fn new(http: &[(&str, &str)], app: &[(&str, &str)]) -> Self {
        let handlers = |handlers: &[(&str, &str)]| {
            let handler = |(name, kind): &(&str, &str)| json!({"name": name, "type": format!("middleware.http.{kind}")});
            handlers.iter().map(handler).collect::<Value>()
        };
        Self {
            mesh: Mesh::with_configuration(&pipelines(&handlers(http), &handlers(app))),
        }
    }

    /// Adds a component: `name`, `type`, `version`, `metadata` as pairs, `ignoreErrors`.
    fn component(&self, component: &Value) {
        let items = component["metadata"].as_array().unwrap().iter();
        let items: Vec<Value> = items
            .map(|item| json!({"name": item[0], "value": item[1]}))
            .collect();
        let resource = json!({
            "apiVersion": "dapr.io/v1alpha1",
            "kind": "Component",
            "metadata": {"name": component["name"]},
            "spec": {
                "type": component["type"],
                "version": component["version"],
                "ignoreErrors": component["ignoreErrors"] == true,
                "metadata": items,
            },
        });
        let folder = self.mesh.folder().join("resources");
        std::fs::create_dir_all(&folder).unwrap();
        let file = format!("{}.yaml", component["name"].as_str().unwrap());
        std::fs::write(folder.join(file), resource.to_string()).unwrap();
    }

    /// The same for a component of the first version.
    fn middleware(&self, name: &str, kind: &str, metadata: &[(&str, &str)]) -> &Self {
        let kind = format!("middleware.http.{kind}");
        self.component(&json!({"name": name, "type": kind, "version": "v1", "metadata": metadata}));
        self
    }

    fn sidecar(&self, app_id: &str) -> DaprdBuilder {
        let folder = self.mesh.folder().join("resources");
        std::fs::create_dir_all(&folder).unwrap();
        self.mesh
            .sidecar(app_id)
            .arg(format!("--resources-path={}", folder.display()))
    }
}

/// Starts a sidecar whose middleware may stand in the way of whoever asks the API how it is.
async fn started(sidecar: DaprdBuilder) -> Daprd {
    let sidecar = sidecar.without_waiting().start().await;
    let health = format!("http://127.0.0.1:{}/v1.0/healthz", sidecar.public_port);
    eventually("the sidecar is up", || async {
        reqwest::get(&health)
            .await
            .is_ok_and(|answer| answer.status() == 204)
    })
    .await;
    sidecar
}

/// The pipelines of a configuration; lists of `name`, `type` and perhaps `version`.
fn pipelines(http: &Value, app: &Value) -> String {
    let mut text = String::new();
    for (field, handlers) in [("httpPipeline", http), ("appHttpPipeline", app)] {
        if handlers.as_array().is_some_and(|handlers| !handlers.is_empty()) {
            writeln!(text, "  {field}: {}", json!({"handlers": handlers})).unwrap();
        }
    }
    text
}
