//! Names: those that are missing, and those that stand twice.

use resources::{Finding, Head, Resource, Severity};

use super::{PlacedResource, World};

/// As many resources of one name are compared with each other.
const MOST_OF_A_NAME: usize = 50;

pub(super) fn judge(world: &mut World<'_>) {
    let components = world.components.clone();
    let endpoints = world.endpoints.clone();
    of_kind(world, &components, Severity::Error, "the sidecar does not start");
    of_kind(world, &endpoints, Severity::Error, "no endpoint at all is loaded");
    for found in world.policies.clone() {
        empty(world, found, &found.resource.head);
    }
    let app_id = world.app_id;
    if app_id.contains('.') {
        let finding = Finding::new(
            Severity::Error,
            "name",
            "an app id with dots is refused: parameter app-id cannot contain dots",
        );
        world.tell("--app-id", finding);
    }
}

fn empty<R>(world: &mut World<'_>, found: PlacedResource<'_, R>, head: &Head) {
    if head.name.is_empty() {
        let finding = Finding::new(Severity::Warning, "name", "metadata.name is not given");
        world.tell_of(found, &["metadata"], finding);
    }
}

fn of_kind<R: Resource>(
    world: &mut World<'_>,
    all: &[PlacedResource<'_, R>],
    severity: Severity,
    then: &str,
) {
    let mut by_name: std::collections::HashMap<&str, Vec<PlacedResource<'_, R>>> =
        std::collections::HashMap::new();
    for found in all {
        let head = found.resource.head();
        empty(world, *found, head);
        let is_here =
            world.namespace.is_empty() || head.namespace.is_empty() || head.namespace == world.namespace;
        if !is_here || head.name.is_empty() {
            continue;
        }
        let others = by_name.entry(&head.name).or_default();
        if let Some(other) = others
            .iter()
            .find(|other| collide(world, other.resource.head(), head))
        {
            let place = other.document.place(&["metadata", "name"]);
            let text = format!(
                "duplicate definition of {} name {} with existing {} at {}:{}:{}: {then}",
                R::KIND,
                found.resource.log_name(),
                other.resource.log_name(),
                other.file,
                place.line,
                place.column,
            );
            world.tell_of(
                *found,
                &["metadata", "name"],
                Finding::new(severity, "duplicate", text),
            );
            continue;
        }
        // One that is not in scope is left out before its name is taken.
        if world.is_in_scope(head) && others.len() < MOST_OF_A_NAME {
            others.push(*found);
        }
    }
}

/// Whether there is a sidecar that has both.
fn collide(world: &World<'_>, one: &Head, other: &Head) -> bool {
    let is_one_namespace =
        one.namespace == other.namespace || one.namespace.is_empty() || other.namespace.is_empty();
    let is_one_app = !world.app_id.is_empty()
        || one.scopes.is_empty()
        || other.scopes.is_empty()
        || one.scopes.iter().any(|scope| other.scopes.contains(scope));
    is_one_namespace && is_one_app
}
