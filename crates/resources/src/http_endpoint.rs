//! HTTP endpoints outside of the mesh, which apps call by name.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::document::Document;
use crate::item::Item;
use crate::lenient;
use crate::manifest::{Head, Manifest, Resource};
use crate::secrets::References;

/// An `HTTPEndpoint`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Document<Spec>")]
pub struct HttpEndpoint {
    /// Name, namespace, scopes and secret store.
    pub head: Head,
    /// `spec.baseUrl`.
    pub base_url: String,
    /// `spec.headers`: what every request has.
    pub headers: Vec<Item>,
    /// `spec.clientTLS`.
    pub tls: EndpointTls,
}

/// `spec.clientTLS`: PEM, each given as it is or by reference to a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointTls {
    /// `rootCA`: the only authorities that are trusted, if it has a value.
    pub root_ca: Item,
    /// `certificate`: what proves who calls.
    pub certificate: Item,
    /// `privateKey` of the certificate.
    pub private_key: Item,
    /// `renegotiation`, as it is written.
    pub renegotiation: String,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Spec {
    #[serde(deserialize_with = "lenient::text", rename = "baseurl")]
    #[schemars(rename = "baseUrl")]
    base_url: String,
    #[serde(deserialize_with = "lenient::sections")]
    headers: Vec<Item>,
    #[serde(deserialize_with = "lenient::section", rename = "clienttls")]
    #[schemars(rename = "clientTLS")]
    tls: Tls,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Tls {
    #[serde(deserialize_with = "lenient::section", rename = "rootca")]
    #[schemars(rename = "rootCA")]
    root_ca: Item,
    #[serde(deserialize_with = "lenient::section")]
    certificate: Item,
    #[serde(deserialize_with = "lenient::section", rename = "privatekey")]
    #[schemars(rename = "privateKey")]
    private_key: Item,
    #[serde(deserialize_with = "lenient::text")]
    renegotiation: String,
}

impl From<Document<Spec>> for HttpEndpoint {
    fn from(document: Document<Spec>) -> Self {
        let (head, spec) = document.into_parts();
        let Tls {
            root_ca,
            certificate,
            private_key,
            renegotiation,
        } = spec.tls;
        Self {
            head,
            base_url: spec.base_url,
            headers: spec.headers,
            tls: EndpointTls {
                root_ca: pem("rootCA", root_ca),
                certificate: pem("certificate", certificate),
                private_key: pem("privateKey", private_key),
                renegotiation,
            },
        }
    }
}

/// A document of `clientTLS` is named by its field, and is never in a variable.
fn pem(name: &str, item: Item) -> Item {
    Item {
        name: name.to_owned(),
        variable: String::new(),
        ..item
    }
}

impl Resource for HttpEndpoint {
    const KIND: &'static str = "HTTPEndpoint";

    fn head(&self) -> &Head {
        &self.head
    }

    fn log_name(&self) -> String {
        format!("{} ({})", self.head.name, self.base_url)
    }

    fn of(manifest: &Manifest) -> Option<&Arc<Self>> {
        match manifest {
            Manifest::HttpEndpoint(endpoint) => Some(endpoint),
            _ => None,
        }
    }
}

impl HttpEndpoint {
    /// Whether something in it stands somewhere else: in a secret or a variable.
    pub fn has_references(&self) -> bool {
        let tls = &self.tls;
        let documents = [&tls.root_ca, &tls.certificate, &tls.private_key];
        self.headers.iter().chain(documents).any(Item::is_reference)
    }
}

impl References for HttpEndpoint {
    fn items_mut(&mut self) -> Vec<&mut Item> {
        let tls = &mut self.tls;
        let documents = [&mut tls.root_ca, &mut tls.certificate, &mut tls.private_key];
        self.headers.iter_mut().chain(documents).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, load_resources};

    fn load(text: &str) -> (Vec<Arc<HttpEndpoint>>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("e.yaml"), text).unwrap();
        let folders = [folder.path().display().to_string()];
        let filter = Filter {
            namespace: "",
            app_id: "me",
        };
        let loaded = load_resources(&folders, filter).unwrap();
        (loaded.resources, loaded.warnings)
    }

    #[test]
    fn all_fields() {
        let text = "apiVersion: dapr.io/v1alpha1\nkind: HTTPEndpoint\nmetadata: {name: e, namespace: n}\nspec:\n  \
                    version: v1alpha1\n  baseURL: https://h:1/p\n  headers:\n  - {name: A, value: 5}\n  - name: B\n    \
                    secretKeyRef: {name: s, key: k}\n  - {name: C, envRef: E}\n  clientTLS:\n    rootCA: {value: \
                    \"a\\nb\"}\n    certificate: {secretKeyRef: {name: c}}\n    privateKey: {value: k, envRef: \
                    NO}\n    renegotiation: Never\nauth: {secretStore: vault}\nscopes: [me]\n";
        let (endpoints, warnings) = load(text);
        assert!(warnings.is_empty(), "{warnings:?}");
        let endpoint = &endpoints[0];
        assert_eq!(endpoint.log_name(), "e (https://h:1/p)");
        assert_eq!(endpoint.head.secret_store, "vault");
        assert_eq!(endpoint.headers[0].value.as_deref(), Some("5"));
        assert_eq!(endpoint.headers[1].secret.key, "k");
        assert_eq!(endpoint.headers[2].variable, "E");
        assert_eq!(endpoint.tls.root_ca.value.as_deref(), Some("a\nb"));
        assert_eq!(endpoint.tls.certificate.secret.name, "c");
        assert_eq!(endpoint.tls.private_key.variable, "");
        assert_eq!(endpoint.tls.renegotiation, "Never");
        let shown = format!("{endpoint:?}");
        assert!(!shown.contains("a\\nb") && shown.contains("rootCA"), "{shown}");
    }

    #[test]
    fn mistakes_name_file_and_field() {
        let begin = "apiVersion: dapr.io/v1alpha1\nkind: HTTPEndpoint\nmetadata: {name: e}\nspec:\n";
        for (text, field) in [
            ("  headers: 5\n", "headers"),
            ("  headers: [[a]]\n", "headers"),
            ("  baseUrl: [x]\n", "baseurl"),
            ("  clientTLS: [x]\n", "clienttls"),
        ] {
            let (endpoints, warnings) = load(&format!("{begin}{text}"));
            assert!(endpoints.is_empty());
            let warning = &warnings[0];
            assert!(warning.contains("e.yaml") && warning.contains(field), "{warning}");
        }
    }
}
