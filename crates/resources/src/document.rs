//! What the manifests of resources look like, whatever their kind.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::lenient;
use crate::manifest::Head;

/// A manifest with the `spec` of its kind.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, bound = "S: Default + Deserialize<'de>")]
#[schemars(bound = "S: Default + JsonSchema")]
pub(crate) struct Document<S> {
    #[serde(deserialize_with = "lenient::section")]
    metadata: Metadata,
    #[serde(deserialize_with = "lenient::section")]
    auth: Auth,
    #[serde(deserialize_with = "lenient::texts")]
    scopes: Vec<String>,
    #[serde(deserialize_with = "lenient::section")]
    spec: S,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Metadata {
    #[serde(deserialize_with = "lenient::text")]
    name: String,
    #[serde(deserialize_with = "lenient::text")]
    namespace: String,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Auth {
    #[serde(deserialize_with = "lenient::text", rename = "secretstore")]
    #[schemars(rename = "secretStore")]
    secret_store: String,
}

impl<S> Document<S> {
    /// What every manifest has, and what is of its kind.
    pub(crate) fn into_parts(self) -> (Head, S) {
        let head = Head {
            name: self.metadata.name,
            namespace: self.metadata.namespace,
            scopes: self.scopes,
            secret_store: self.auth.secret_store,
        };
        (head, self.spec)
    }
}
