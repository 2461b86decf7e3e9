//! Components. This sidecar has no building blocks but invocation, so they do nothing, apart from the secret stores
//! that resources refer to: they are checked as far as Dapr checks them at once, and listed in the metadata, so that an
//! app whose folder has a state store or a message bus starts as it did.

use std::collections::HashMap;

use api_core::ComponentInfo;
use resources::{Component, Configuration, Resource, SecretStore};
use telemetry::metrics::StartMetrics;

use super::kube_store;
use crate::fatal::ComponentsError;
use crate::scope::SCOPE;

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

/// Components that were accepted.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// All of them, as the metadata lists them.
    pub(super) components: Vec<Component>,
    /// The secret stores among them that resources may refer to.
    pub(super) stores: HashMap<String, SecretStore>,
    /// Middleware, which is not set up yet.
    pub(super) middleware: Vec<Component>,
}

/// Accepts the components that are for this sidecar.
pub(super) fn accept(
    components: Vec<Component>,
    configuration: &Configuration,
    counters: Option<&StartMetrics>,
) -> Result<Accepted, ComponentsError> {
    tracing::info!(target: SCOPE, "Loading components…");
    let mut accepted = Accepted::default();
    let (stores, others): (Vec<_>, Vec<_>) = components
        .into_iter()
        .filter(|component| is_allowed(component, configuration.denied_components()))
        .partition(|component| component.category() == Some("secretstores"));
    for component in stores.into_iter().chain(others) {
        if component.category() == Some("middleware") {
            accepted.middleware.push(component);
            continue;
        }
        let checked = check(&component);
        match (counters, &checked) {
            (Some(counters), Ok(_)) => counters.component_set_up(&component.kind),
            (Some(counters), Err(ComponentsError::Init { .. })) => {
                counters.component_failed(&component.kind, &component.head.name);
            }
            _ => {}
        }
        match checked {
            Ok(store) => {
                tracing::info!(target: "dapr.runtime.processor.loops.root", "Component loaded: {}", component.log_name());
                if let Some(store) = store {
                    accepted.stores.insert(component.head.name.clone(), store);
                }
                accepted.components.push(component);
            }
            Err(error) => survive(&component, error)?,
        }
    }
    tracing::info!(target: SCOPE, "Waiting for all outstanding components to be processed…");
    tracing::info!(target: SCOPE, "All outstanding components processed");
    if accepted.components.len() > accepted.stores.len() {
        tracing::warn!(
            target: SCOPE,
            "Components are listed in the metadata and do nothing else: this sidecar serves invocation only"
        );
    }
    Ok(accepted)
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

/// Checks a component; if it is a secret store that is good for something, it is set up.
fn check(component: &Component) -> Result<Option<SecretStore>, ComponentsError> {
    let name = component.head.name.clone();
    if component.category().is_none() {
        let kind = component.kind.clone();
        return Err(ComponentsError::Category { name, kind });
    }
    let is_missing = |setting| component.value(setting).is_none_or(str::is_empty);
    if component.kind == "state.sqlite" && is_missing("connectionString") {
        return Err(failed(component, "missing connection string"));
    }
    if kube_store::is_one(component) {
        kube_store::check_credentials().map_err(|error| failed(component, &error.to_string()))?;
    }
    SecretStore::of(component).map_err(|error| failed(component, &error.to_string()))
}

/// Goes on without a component, if its manifest says so.
pub(super) fn survive(component: &Component, error: ComponentsError) -> Result<(), ComponentsError> {
    if component.ignore_errors && matches!(error, ComponentsError::Init { .. }) {
        tracing::error!(target: SCOPE, "Ignoring error processing component: {error}");
        return Ok(());
    }
    tracing::error!(
        target: SCOPE,
        "Error processing component, daprd will exit gracefully: {error}"
    );
    Err(error)
}

/// A component that cannot be used as it is set up; the log says so at once.
fn failed(component: &Component, why: &str) -> ComponentsError {
    let log_name = component.log_name();
    let cause = format!("[INIT_COMPONENT_FAILURE]: initialization error occurred for {log_name}: {why}");
    failed_with(component, cause)
}

/// The same, with the whole cause.
pub(super) fn failed_with(component: &Component, cause: String) -> ComponentsError {
    let log_name = component.log_name();
    tracing::error!(target: SCOPE, "Failed to init component {log_name}: {cause}");
    ComponentsError::Init {
        name: component.head.name.clone(),
        log_name,
        cause,
    }
}

/// A component as the metadata lists it.
pub(super) fn listed(component: &Component) -> ComponentInfo {
    let capabilities = CAPABILITIES
        .iter()
        .find(|(kind, _)| *kind == component.kind)
        .map_or(&[][..], |(_, capabilities)| capabilities);
    let has_fields = component.kind.eq_ignore_ascii_case("secretstores.local.file")
        && component
            .value("multiValued")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let capabilities = if has_fields {
        &["MULTIPLE_KEY_VALUES_PER_SECRET"]
    } else {
        capabilities
    };
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
