//! Components: their types, their metadata, and the secrets that they refer to.

use std::collections::HashMap;

use middleware::{Properties, Spec};
use resources::{
    Component, Finding, Item, References, Resource, SecretSource, SecretStore, Severity, Unresolved,
};

use super::{PlacedResource, World, types};
use crate::sidecar::{check_component, is_kubernetes_store};

const TYPE: &[&str] = &["spec", "type"];

/// Judges components; gives the secret stores that resources may refer to.
pub(super) fn judge(world: &mut World<'_>) -> SecretSource {
    let components = world.for_app(&world.components);
    let mut stores = HashMap::new();
    for found in &components {
        if let Some(store) = one(world, *found) {
            stores.insert(found.resource.head.name.clone(), store);
        }
    }
    let source = SecretSource {
        stores,
        is_kubernetes: false,
        allowed_variables: (world.lookup)("DAPR_ENV_KEYS").unwrap_or_default(),
    };
    for found in &components {
        let is_middleware = found.resource.category() == Some("middleware");
        let mut resolved = found.resource.clone();
        secrets(world, *found, &mut resolved, &source, is_middleware, |index| {
            vec!["spec".to_owned(), "metadata".to_owned(), index.to_string()]
        });
        if is_middleware {
            middleware(world, *found, resolved);
        }
    }
    source
}

/// A component by itself; the secret store that it is.
fn one(world: &mut World<'_>, found: PlacedResource<'_, Component>) -> Option<SecretStore> {
    let component = found.resource;
    let kind = component.kind.as_str();
    if component.category().is_none() {
        let text = format!("incorrect type {kind:?}: Dapr has no components of this category");
        let known: Vec<String> = types::all().collect();
        let finding = Finding::new(Severity::Error, "component-type", text);
        world.tell_of(found, TYPE, finding.near(kind, known.iter().map(String::as_str)));
        return None;
    }
    if let Some(new) = types::renamed(kind) {
        let text = format!("the type {kind} is called {new} by now");
        world.tell_of(found, TYPE, Finding::new(Severity::Warning, "deprecated", text));
    }
    if !types::is_known(kind) {
        let known: Vec<String> = types::all().collect();
        let finding = Finding::new(
            Severity::Warning,
            "component-type",
            format!("Dapr has no component of the type {kind:?}"),
        );
        world.tell_of(found, TYPE, finding.near(kind, known.iter().map(String::as_str)));
    }
    // The credentials of a cluster are not those of whoever checks.
    if is_kubernetes_store(component) || component.category() == Some("middleware") {
        return None;
    }
    match check_component(component) {
        Err(error) => {
            let severity = if component.ignore_errors {
                Severity::Warning
            } else {
                Severity::Error
            };
            let finding = Finding::new(severity, "component", error);
            world.tell_of(found, &["spec", "metadata"], finding);
            None
        }
        Ok(None) => {
            let text = format!(
                "the component {} is listed and does nothing: this sidecar serves service invocation only",
                component.log_name()
            );
            world.tell_of(found, TYPE, Finding::new(Severity::Note, "no-effect", text));
            None
        }
        Ok(store) => store,
    }
}

/// Looks up what a resource refers to, and tells what is not there. `way` leads to a value by its position.
pub(super) fn secrets<R: References>(
    world: &mut World<'_>,
    found: PlacedResource<'_, R>,
    resource: &mut R,
    source: &SecretSource,
    is_needed: bool,
    way: impl Fn(usize) -> Vec<String>,
) {
    let lookup = world.lookup;
    let variables = resource.items_mut().into_iter().enumerate();
    let unset: Vec<(usize, String)> = variables
        .filter(|(_, item)| {
            item.value.is_none() && !item.variable.is_empty() && lookup(&item.variable).is_none()
        })
        .map(|(index, item)| (index, item.variable.clone()))
        .collect();
    // What Kubernetes knows is not known offline.
    let is_of_cluster =
        world.is_kubernetes && ["", "kubernetes"].contains(&resource.head().secret_store.as_str());
    let lost: Vec<Unresolved> = if is_of_cluster {
        Vec::new()
    } else {
        source.resolve(resource, lookup)
    };
    for (index, variable) in unset {
        if lost.iter().all(|lost| lost.index != index) {
            let text = format!("the variable {variable:?} is not set here, the value is empty");
            let finding = Finding::new(Severity::Warning, "variable", text);
            world.tell_of(found, &[way(index), vec!["envRef".to_owned()]].concat(), finding);
        }
    }
    let severity = if is_needed {
        Severity::Error
    } else {
        Severity::Warning
    };
    let mut is_told = Vec::new();
    for Unresolved { index, text } in lost {
        let is_variable = resource.items_mut()[index].secret.name.is_empty();
        let (field, rule) = if is_variable {
            ("envRef", "variable")
        } else {
            ("secretKeyRef", "secret")
        };
        let finding = Finding::new(severity, rule, text);
        world.tell_of(found, &[way(index), vec![field.to_owned()]].concat(), finding);
        is_told.push(index);
    }
    // Without its store none of the values is looked up, which is told once.
    let has_store = source.stores.contains_key(&resource.head().secret_store);
    let empty: Vec<(usize, String)> = resource
        .items_mut()
        .into_iter()
        .enumerate()
        .filter(|(index, item)| has_store && is_without_value(item) && !is_told.contains(index))
        .map(|(index, item)| (index, item.secret.name.clone()))
        .collect();
    for (index, name) in empty {
        let text = format!("the secret {name:?} has no value of this key");
        let finding = Finding::new(severity, "secret", text);
        world.tell_of(
            found,
            &[way(index), vec!["secretKeyRef".to_owned()]].concat(),
            finding,
        );
    }
}

fn is_without_value(item: &Item) -> bool {
    !item.secret.name.is_empty() && item.value.is_none()
}

/// Whether middleware can be set up, as far as that is known offline, and whether anybody uses it.
fn middleware(world: &mut World<'_>, found: PlacedResource<'_, Component>, resolved: Component) {
    let component = found.resource;
    // Where a value is somewhere else nobody knows whether the whole is right.
    let is_elsewhere = |item: &Item| {
        let is_referred_to = !item.secret.name.is_empty() || !item.variable.is_empty();
        is_referred_to && item.value.as_deref().unwrap_or_default().is_empty()
    };
    let is_known = !resolved.metadata.iter().any(is_elsewhere);
    let items = resolved.metadata.into_iter();
    let spec = Spec {
        name: component.head.name.clone(),
        kind: component.kind.clone(),
        version: component.version.clone(),
        properties: Properties::new(items.map(|item| (item.name, item.value.unwrap_or_default()))),
    };
    if let Err(error) = spec.check() {
        let severity = if component.ignore_errors {
            Severity::Warning
        } else {
            Severity::Error
        };
        let is_about_type = !matches!(error, middleware::LoadError::Create { .. });
        if !is_about_type && !is_known {
            return;
        }
        let path: &[&str] = if is_about_type {
            TYPE
        } else {
            &["spec", "metadata"]
        };
        world.tell_of(
            found,
            path,
            Finding::new(severity, "component", error.to_string()),
        );
    }
}
