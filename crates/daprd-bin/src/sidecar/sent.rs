//! What the operator has sent, and what its events make of it.

use std::time::Duration;

use bytes::Bytes;
use operator::{Change, Kind};
use resources::{Component, Filter, HttpEndpoint, decode_resiliency, decode_resources};
use serde::Deserialize;
use tokio::time::timeout;

use super::source::{EndpointsError, Kubernetes};

const SCOPE: &str = "dapr.runtime.hotreload.reconciler";
/// How long the operator may take to list resources.
pub(super) const LIST_LIMIT: Duration = Duration::from_secs(30);

/// All resources, as they were sent last.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) components: Listed,
    pub(super) endpoints: Listed,
    pub(super) resiliency: Listed,
}

/// The resources of a kind, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Listed(Vec<Document>);

#[derive(Debug)]
struct Document {
    about: Metadata,
    json: Bytes,
}

/// What is needed to know a resource again.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    metadata: Metadata,
}

impl Listed {
    pub(super) fn of(documents: Vec<Bytes>) -> Self {
        // What is no resource is told by whoever decodes it.
        let documents = documents.into_iter().map(|json| Document {
            about: metadata(&json).unwrap_or_default(),
            json,
        });
        Self(documents.collect())
    }

    pub(super) fn documents(&self) -> Vec<Bytes> {
        self.0.iter().map(|document| document.json.clone()).collect()
    }

    /// Puts one in its place.
    fn set(&mut self, about: Metadata, json: Bytes) {
        let known = self.0.iter_mut().find(|known| known.about.name == about.name);
        match known {
            // Dapr compares the generation that Kubernetes counts: an event that comes late changes nothing.
            Some(known) if about.generation > 0 && about.generation < known.about.generation => {
                tracing::warn!(
                    target: SCOPE,
                    "Ignoring stale event for {} (generation {} < installed {})",
                    about.name, about.generation, known.about.generation
                );
            }
            Some(known) => *known = Document { about, json },
            None => self.0.push(Document { about, json }),
        }
    }
}

fn metadata(json: &[u8]) -> Option<Metadata> {
    let manifest: Manifest = serde_json::from_slice(json).ok()?;
    Some(manifest.metadata)
}

impl Kubernetes {
    /// Takes in what became of a resource. What cannot be used is told, and changes nothing.
    pub(super) fn take(&self, kind: Kind, change: Change, json: Bytes, filter: Filter<'_>) {
        let refused = |why: &str| {
            tracing::error!(
                target: SCOPE,
                "A {} of the operator cannot be used and changes nothing: {why}", kind.name()
            );
        };
        let Some(about) = metadata(&json) else {
            return refused("it is no JSON with a metadata.name");
        };
        let mut sent = self.sent();
        let listed = match kind {
            Kind::Component => &mut sent.components,
            Kind::HttpEndpoint => &mut sent.endpoints,
            Kind::Resiliency => &mut sent.resiliency,
            // It is asked for when it changed.
            Kind::Configuration => return,
        };
        if change == Change::Deleted {
            listed.0.retain(|known| known.about.name != about.name);
            return;
        }
        let document = [json.clone()];
        let wrong = match kind {
            Kind::Component => decode_resources::<Component>(&document, filter)
                .err()
                .map(|error| error.to_string()),
            Kind::HttpEndpoint => decode_resources::<HttpEndpoint>(&document, filter)
                .err()
                .map(|error| error.to_string()),
            _ => decode_resiliency(&document, filter.app_id)
                .troubles
                .first()
                .map(|trouble| format!("{trouble:?}")),
        };
        match wrong {
            Some(why) => refused(&why),
            None => listed.set(about, json),
        }
    }

    pub(super) async fn list_endpoints(&self) -> Result<(), EndpointsError> {
        let received = self.operator.http_endpoints(&self.namespace).await?;
        self.sent().endpoints = Listed::of(received);
        Ok(())
    }

    /// Asks for all resources of a kind, since events may have been missed. What cannot be had in time or used changes
    /// nothing.
    pub(super) async fn list_again(&self, kind: Kind, filter: Filter<'_>) {
        if timeout(LIST_LIMIT, self.list(kind, filter)).await.is_err() {
            tracing::error!(target: SCOPE, "Error listing {}: no answer in time", kind.name());
        }
    }

    async fn list(&self, kind: Kind, filter: Filter<'_>) {
        let namespace = &self.namespace;
        let received = match kind {
            Kind::Component => self.operator.components(namespace).await,
            Kind::HttpEndpoint => self.operator.http_endpoints(namespace).await,
            Kind::Resiliency => self.operator.resiliency(namespace).await,
            Kind::Configuration => return,
        };
        let received = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(target: SCOPE, "Error listing {}: {error}", kind.name());
                return;
            }
        };
        let wrong = match kind {
            Kind::Component => decode_resources::<Component>(&received, filter).err(),
            Kind::HttpEndpoint => decode_resources::<HttpEndpoint>(&received, filter).err(),
            _ => None,
        };
        if let Some(error) = wrong {
            tracing::error!(target: SCOPE, "Error listing {}: {error}", kind.name());
            return;
        }
        let mut sent = self.sent();
        match kind {
            Kind::Component => sent.components = Listed::of(received),
            Kind::HttpEndpoint => sent.endpoints = Listed::of(received),
            _ => sent.resiliency = Listed::of(received),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
