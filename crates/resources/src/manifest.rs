//! Manifests: which resource a document is, and for whom.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use figment::Figment;
use go_text::io_words;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::component::Component;
use crate::configuration::Layer;
use crate::field_error::FieldError;
use crate::folders::Folders;
use crate::http_endpoint::HttpEndpoint;
use crate::yaml::resource_documents;

pub(crate) const API_VERSION: &str = "dapr.io/v1alpha1";

/// A kind of resource.
pub trait Resource: Clone + Sized + DeserializeOwned {
    /// `Component`, `HTTPEndpoint` …
    const KIND: &'static str;

    /// What every manifest has.
    fn head(&self) -> &Head;

    /// How the log and errors name it.
    fn log_name(&self) -> String;

    /// The resource of a manifest, if it is one of this kind.
    fn of(manifest: &Manifest) -> Option<&Arc<Self>>;
}

/// What every manifest has besides its `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`; empty for any.
    pub namespace: String,
    /// Which apps may use it; empty for all.
    pub scopes: Vec<String>,
    /// `auth.secretStore`.
    pub secret_store: String,
}

/// Which manifests are for this sidecar.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// The namespace of the sidecar; empty when it has none, and then every namespace will do.
    pub namespace: &'a str,
    /// The app id.
    pub app_id: &'a str,
}

impl Filter<'_> {
    pub(crate) fn is_of_namespace(&self, head: &Head) -> bool {
        self.namespace.is_empty() || head.namespace.is_empty() || head.namespace == self.namespace
    }

    pub(crate) fn is_in_scope(&self, head: &Head) -> bool {
        head.scopes.is_empty() || head.scopes.iter().any(|scope| scope == self.app_id)
    }

    /// Whether a resource is for this sidecar.
    pub(crate) fn admits(&self, head: &Head) -> bool {
        self.is_of_namespace(head) && self.is_in_scope(head)
    }
}

/// What was found in folders.
#[derive(Debug)]
pub struct Loaded<R> {
    /// The resources for this sidecar, in the order of folders, files and documents.
    pub resources: Vec<Arc<R>>,
    /// What is wrong with files and documents that were left out.
    pub warnings: Vec<String>,
}

/// Folders that cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A folder is not there, or cannot be read.
    #[error("open {}: {}", .path.display(), io_words(.source))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Two manifests of one kind have the same name.
    #[error("{}", .0.join("\n"))]
    Duplicates(Vec<String>),
}

/// Reads all manifests of one kind, once. A file or document that cannot be used is told and left out; the others load.
pub fn load_resources<R: Resource>(folders: &[String], filter: Filter<'_>) -> Result<Loaded<R>, LoadError> {
    Folders::read(folders, None).load(filter)
}

/// A resource in a folder. Cloning shares it.
#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// A component.
    Component(Arc<Component>),
    /// An endpoint outside of the mesh.
    HttpEndpoint(Arc<HttpEndpoint>),
    /// A configuration. Those of a sidecar are named by `--config`: here it has no effect.
    Configuration(Inert),
}

/// A resource that has no effect, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Inert {
    /// `metadata.name`.
    pub name: String,
    /// The document, keys in lower case.
    content: Value,
}

impl Manifest {
    /// Kind and name, by which it is known from one reading to the next.
    pub(crate) fn identity(&self) -> (&'static str, &str) {
        match self {
            Self::Component(component) => (Component::KIND, &component.head.name),
            Self::HttpEndpoint(endpoint) => (HttpEndpoint::KIND, &endpoint.head.name),
            Self::Configuration(inert) => (CONFIGURATION, &inert.name),
        }
    }
}

/// A document of a file, as far as it is one for sidecars.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A resource.
    Resource(Manifest),
    /// Something that somebody wrote for a sidecar, and that no sidecar reads; why.
    Strange(String),
    /// A document that is no such resource, whose kind is known or not; the text names the field.
    Broken(Option<&'static str>, String),
}

/// The documents of a text. `origin` is how errors name it.
pub(crate) fn entries(origin: &str, text: &str) -> Vec<Entry> {
    let documents = resource_documents(text);
    let entries = documents.map(|document| match document {
        Ok(document) => entry(origin, document),
        Err(error) => Some(Entry::Broken(None, error.to_string())),
    });
    entries.flatten().collect()
}

/// What a document is, if it is anything to sidecars.
pub(crate) fn entry(origin: &str, document: Value) -> Option<Entry> {
    let document = lower_keys(document);
    if document["apiversion"] == API_VERSION {
        match document["kind"].as_str() {
            Some(Component::KIND) => return Some(resource(origin, document, Manifest::Component)),
            Some(HttpEndpoint::KIND) => return Some(resource(origin, document, Manifest::HttpEndpoint)),
            Some(CONFIGURATION) => {
                let name = document["metadata"]["name"].as_str().unwrap_or_default();
                return Some(Entry::Resource(Manifest::Configuration(Inert {
                    name: name.to_owned(),
                    content: document,
                })));
            }
            _ => {}
        }
    }
    strange(&document).map(Entry::Strange)
}

fn resource<R: Resource>(origin: &str, document: Value, manifest: fn(Arc<R>) -> Manifest) -> Entry {
    match typed(origin, document) {
        Ok(resource) => Entry::Resource(manifest(Arc::new(resource))),
        Err(error) => Entry::Broken(Some(R::KIND), error.to_string()),
    }
}

pub(crate) const CONFIGURATION: &str = "Configuration";

/// The kinds of resources that Dapr has.
pub(crate) const KINDS: [&str; 7] = [
    "Component",
    "Configuration",
    "HTTPEndpoint",
    "MCPServer",
    "Resiliency",
    "Subscription",
    "WorkflowAccessPolicy",
];

/// Why a document is no resource, although it looks as if it were meant to be one. Dapr's `daprd` says nothing, and
/// whoever wrote it wonders where it is.
pub(crate) fn strange(document: &Value) -> Option<String> {
    let Some(fields) = document.as_object() else {
        return (!document.is_null()).then(|| "a document has no fields".to_owned());
    };
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let cloud = if fields.contains_key("componenttype") {
        "; this one, with componentType, is that of a cloud"
    } else {
        ""
    };
    match (text("apiversion"), text("kind")) {
        (_, None) | (None, _) => Some(format!(
            "a document is no resource, since it has not both apiVersion and kind (a manifest begins with \
             \"apiVersion: {API_VERSION}\" and \"kind: Component\"{cloud})"
        )),
        (Some(API_VERSION), Some(kind)) if !KINDS.contains(&kind) => {
            let meant = KINDS.iter().find(|known| known.eq_ignore_ascii_case(kind));
            let meant = meant.map_or_else(String::new, |known| format!(", but {known} is"));
            Some(format!("{kind:?} is no kind of resource{meant}"))
        }
        // Subscriptions have another version, too; they are none of ours.
        (Some(version), Some(kind))
            if version != API_VERSION && version.starts_with("dapr.io/") && kind != "Subscription" =>
        {
            Some(format!(
                "a {kind} is of the version {version:?}, and only {API_VERSION} is read"
            ))
        }
        _ => None,
    }
}

/// A document whose keys are in lower case as a resource; an error names `origin` and the field.
pub(crate) fn typed<R: Resource>(origin: &str, document: Value) -> Result<R, Box<FieldError>> {
    let layer = Layer {
        name: origin.to_owned(),
        value: document,
    };
    let resource: R = Figment::from(layer)
        .extract()
        .map_err(|error| Box::new(error.into()))?;
    let name = &resource.head().name;
    if let Some(why) = wrong_name(name) {
        let path = ["metadata", "name"].map(str::to_owned).into();
        return Err(Box::new(FieldError::new(
            path,
            format!("Dapr refuses the name {name:?}"),
            format!("invalid name {} for {:?}: {why}", go_text::quote(name), R::KIND),
        )));
    }
    Ok(resource)
}

/// Why a name cannot be one, in Kubernetes' words: it stands in the paths of its API.
fn wrong_name(name: &str) -> Option<&'static str> {
    match name {
        "." => Some("may not be '.'"),
        ".." => Some("may not be '..'"),
        _ if name.contains('/') => Some("may not contain '/'"),
        _ if name.contains('%') => Some("may not contain '%'"),
        _ => None,
    }
}

/// Keys of resources are matched without regard to case. What stands below `value` is the user's own.
pub(crate) fn lower_keys(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let lowered = map.into_iter().map(|(key, value)| {
                let key = key.to_lowercase();
                let value = if key == "value" { value } else { lower_keys(value) };
                (key, value)
            });
            Value::Object(lowered.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(lower_keys).collect()),
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Component;

    fn load(files: &[(&str, &str)], namespace: &str) -> Result<Loaded<Component>, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let path = folder.path().display().to_string();
        let filter = Filter {
            namespace,
            app_id: "me",
        };
        let loaded = load_resources::<Component>(std::slice::from_ref(&path), filter);
        loaded
            .map(|loaded| Loaded {
                warnings: loaded
                    .warnings
                    .iter()
                    .map(|text| text.replace(&path, "DIR"))
                    .collect(),
                ..loaded
            })
            .map_err(|error| error.to_string())
    }

    fn component(name: &str, rest: &str) -> String {
        format!("apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\n{rest}")
    }

    fn names(loaded: &Loaded<Component>) -> Vec<String> {
        loaded.resources.iter().map(|one| one.log_name()).collect()
    }

    #[test]
    fn documents_that_no_sidecar_reads() {
        let missing = |cloud: &str| {
            format!(
                "a document is no resource, since it has not both apiVersion and kind (a manifest begins with \
                 \"apiVersion: dapr.io/v1alpha1\" and \"kind: Component\"{cloud})"
            )
        };
        for (text, wanted) in [
            (
                "componentType: state.redis\nversion: v1\n",
                Some(missing("; this one, with componentType, is that of a cloud")),
            ),
            ("metadata: {name: x}\n", Some(missing(""))),
            ("kind: Component\n", Some(missing(""))),
            ("just words\n", Some("a document has no fields".to_owned())),
            (
                "apiVersion: dapr.io/v1alpha1\nkind: component\n",
                Some("\"component\" is no kind of resource, but Component is".to_owned()),
            ),
            (
                "apiVersion: dapr.io/v1alpha1\nkind: Sidecar\n",
                Some("\"Sidecar\" is no kind of resource".to_owned()),
            ),
            (
                "apiVersion: dapr.io/v1\nkind: Component\n",
                Some(
                    "a Component is of the version \"dapr.io/v1\", and only dapr.io/v1alpha1 is read"
                        .to_owned(),
                ),
            ),
            ("apiVersion: dapr.io/v1alpha1\nkind: Resiliency\n", None),
            ("apiVersion: dapr.io/v2alpha1\nkind: Subscription\n", None),
            ("apiVersion: apps/v1\nkind: Deployment\n", None),
        ] {
            let loaded = load(&[("x.yaml", text)], "").unwrap();
            let wanted: Vec<_> = wanted
                .map(|why| format!("DIR/x.yaml: {why}, it will not be loaded"))
                .into_iter()
                .collect();
            assert_eq!(loaded.warnings, wanted, "{text}");
            assert!(loaded.resources.is_empty());
        }
    }

    #[test]
    fn files_and_documents_in_order() {
        let spec = "spec: {type: state.in-memory, version: v1}\n";
        let both = format!(
            "{}--- # next\n{}",
            component("b", spec),
            component("123", "Spec: {Type: a.b}\n")
        );
        let loaded = load(
            &[
                ("2.yml", &component("c", spec)),
                ("1.YAML", &both),
                ("notes.txt", "x"),
                (
                    "3.yaml",
                    "kind: Component\napiVersion: other/v1\n---\n\n---\n# nothing\n",
                ),
            ],
            "",
        )
        .unwrap();
        assert_eq!(
            names(&loaded),
            ["b (state.in-memory/v1)", "123 (a.b)", "c (state.in-memory/v1)"]
        );
        assert_eq!(
            loaded.warnings,
            ["A non-YAML Component file notes.txt was detected, it will not be loaded"]
        );
    }

    #[test]
    fn a_document_that_is_wrong_spoils_no_other() {
        let text = format!(
            "{}---\na: b: c\n---\n{}---\n{}",
            component("a/b", ""),
            component("x", "spec: {metadata: 5}\n"),
            component("good", "scopes: [me]\n")
        );
        let loaded = load(&[("all.yaml", &text)], "").unwrap();
        assert_eq!(names(&loaded), ["good ()"]);
        assert_eq!(loaded.warnings.len(), 3, "{:?}", loaded.warnings);
        for warning in &loaded.warnings {
            let begin = "daprd load Component error when parsing manifests yaml resource in DIR/all.yaml: ";
            assert!(warning.starts_with(begin), "{warning}");
        }
        assert!(
            loaded.warnings[2].contains("spec"),
            "the field is named: {}",
            loaded.warnings[2]
        );
    }

    #[test]
    fn scopes_and_namespaces() {
        let files = [
            ("1.yaml", component("a", "scopes: [you]\n")),
            ("2.yaml", component("a", "scopes: [you, me]\n")),
            (
                "3.yaml",
                component("b", "").replace("name: b", "name: b\n  namespace: far"),
            ),
            (
                "4.yaml",
                component("b", "").replace("name: b", "name: b\n  namespace: here"),
            ),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let loaded = load(&files, "here").unwrap();
        assert_eq!(
            names(&loaded),
            ["a ()", "b ()"],
            "what is not for this app conflicts with nothing"
        );
        let error = load(&files, "").unwrap_err();
        assert_eq!(
            error,
            "duplicate definition of Component name b () with existing b ()"
        );
    }

    #[test]
    fn a_folder_that_is_not_there() {
        let filter = Filter {
            namespace: "",
            app_id: "me",
        };
        let error = load_resources::<Component>(&["/nowhere".to_owned()], filter).unwrap_err();
        assert!(error.to_string().starts_with("open /nowhere: "), "{error}");
    }

    #[test]
    fn values() {
        let text = component(
            "a",
            "spec:\n  type: x.y\n  metadata:\n  - {name: A, value: 5}\n  - name: b\n    value: {K: [1]}\n  - {name: c, \
             secretKeyRef: {name: s, key: k}}\n  - {name: d, envRef: E}\n",
        );
        let loaded = load(&[("a.yaml", &text)], "").unwrap();
        let component = &loaded.resources[0];
        assert_eq!(component.value("a"), Some("5"));
        assert_eq!(component.value("B"), Some("{\"K\":[1]}"));
        assert_eq!(component.metadata[2].secret.name, "s");
        assert_eq!(component.metadata[3].variable, "E");
        assert_eq!(component.category(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_judged(text in "[a-c:\\-\\[\\]{}&*\"\\n ]{0,80}") {
            let _ = entries("x", &text);
        }
    }
}
