//! Resources in folders: every file's documents, filtered as Dapr filters them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use figment::Figment;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::configuration::Layer;
use crate::yaml::{MAX_FILE, resource_documents};

const API_VERSION: &str = "dapr.io/v1alpha1";

/// A kind of resource.
pub trait Resource: Sized + DeserializeOwned {
    /// `Component`, `HTTPEndpoint` …
    const KIND: &'static str;

    /// What every manifest has.
    fn head(&self) -> &Head;

    /// How the log and errors name it.
    fn log_name(&self) -> String;
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
    fn is_of_namespace(&self, head: &Head) -> bool {
        self.namespace.is_empty() || head.namespace.is_empty() || head.namespace == self.namespace
    }

    fn is_in_scope(&self, head: &Head) -> bool {
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
    pub resources: Vec<R>,
    /// What is wrong with files and documents that were left out.
    pub warnings: Vec<String>,
}

/// Folders that cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A folder is not there, or cannot be read.
    #[error("open {}: {source}", .path.display())]
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

/// A document that is no such resource; the text names file and field.
#[derive(Debug)]
struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads all manifests of one kind. A file or document that cannot be used is told and left out; the others load.
pub fn load_resources<R: Resource>(folders: &[String], filter: Filter<'_>) -> Result<Loaded<R>, LoadError> {
    let mut found = Found {
        filter,
        accepted: Vec::new(),
        names: Vec::new(),
        duplicates: Vec::new(),
        warnings: Vec::new(),
    };
    for folder in folders {
        for file in files(Path::new(folder))? {
            found.file(&file);
        }
    }
    if !found.duplicates.is_empty() {
        return Err(LoadError::Duplicates(found.duplicates));
    }
    Ok(Loaded {
        resources: found.accepted,
        warnings: found.warnings,
    })
}

/// The entries of a folder, in the order of the bytes of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let failed = |source| LoadError::Folder {
        path: folder.to_owned(),
        source,
    };
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    files.retain(|file| !file.is_dir());
    files.sort();
    Ok(files)
}

struct Found<'a, R> {
    filter: Filter<'a>,
    accepted: Vec<R>,
    /// The names that were accepted before scopes were looked at, with their log names.
    names: Vec<(String, String)>,
    duplicates: Vec<String>,
    warnings: Vec<String>,
}

impl<R: Resource> Found<'_, R> {
    fn file(&mut self, file: &Path) {
        let extension = file.extension().and_then(|extension| extension.to_str());
        let is_yaml = extension.is_some_and(|extension| {
            extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml")
        });
        if !is_yaml {
            let kind = R::KIND;
            let shown = file.display();
            self.warnings.push(format!(
                "A non-YAML {kind} file {shown} was detected, it will not be loaded"
            ));
            return;
        }
        let text = match read(file) {
            Ok(text) => text,
            Err(error) => return self.unusable(file, &error),
        };
        for document in resource_documents(&text) {
            match document
                .map_err(|error| Unusable(error.to_string()))
                .and_then(|document| resource::<R>(file, document))
            {
                Ok(Some(resource)) => self.take(resource),
                Ok(None) => {}
                Err(error) => self.unusable(file, &error),
            }
        }
    }

    fn unusable(&mut self, file: &Path, error: &dyn fmt::Display) {
        let (kind, shown) = (R::KIND, file.display());
        self.warnings.push(format!(
            "daprd load {kind} error when parsing manifests yaml resource in {shown}: {error}"
        ));
    }

    fn take(&mut self, resource: R) {
        let head = resource.head();
        if !self.filter.is_of_namespace(head) {
            return;
        }
        let log_name = resource.log_name();
        if let Some((name, existing)) = self.names.iter().find(|(name, _)| *name == head.name) {
            let kind = R::KIND;
            self.duplicates.push(format!(
                "duplicate definition of {kind} name {name} ({}) with existing {existing}",
                log_name
                    .strip_prefix(&format!("{name} "))
                    .map_or(log_name.as_str(), |rest| rest
                        .trim_start_matches('(')
                        .trim_end_matches(')')),
            ));
            return;
        }
        if !self.filter.is_in_scope(head) {
            return;
        }
        self.names.push((head.name.clone(), log_name));
        self.accepted.push(resource);
    }
}

fn read(file: &Path) -> Result<String, Unusable> {
    let length = fs::metadata(file)
        .map_err(|error| Unusable(error.to_string()))?
        .len();
    if length > MAX_FILE {
        return Err(Unusable(format!(
            "the file has {length} bytes, at most {MAX_FILE} are read"
        )));
    }
    fs::read_to_string(file).map_err(|error| Unusable(error.to_string()))
}

/// The resource of a document; nothing for one of another kind.
fn resource<R: Resource>(file: &Path, document: Value) -> Result<Option<R>, Unusable> {
    let document = lower_keys(document);
    if document["apiversion"] != API_VERSION || document["kind"] != R::KIND {
        return Ok(None);
    }
    typed(&file.display().to_string(), document)
        .map(Some)
        .map_err(Unusable)
}

/// A document whose keys are in lower case as a resource; an error names `origin` and the field.
pub(crate) fn typed<R: Resource>(origin: &str, document: Value) -> Result<R, String> {
    let layer = Layer {
        name: origin.to_owned(),
        value: document,
    };
    let resource: R = Figment::from(layer)
        .extract()
        .map_err(|error| error.to_string())?;
    let name = &resource.head().name;
    if name == "." || name == ".." || name.contains(['/', '%']) {
        return Err(format!("invalid metadata.name {name:?}"));
    }
    Ok(resource)
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
        loaded.resources.iter().map(Resource::log_name).collect()
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
            ["A non-YAML Component file DIR/notes.txt was detected, it will not be loaded"]
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
            for document in resource_documents(&text).flatten() {
                let _ = resource::<Component>(Path::new("x"), document);
            }
        }
    }
}
