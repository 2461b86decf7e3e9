//! Components in folders. This sidecar has no building blocks but invocation, so components do nothing: they are
//! checked as far as Dapr checks them at once, and listed in the metadata, so that an app whose folder has a state
//! store or a message bus starts as it did.

use api_core::ComponentInfo;
use resources::{Component, Configuration, Filter, LoadError, Resource, load_resources};
use thiserror::Error;

use super::SCOPE;

/// What components can do, as Dapr lists it.
const CAPABILITIES: &[(&str, &[&str])] = &[
    (
        "state.in-memory",
        &[
            "ETAG",
            "TRANSACTIONAL",
            "TTL",
            "DELETE_WITH_PREFIX",
            "KEYS_LIKE",
            "ACTOR",
        ],
    ),
    (
        "state.sqlite",
        &["ETAG", "TRANSACTIONAL", "TTL", "KEYS_LIKE", "ACTOR"],
    ),
    ("pubsub.in-memory", &["SUBSCRIBE_WILDCARDS"]),
    ("bindings.cron", &["INPUT_BINDING"]),
    ("bindings.http", &["OUTPUT_BINDING"]),
];

/// Components that keep the sidecar from starting.
#[derive(Debug, Error)]
pub enum ComponentsError {
    /// A folder cannot be read, or a name is given twice.
    #[error("failed to load components: {0}")]
    Load(#[from] LoadError),
    /// A component is of no category that Dapr knows.
    #[error("process component {name} error: incorrect type {kind}")]
    Category {
        /// Its name.
        name: String,
        /// Its type.
        kind: String,
    },
    /// A component cannot be used as it is set up.
    #[error(
        "process component {name} error: [INIT_COMPONENT_FAILURE]: initialization error occurred for {log_name}: {cause}"
    )]
    Init {
        /// Its name.
        name: String,
        /// How the log names it.
        log_name: String,
        /// Why.
        cause: String,
    },
}

/// Loads the components of all folders.
pub(super) fn load(
    folders: &[String],
    filter: Filter<'_>,
    configuration: &Configuration,
) -> Result<Vec<Component>, ComponentsError> {
    let loaded = load_resources::<Component>(folders, filter)?;
    for warning in &loaded.warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
    tracing::info!(target: SCOPE, "Loading components…");
    let mut components = Vec::new();
    let (stores, others): (Vec<_>, Vec<_>) = loaded
        .resources
        .into_iter()
        .filter(|component| is_allowed(component, configuration.denied_components()))
        .partition(|component| component.category() == Some("secretstores"));
    for component in stores.into_iter().chain(others) {
        match check(&component) {
            Ok(()) => {
                tracing::info!(target: SCOPE, "Component loaded: {}", component.log_name());
                components.push(component);
            }
            Err(error) if component.ignore_errors && matches!(error, ComponentsError::Init { .. }) => {
                tracing::error!(target: SCOPE, "Ignoring error processing component: {error}");
            }
            Err(error) => {
                tracing::error!(
                    target: SCOPE,
                    "Error processing component, daprd will exit gracefully: {error}"
                );
                return Err(error);
            }
        }
    }
    tracing::info!(target: SCOPE, "Waiting for all outstanding components to be processed…");
    tracing::info!(target: SCOPE, "All outstanding components processed");
    if !components.is_empty() {
        tracing::warn!(
            target: SCOPE,
            "Components are listed in the metadata and do nothing else: this sidecar serves invocation only"
        );
    }
    Ok(components)
}

/// `components.deny` of the configuration: a type, or a type and a version.
fn is_allowed(component: &Component, denied: &[String]) -> bool {
    if denied.is_empty() {
        return true;
    }
    if component.kind.is_empty() || component.version.is_empty() {
        return false;
    }
    let is_denied = denied.iter().any(|rule| {
        let (kind, version) = rule.split_once('/').unwrap_or((rule, ""));
        !version.contains('/')
            && kind == component.kind
            && (version.is_empty() || version == component.version)
    });
    if is_denied {
        let (name, kind) = (&component.head.name, &component.kind);
        let shown = format!("{kind}/{}", component.version);
        tracing::warn!(
            target: SCOPE,
            "component '{name}' cannot be loaded because components of type '{shown}' are not allowed"
        );
    }
    !is_denied
}

fn check(component: &Component) -> Result<(), ComponentsError> {
    let name = component.head.name.clone();
    if component.category().is_none() {
        let kind = component.kind.clone();
        return Err(ComponentsError::Category { name, kind });
    }
    let is_missing = |setting| component.value(setting).is_none_or(str::is_empty);
    if component.kind == "state.sqlite" && is_missing("connectionString") {
        let log_name = component.log_name();
        let cause = format!(
            "[INIT_COMPONENT_FAILURE]: initialization error occurred for {log_name}: missing connection string"
        );
        tracing::error!(target: SCOPE, "Failed to init component {log_name}: {cause}");
        return Err(ComponentsError::Init {
            name,
            log_name,
            cause,
        });
    }
    Ok(())
}

/// A component as the metadata lists it.
pub(super) fn listed(component: &Component) -> ComponentInfo {
    let capabilities = CAPABILITIES
        .iter()
        .find(|(kind, _)| *kind == component.kind)
        .map_or(&[][..], |(_, capabilities)| capabilities);
    ComponentInfo {
        name: component.head.name.clone(),
        kind: component.kind.clone(),
        version: component.version.clone(),
        capabilities: capabilities.iter().map(ToString::to_string).collect(),
    }
}

/// Whether an app is asked for its subscriptions.
pub(super) fn has_message_bus(components: &[Component]) -> bool {
    components
        .iter()
        .any(|component| component.category() == Some("pubsub"))
}
