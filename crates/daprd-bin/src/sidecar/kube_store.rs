//! The secrets of Kubernetes as a component that nobody has to declare.
//!
//! The operator reads the secrets that resources refer to, so this sidecar never asks Kubernetes for one. What is left
//! is what a start depends on: whether there are credentials for Kubernetes at all.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use resources::{Component, Head, MAX_FILE, first_document};
use serde_json::Value;
use thiserror::Error;

const KIND: &str = "secretstores.kubernetes";
const SERVICE_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Credentials for Kubernetes that are not there.
#[derive(Debug, Error)]
pub(super) enum CredentialsError {
    /// There is no file with them.
    #[error("error loading config file \"{}\": {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Nobody says where the file is.
    #[error("no credentials for Kubernetes: this is no pod, and neither KUBECONFIG nor HOME is set")]
    Nowhere,
}

/// The component.
pub(super) fn component() -> Component {
    Component {
        head: Head {
            name: "kubernetes".to_owned(),
            ..Head::default()
        },
        kind: KIND.to_owned(),
        version: "v1".to_owned(),
        ..Component::default()
    }
}

/// Whether a component is such a store.
pub fn is_one(component: &Component) -> bool {
    component.kind.eq_ignore_ascii_case(KIND)
}

/// Looks for credentials where clients of Kubernetes look: those of the pod, else a file.
pub(super) fn check_credentials() -> Result<(), CredentialsError> {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_pod = is_set("KUBERNETES_SERVICE_HOST") && is_set("KUBERNETES_SERVICE_PORT");
    if is_pod && fs::metadata(SERVICE_TOKEN).is_ok() {
        return Ok(());
    }
    let path = match (env::var_os("KUBECONFIG"), env::var_os("HOME")) {
        (Some(path), _) if !path.is_empty() => PathBuf::from(path),
        (_, Some(home)) if !home.is_empty() => Path::new(&home).join(".kube/config"),
        _ => return Err(CredentialsError::Nowhere),
    };
    read(&path).map_err(|reason| CredentialsError::File { path, reason })
}

fn read(path: &Path) -> Result<(), String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_FILE {
        return Err(format!(
            "the file has {length} bytes, at most {MAX_FILE} are read"
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    check(&first_document(&text).map_err(|error| error.to_string())?)
}

/// Follows the current context to the address of a cluster.
fn check(config: &Value) -> Result<(), String> {
    if !config.is_object() {
        return Err("it is no map".to_owned());
    }
    let current = config["current-context"].as_str().unwrap_or_default();
    if current.is_empty() {
        return Err("current-context: there is none".to_owned());
    }
    let named = |list: &str, name: &str| -> Result<&Value, String> {
        let items = config[list].as_array().into_iter().flatten();
        items
            .into_iter()
            .find(|item| item["name"] == name)
            .ok_or_else(|| format!("{list}: {name:?} is not among them"))
    };
    let cluster = named("contexts", current)?["context"]["cluster"]
        .as_str()
        .unwrap_or_default();
    match named("clusters", cluster)?["cluster"]["server"].as_str() {
        Some(server) if !server.is_empty() => Ok(()),
        _ => Err(format!("clusters: {cluster:?} has no server")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let context = "current-context: c\ncontexts:\n- {name: c, context: {cluster: k}}\n";
        for (text, wanted) in [
            (
                format!("{context}clusters:\n- {{name: k, cluster: {{server: https://h}}}}\n"),
                Ok(()),
            ),
            ("not a valid kubeconfig".to_owned(), Err("it is no map")),
            (String::new(), Err("it is no map")),
            ("clusters: []\n".to_owned(), Err("current-context: there is none")),
            (
                "current-context: c\ncontexts: 5\n".to_owned(),
                Err("contexts: \"c\" is not among them"),
            ),
            (context.to_owned(), Err("clusters: \"k\" is not among them")),
            (
                format!("{context}clusters:\n- {{name: k}}\n"),
                Err("clusters: \"k\" has no server"),
            ),
        ] {
            let config = first_document(&text).unwrap();
            assert_eq!(check(&config), wanted.map_err(str::to_owned), "{text}");
        }
    }
}
