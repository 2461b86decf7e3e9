//! Components. This sidecar has no building blocks but invocation, so they do nothing, apart from the secret stores
//! that resources refer to: they are checked as far as Dapr checks them at once, and listed in the metadata, so that an
//! app whose folder has a state store or a message bus starts as it did.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api_core::ComponentInfo;
use resources::{Component, Configuration, Resource, SecretStore};
use telemetry::metrics::StartMetrics;

use super::{capabilities, kube_store};
use crate::fatal::ComponentsError;
use crate::scope::SCOPE;

/// The scope of changes, as in Dapr.
const HOT_RELOAD: &str = "dapr.runtime.hotreload.reconciler";

/// Components that were accepted.
#[derive(Clone, Debug, Default)]
pub(super) struct Accepted {
    /// All of them, as the metadata lists them.
    pub(super) components: Vec<Arc<Component>>,
    /// The secret stores among them that resources may refer to.
    pub(super) stores: HashMap<String, SecretStore>,
    /// Middleware, which is not set up yet.
    pub(super) middleware: Vec<Arc<Component>>,
}

/// Accepts the components that are for this sidecar.
pub(super) fn accept(
    components: Vec<Arc<Component>>,
    configuration: &Configuration,
    counters: Option<&StartMetrics>,
) -> Result<Accepted, ComponentsError> {
    tracing::info!(target: SCOPE, "Loading components…");
    let mut accepted = Accepted::default();
    for component in stores_first(components) {
        if is_middleware(&component) {
            accepted.wait(component, configuration);
        } else if let SetUp::Used(store) = set_up(&component, configuration, counters, true)? {
            accepted.take(component, store);
        }
    }
    tracing::info!(target: SCOPE, "Waiting for all outstanding components to be processed…");
    tracing::info!(target: SCOPE, "All outstanding components processed");
    Ok(accepted)
}

/// Whether a component is one of those that are set up when all others are there.
pub(super) fn is_middleware(component: &Component) -> bool {
    component.category() == Some("middleware")
}

impl Accepted {
    /// Middleware is set up later, with the secrets of all stores at hand.
    fn wait(&mut self, component: Arc<Component>, configuration: &Configuration) {
        if is_allowed(&component, configuration.denied_components()) {
            self.middleware.push(component);
        }
    }

    fn take(&mut self, component: Arc<Component>, store: Option<SecretStore>) {
        if let Some(store) = store {
            self.stores.insert(component.head.name.clone(), store);
        }
        self.components.push(component);
    }

    /// What becomes of it when `before` was read and now `after` is. A component that is as it was goes on; `again`
    /// sets up all of them anew, since something else changed on which they depend. What would end the sidecar is told when
    /// this is the last word about it.
    pub(super) fn renewed(
        mut self,
        (before, after): (&[Arc<Component>], Vec<Arc<Component>>),
        again: bool,
        is_last_word: bool,
        configuration: &Configuration,
        counters: Option<&StartMetrics>,
    ) -> Result<Self, ComponentsError> {
        let before: HashMap<&str, &Arc<Component>> = by_name(before);
        let after = last_of_each_name(after);
        let mut held: HashMap<String, Arc<Component>> = HashMap::new();
        for component in std::mem::take(&mut self.components) {
            held.insert(component.head.name.clone(), component);
        }
        let mut stores = std::mem::take(&mut self.stores);
        let now = by_name(&after);
        let is_gone = |component: &&Arc<Component>| !now.contains_key(component.head.name.as_str());
        for component in held.values().filter(is_gone) {
            tracing::info!(target: HOT_RELOAD, "Closing Component, which is gone: {}", component.log_name());
        }
        for component in stores_first(after) {
            let name = component.head.name.as_str();
            let (old, old_store) = (held.remove(name), stores.remove(name));
            let is_as_it_was = !again && before.get(name) == Some(&&component);
            if is_as_it_was && is_middleware(&component) {
                self.wait(component, configuration);
                continue;
            }
            if is_as_it_was {
                if let Some(old) = old {
                    let store = read_again(&old, old_store);
                    self.take(old, store);
                }
                continue;
            }
            let log_name = component.log_name();
            if let Some(old) = &old {
                tracing::info!(target: HOT_RELOAD, "Closing existing Component to reload: {}", old.log_name());
            }
            tracing::info!(target: HOT_RELOAD, "Adding Component for processing: {log_name}");
            if is_middleware(&component) {
                self.wait(component, configuration);
            } else if let SetUp::Used(store) = set_up(&component, configuration, counters, is_last_word)? {
                self.take(component, store);
                tracing::info!(target: HOT_RELOAD, "Component updated: {log_name}");
            }
        }
        Ok(self)
    }
}

/// What is in a store may have changed, although the component did not.
fn read_again(component: &Component, store: Option<SecretStore>) -> Option<SecretStore> {
    let before = store?;
    match SecretStore::of(component) {
        Ok(store) => store,
        Err(error) => {
            let log_name = component.log_name();
            tracing::warn!(target: HOT_RELOAD, "{log_name}: {error}; the secrets that were read before are used");
            Some(before)
        }
    }
}

/// Each component by its name.
fn by_name(components: &[Arc<Component>]) -> HashMap<&str, &Arc<Component>> {
    let named = components
        .iter()
        .map(|component| (component.head.name.as_str(), component));
    named.collect()
}

/// Of several of one name the last counts, as in the changes that are told.
fn last_of_each_name(mut components: Vec<Arc<Component>>) -> Vec<Arc<Component>> {
    let mut seen = HashSet::new();
    components.reverse();
    components.retain(|component| seen.insert(component.head.name.clone()));
    components.reverse();
    components
}

/// Secret stores come before whatever may refer to them.
fn stores_first(components: Vec<Arc<Component>>) -> impl Iterator<Item = Arc<Component>> {
    let (stores, others): (Vec<_>, Vec<_>) = components
        .into_iter()
        .partition(|component| component.category() == Some("secretstores"));
    stores.into_iter().chain(others)
}

/// What became of a component.
enum SetUp {
    /// It is not to be used, or cannot be and says that this is no matter.
    LeftOut,
    /// It is used, and may be a secret store.
    Used(Option<SecretStore>),
}

fn set_up(
    component: &Component,
    configuration: &Configuration,
    counters: Option<&StartMetrics>,
    is_last_word: bool,
) -> Result<SetUp, ComponentsError> {
    if !is_allowed(component, configuration.denied_components()) {
        return Ok(SetUp::LeftOut);
    }
    let checked = check(component);
    if !is_last_word && !component.ignore_errors && checked.is_err() {
        return checked.map(SetUp::Used);
    }
    if let Err(ComponentsError::Init { log_name, cause, .. }) = &checked {
        tracing::error!(target: SCOPE, "Failed to init component {log_name}: {cause}");
    }
    match (counters, &checked) {
        (Some(counters), Ok(_)) => counters.component_set_up(&component.kind),
        (Some(counters), Err(ComponentsError::Init { .. })) => {
            counters.component_failed(&component.kind, &component.head.name);
        }
        _ => {}
    }
    match checked {
        Ok(store) => {
            let log_name = component.log_name();
            if store.is_some() || kube_store::is_one(component) {
                tracing::info!(target: "dapr.runtime.processor.loops.root", "Component loaded: {log_name}");
            } else {
                tracing::warn!(
                    target: SCOPE,
                    "Component {log_name} is listed and does nothing: this sidecar serves service invocation only"
                );
            }
            Ok(SetUp::Used(store))
        }
        Err(error) if component.ignore_errors => {
            tracing::error!(target: SCOPE, "Ignoring error processing component: {error}");
            Ok(SetUp::LeftOut)
        }
        Err(error) => {
            tracing::warn!(
                target: SCOPE,
                "Error processing component, daprd will exit gracefully: {error}"
            );
            Err(error)
        }
    }
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
        let (name, shown) = (&component.head.name, component.log_name());
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
    usable(component).map_err(|why| failed(component, &why))
}

/// The same of one whose category is known; says plainly why it cannot be used.
pub fn usable(component: &Component) -> Result<Option<SecretStore>, String> {
    let is_missing = |setting| component.value(setting).is_none_or(str::is_empty);
    if component.kind == "state.sqlite" && is_missing("connectionString") {
        return Err("missing connection string".to_owned());
    }
    if kube_store::is_one(component) {
        kube_store::check_credentials().map_err(|error| error.to_string())?;
    }
    SecretStore::of(component).map_err(|error| error.to_string())
}

/// Goes on without a component, if its manifest says so.
pub(super) fn survive(component: &Component, error: ComponentsError) -> Result<(), ComponentsError> {
    if component.ignore_errors && matches!(error, ComponentsError::Init { .. }) {
        tracing::error!(target: SCOPE, "Ignoring error processing component: {error}");
        return Ok(());
    }
    tracing::warn!(
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
    ComponentsError::Init {
        name: component.head.name.clone(),
        log_name,
        cause,
    }
}

/// A component as the metadata lists it.
pub(super) fn listed(component: &Component) -> ComponentInfo {
    let capabilities = capabilities::of(component);
    ComponentInfo {
        name: component.head.name.clone(),
        kind: component.kind.clone(),
        version: component.version.clone(),
        capabilities: capabilities.into_iter().map(ToOwned::to_owned).collect(),
    }
}

/// Whether an app is asked for its subscriptions.
pub(super) fn has_message_bus(components: &[Arc<Component>]) -> bool {
    components
        .iter()
        .any(|component| component.category() == Some("pubsub"))
}

/// A component of this name and type, for tests.
#[cfg(test)]
pub(super) fn sample((name, kind): (&str, &str)) -> Arc<Component> {
    Arc::new(Component {
        head: resources::Head {
            name: name.to_owned(),
            ..resources::Head::default()
        },
        kind: kind.to_owned(),
        ..Component::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_are_to_be_ignored() {
        let mut component = Component::clone(&sample(("guard", "middleware.http.opa")));
        for (ignores, is_survived) in [(false, false), (true, true)] {
            component.ignore_errors = ignores;
            let error = failed(&component, "why");
            assert_eq!(survive(&component, error).is_ok(), is_survived);
            // Serving without it would let through what it is there to stop.
            let missing = ComponentsError::NotBuilt {
                name: "guard".to_owned(),
                cause: "why".to_owned(),
            };
            assert!(survive(&component, missing).is_err());
        }
    }

    /// Somebody who lists may know a resource as it was, and as it is.
    #[test]
    fn of_several_of_one_name_the_last_counts() {
        let (uppercase, alias) = ("middleware.http.uppercase", "middleware.http.routeralias");
        for (before, after, wanted) in [
            (
                vec![("a", uppercase), ("b", alias)],
                vec![("a", uppercase), ("b", alias), ("a", alias)],
                vec![("b", alias), ("a", alias)],
            ),
            (
                vec![],
                vec![("a", alias), ("a", uppercase), ("a", alias)],
                vec![("a", alias)],
            ),
            (
                vec![("a", alias), ("a", uppercase)],
                vec![("a", alias)],
                vec![("a", alias)],
            ),
        ] {
            let [before, after] = [before, after].map(|of| of.into_iter().map(sample).collect::<Vec<_>>());
            let configuration = Configuration::default();
            let mut accepted = accept(before.clone(), &configuration, None).unwrap();
            // All of them were set up.
            let set_up = std::mem::take(&mut accepted.middleware);
            accepted.components.extend(set_up);
            let renewed = accepted
                .renewed((&before, after), false, true, &configuration, None)
                .unwrap();
            let found = renewed.middleware.iter();
            let found: Vec<_> = found
                .map(|one| (one.head.name.as_str(), one.kind.as_str()))
                .collect();
            assert_eq!(found, wanted);
        }
    }
}
