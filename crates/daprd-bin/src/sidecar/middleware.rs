//! Middleware: the components, and the two chains that a configuration makes of them.

use std::sync::Arc;

use ::middleware::{LoadError, Middleware, Properties, Spec, Store, Wanted, Web};
use invoke_core::Pipeline;
use resources::{Component, Configuration, Resource, SecretSource};

use super::components::{Accepted, failed_with, survive};
use super::placeholders::Placeholders;
use crate::fatal::ComponentsError;
use crate::scope::SCOPE;

/// The scope of their log lines.
const HTTP: &str = "dapr.middleware.http";

/// Sets the middleware among the components up, which are then as accepted as the others. What was set up before in
/// exactly the same way goes on, with what it remembers.
pub(super) async fn load(
    accepted: &mut Accepted,
    secrets: &SecretSource,
    placeholders: &Placeholders,
    web: &Web,
    before: &Store,
) -> Result<Store, ComponentsError> {
    let mut store = Store::default();
    for component in std::mem::take(&mut accepted.middleware) {
        match one(&component, secrets, placeholders, web, before).await {
            Ok(middleware) => {
                let known = before.get(&component.head.name);
                if known.is_none_or(|known| known.spec() != middleware.spec()) {
                    let log_name = component.log_name();
                    tracing::info!(target: "dapr.runtime.processor.loops.root", "Component loaded: {log_name}");
                }
                store.put(middleware);
                accepted.components.push(component);
            }
            Err(error) => {
                if let ComponentsError::Init { cause, .. } | ComponentsError::NotBuilt { cause, .. } = &error
                {
                    let log_name = component.log_name();
                    tracing::error!(target: SCOPE, "Failed to init component {log_name}: {cause}");
                }
                survive(&component, error)?;
            }
        }
    }
    Ok(store)
}

async fn one(
    component: &Component,
    secrets: &SecretSource,
    placeholders: &Placeholders,
    web: &Web,
    before: &Store,
) -> Result<Middleware, ComponentsError> {
    let mut resolved = component.clone();
    let lost = secrets.resolve(&mut resolved, |name| std::env::var(name).ok());
    if !lost.is_empty() {
        // What checks callers would check something else without its secret.
        let lost: Vec<String> = lost.iter().map(ToString::to_string).collect();
        let why = lost.join("; ");
        return Err(failed_with(component, cause(component, &why)));
    }
    let mut items = Vec::with_capacity(resolved.metadata.len());
    for item in resolved.metadata {
        let value = item.value.unwrap_or_default();
        let value = placeholders.put_into(&component.head.name, &item.name, &value);
        items.push((
            item.name,
            value.map_err(|error| failed_with(component, error.to_string()))?,
        ));
    }
    let spec = Spec {
        name: component.head.name.clone(),
        kind: component.kind.clone(),
        version: component.version.clone(),
        properties: Properties::new(items),
    };
    if let Some(known) = before.get(&spec.name).filter(|known| *known.spec() == spec) {
        return Ok(known.clone());
    }
    Middleware::load(spec, web).await.map_err(|error| {
        let cause = cause(component, &error.to_string());
        match (error, failed_with(component, cause)) {
            (LoadError::Missing { .. }, ComponentsError::Init { name, cause, .. }) => {
                ComponentsError::NotBuilt { name, cause }
            }
            (_, failed) => failed,
        }
    })
}

/// How Dapr says why.
fn cause(component: &Component, why: &str) -> String {
    let (name, log_name) = (&component.head.name, component.log_name());
    format!(
        "[CREATE_COMPONENT_FAILURE]: initialization error occurred for {log_name}: \
         process component {name} error: {why}"
    )
}

/// The two chains of a configuration; `None` for one without components.
pub(super) struct Pipelines {
    /// In front of the routes of the HTTP API.
    pub(super) api: Option<Arc<dyn Pipeline>>,
    /// In front of the app and of endpoints.
    pub(super) app: Option<Arc<dyn Pipeline>>,
}

impl Pipelines {
    pub(super) fn of(configuration: &Configuration, store: &Store) -> Self {
        Self {
            api: pipeline("server", "httpPipeline", &configuration.http_pipeline, store),
            app: pipeline("app", "appHttpPipeline", &configuration.app_http_pipeline, store),
        }
    }
}

fn pipeline(
    name: &str,
    field: &str,
    wanted: &resources::Pipeline,
    store: &Store,
) -> Option<Arc<dyn Pipeline>> {
    if wanted.handlers.is_empty() {
        return None;
    }
    tracing::info!(target: HTTP, "Building pipeline {name}");
    let handlers = wanted.handlers.iter().map(|handler| Wanted {
        name: &handler.name,
        kind: &handler.kind,
        version: &handler.version,
    });
    store.pipeline(handlers, |missing| {
        let Wanted { name, kind, version } = missing;
        tracing::warn!(
            target: HTTP,
            "{field} names {name:?} of type {kind:?} and version {version:?}: there is no such component, and calls \
             go on without it"
        );
    })
}
