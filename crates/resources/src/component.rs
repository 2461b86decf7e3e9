//! Components: what the sidecar tells of building blocks, and what it takes from them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::document::Document;
use crate::item::Item;
use crate::lenient;
use crate::manifest::{Head, Manifest, Resource};
use crate::secrets::References;

/// A `Component`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Document<Spec>")]
pub struct Component {
    /// Name, namespace and scopes.
    pub head: Head,
    /// `spec.type`, like `state.redis`.
    pub kind: String,
    /// `spec.version`; empty for the first.
    pub version: String,
    /// Whether the sidecar goes on when the component cannot be used.
    pub ignore_errors: bool,
    /// `spec.metadata`.
    pub metadata: Vec<Item>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Spec {
    #[serde(deserialize_with = "lenient::text", rename = "type")]
    kind: String,
    #[serde(deserialize_with = "lenient::text")]
    version: String,
    #[serde(deserialize_with = "lenient::boolean", rename = "ignoreerrors")]
    #[schemars(rename = "ignoreErrors")]
    ignore_errors: Option<bool>,
    #[serde(deserialize_with = "lenient::sections")]
    metadata: Vec<Item>,
}

impl From<Document<Spec>> for Component {
    fn from(document: Document<Spec>) -> Self {
        let (head, spec) = document.into_parts();
        Self {
            head,
            kind: spec.kind,
            version: spec.version,
            ignore_errors: spec.ignore_errors.unwrap_or(false),
            metadata: spec.metadata,
        }
    }
}

impl Resource for Component {
    const KIND: &'static str = "Component";

    fn head(&self) -> &Head {
        &self.head
    }

    fn log_name(&self) -> String {
        let (name, kind, version) = (&self.head.name, &self.kind, &self.version);
        if version.is_empty() {
            format!("{name} ({kind})")
        } else {
            format!("{name} ({kind}/{version})")
        }
    }

    fn of(manifest: &Manifest) -> Option<&Arc<Self>> {
        match manifest {
            Manifest::Component(component) => Some(component),
            _ => None,
        }
    }
}

impl References for Component {
    fn items_mut(&mut self) -> Vec<&mut Item> {
        self.metadata.iter_mut().collect()
    }
}

/// The categories of components that Dapr knows.
const CATEGORIES: [&str; 9] = [
    "bindings",
    "configuration",
    "crypto",
    "lock",
    "middleware",
    "pubsub",
    "secretstores",
    "state",
    "conversation",
];

impl Component {
    /// What stands before the first dot of the type, if Dapr has components of this category.
    pub fn category(&self) -> Option<&str> {
        let (category, _) = self.kind.split_once('.')?;
        CATEGORIES.contains(&category).then_some(category)
    }

    /// A value of `spec.metadata`; names are compared without regard to case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.metadata
            .iter()
            .find(|item| item.name.eq_ignore_ascii_case(name))
            .and_then(|item| item.value.as_deref())
    }
}
