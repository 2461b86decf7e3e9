//! Resiliency resources in folders, and as the operator of Kubernetes sends them.

use std::sync::Arc;

use serde_json::Value;

use super::Resiliency;
use crate::folders::Folders;
use crate::yaml::first_document;

/// What was found.
#[derive(Debug, Default)]
pub struct LoadedResiliency {
    /// The resources for this app, in the order of folders and of names of files.
    pub resources: Vec<Arc<Resiliency>>,
    /// What was left out, in Dapr's words.
    pub troubles: Vec<Trouble>,
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Dapr's `daprd` tells it as an error.
    Error(String),
    /// It tells it as a warning.
    Warning(String),
}

/// Reads the resources of folders, once. Nothing that is wrong with one of them keeps the others from being read.
pub fn load_resiliency(folders: &[String], app_id: &str) -> LoadedResiliency {
    Folders::read(folders, None).resiliency(app_id)
}

/// Reads resources that the operator sent, each as JSON or YAML.
pub fn decode_resiliency(documents: &[impl AsRef<[u8]>], app_id: &str) -> LoadedResiliency {
    let mut loaded = LoadedResiliency::default();
    for document in documents {
        match decode(document.as_ref()) {
            Ok(resource) => loaded.take(Arc::new(resource), app_id),
            Err(reason) => {
                let text = format!("Could not parse resiliency: {reason}");
                loaded.troubles.push(Trouble::Error(text));
            }
        }
    }
    loaded
}

impl LoadedResiliency {
    pub(crate) fn take(&mut self, resource: Arc<Resiliency>, app_id: &str) {
        let scopes = &resource.head.scopes;
        if scopes.is_empty() || scopes.iter().any(|scope| scope == app_id) {
            self.resources.push(resource);
        }
    }
}

/// The resource of a file, if it has one. `name` is that of the file.
pub(crate) fn of_text(name: &str, text: &str) -> Result<Option<Resiliency>, Trouble> {
    let document = first_document(text)
        .map_err(|error| Trouble::Error(format!("Could not determine resource type: {error} (in {name})")))?;
    of_document(name, document)
}

/// The same of its first document.
pub(crate) fn of_document(name: &str, document: Value) -> Result<Option<Resiliency>, Trouble> {
    if kind(&document) != Some(Resiliency::KIND) {
        return Ok(None);
    }
    Resiliency::of(document)
        .map(Some)
        .map_err(|error| Trouble::Error(format!("Could not parse resiliency file {name}: {error}")))
}

pub(crate) fn kind(document: &Value) -> Option<&str> {
    let fields = document.as_object()?;
    let other = || {
        let mut fields = fields.iter();
        fields
            .find(|(key, _)| key.eq_ignore_ascii_case("kind"))
            .map(|(_, value)| value)
    };
    fields.get("kind").or_else(other)?.as_str()
}

fn decode(document: &[u8]) -> Result<Resiliency, String> {
    let value = match serde_json::from_slice::<Value>(document) {
        Ok(value) => value,
        Err(_) => {
            let text = std::str::from_utf8(document).map_err(|error| error.to_string())?;
            first_document(text).map_err(|error| error.to_string())?
        }
    };
    Resiliency::of(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::resiliency::{RetryPolicy, TargetPolicies};

    fn load(files: &[(&str, &str)]) -> LoadedResiliency {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        load_resiliency(&[folder.path().display().to_string()], "me")
    }

    fn one(spec: &str) -> Result<Arc<Resiliency>, Trouble> {
        let text = format!("kind: Resiliency\nmetadata: {{name: r}}\nspec:\n{spec}");
        let mut loaded = load(&[("r.yaml", &text)]);
        loaded.resources.pop().ok_or_else(|| loaded.troubles[0].clone())
    }

    #[test]
    fn numbers_and_booleans_are_texts() {
        let read = one(
            "  policies:\n    timeouts: {General: 5, b: true}\n    retries:\n      R: {POLICY: constant, Duration: 0, \
             maxRetries: 3, matching: {httpStatusCodes: 500}}\n  targets: {apps: {App: {retry: R}, empty: {}, none: null}}\n",
        )
        .unwrap();
        assert_eq!(read.timeouts["General"], "5");
        assert_eq!(read.timeouts["b"], "true");
        let retry = RetryPolicy {
            policy: "constant".into(),
            duration: "0".into(),
            max_retries: Some(3),
            http_codes: "500".into(),
            ..RetryPolicy::default()
        };
        assert_eq!(read.retries["R"], retry);
        assert_eq!(read.apps["App"].retry, "R");
        assert_eq!(read.apps["empty"], TargetPolicies::default());
        assert_eq!(read.apps["none"], TargetPolicies::default());
    }

    #[test]
    fn types_that_are_wrong_name_their_field() {
        for (spec, wanted) in [
            (
                "  policies: {retries: {r: {maxRetries: \"3\"}}}\n",
                "spec.policies.retries.r.maxRetries is a text, where a whole number is expected",
            ),
            (
                "  policies: {timeouts: {t: [1]}}\n",
                "spec.policies.timeouts.t is a list, where a text is expected",
            ),
            (
                "  targets: []\n",
                "spec.targets is a list, where a map is expected",
            ),
            (
                "  targets: {components: {c: {inbound: {retry: {}}}}}\n",
                "spec.targets.components.c.inbound.retry is a map, where a text is expected",
            ),
        ] {
            let text = format!("Could not parse resiliency file r.yaml: {wanted}");
            assert_eq!(one(spec).unwrap_err(), Trouble::Error(text));
        }
    }

    #[test]
    fn files() {
        let named = |name: &str, rest: &str| format!("kind: Resiliency\nmetadata: {{name: {name}}}\n{rest}");
        let loaded = load(&[
            ("b.YML", &named("b", "apiVersion: whatever\n")),
            ("a.yaml", &named("a", "scopes: [me, you]\n---\n{ broken\n")),
            ("c.yaml", &named("c", "scopes: [you]\n")),
            ("d.yaml", "kind: Component\n"),
            ("e.yaml", "a: b: c\n"),
            ("f.txt", "x"),
        ]);
        let names: Vec<_> = loaded
            .resources
            .iter()
            .map(|one| one.head.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(loaded.troubles.len(), 2, "{:?}", loaded.troubles);
        assert!(
            matches!(&loaded.troubles[0], Trouble::Error(text) if text.starts_with("Could not determine resource type: ")),
        );
        let text = "A non-YAML resiliency file f.txt was detected, it will not be loaded";
        assert_eq!(loaded.troubles[1], Trouble::Warning(text.into()));
    }

    #[test]
    fn a_folder_that_is_not_there_is_passed_over() {
        let loaded = load_resiliency(&["no-such-folder".to_owned()], "me");
        assert!(loaded.resources.is_empty() && loaded.troubles.is_empty());
    }

    #[test]
    fn what_the_operator_sends() {
        let documents = [
            r#"{"metadata":{"name":"a"},"spec":{"policies":{"timeouts":{"t":"1s"}}}}"#,
            "metadata: {name: b}\n",
            "[",
        ];
        let loaded = decode_resiliency(&documents, "me");
        assert_eq!(loaded.resources.len(), 2);
        assert_eq!(loaded.resources[0].timeouts["t"], "1s");
        assert!(
            matches!(&loaded.troubles[..], [Trouble::Error(text)] if text.starts_with("Could not parse resiliency: "))
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(text in "[\\[\\]{}:,a-c\"0-9 \\n-]{0,60}") {
            let _ = decode_resiliency(&[format!("spec: {text}"), text], "me");
        }
    }
}
