//! Policies of resiliency: whether they can be used, whether anybody uses them, and whether what targets name is there.

use std::collections::BTreeSet;

use resiliency::check::{Names, built_in_retries, is_default, is_protected, mistakes};
use resources::{Finding, Resiliency, Resource, Severity, TargetPolicies};

use super::{PlacedResource, World};

pub(super) fn judge(world: &mut World<'_>) {
    let app_policies: Vec<PlacedResource<'_, Resiliency>> = world
        .policies
        .iter()
        .copied()
        .filter(|found| world.is_in_scope(&found.resource.head))
        .collect();
    // A target may name the policies of another resource.
    let (mut there, mut used) = (Names::default(), Names::default());
    there.retries.extend(built_in_retries().map(ToOwned::to_owned));
    for found in &app_policies {
        there.add(found.resource);
        used.add_uses(found.resource);
    }
    for found in app_policies {
        for mistake in mistakes(found.resource) {
            let text = format!("{}: nothing of this resource is used", mistake.text);
            world.tell_of(
                found,
                &mistake.path,
                Finding::new(Severity::Error, "policy", text),
            );
        }
        unused(world, found, &used);
        targets(world, found, &there);
    }
}

fn unused(world: &mut World<'_>, found: PlacedResource<'_, Resiliency>, used: &Names) {
    let Resiliency {
        timeouts,
        retries,
        circuit_breakers,
        hedges,
        ..
    } = found.resource;
    let timeouts = timeouts.keys().map(|name| ("timeouts", name, &used.timeouts));
    let retries = retries.keys().map(|name| ("retries", name, &used.retries));
    let breakers = circuit_breakers
        .keys()
        .map(|name| ("circuitBreakers", name, &used.circuit_breakers));
    let hedges = hedges.keys().map(|name| ("hedges", name, &used.hedges));
    for (kind, name, used) in timeouts.chain(retries).chain(breakers).chain(hedges) {
        let path = ["spec", "policies", kind, name];
        if is_protected(name) {
            let text = format!("the policy {name} may not be changed, this one is not used");
            world.tell_of(found, &path, Finding::new(Severity::Warning, "policy", text));
        } else if !used.contains(name) && !is_default(name) {
            let text = format!("no target uses the policy {name:?} of {kind}");
            world.tell_of(found, &path, Finding::new(Severity::Warning, "unused", text));
        }
    }
}

fn targets(world: &mut World<'_>, found: PlacedResource<'_, Resiliency>, there: &Names) {
    let Resiliency {
        apps,
        actors,
        components,
        ..
    } = found.resource;
    for (name, policies) in apps {
        let path = ["spec", "targets", "apps", name];
        named(world, found, &path, policies, there);
        if world.lacks_app(name) {
            let text = format!("there is no app and no HTTPEndpoint {name:?}");
            let finding = Finding::new(Severity::Warning, "target", text).near(name, world.callable());
            world.tell_of(found, &path, finding);
        }
    }
    for (name, policies) in actors {
        named(
            world,
            found,
            &["spec", "targets", "actors", name],
            policies,
            there,
        );
    }
    for (name, ways) in components {
        let path = ["spec", "targets", "components", name];
        for (way, policies) in ["inbound", "outbound"].into_iter().zip(ways) {
            named(world, found, &[&path[..], &[way]].concat(), policies, there);
        }
        let known: BTreeSet<&str> = world
            .components
            .iter()
            .map(|found| found.resource.head().name.as_str())
            .collect();
        if !known.is_empty() && !known.contains(name.as_str()) {
            let text = format!("there is no component {name:?}");
            let finding = Finding::new(Severity::Warning, "target", text).near(name, known);
            world.tell_of(found, &path, finding);
        }
    }
}

/// Whether the policies that a target names are there.
fn named(
    world: &mut World<'_>,
    found: PlacedResource<'_, Resiliency>,
    path: &[&str],
    policies: &TargetPolicies,
    there: &Names,
) {
    for (field, name, known) in [
        ("timeout", &policies.timeout, &there.timeouts),
        ("retry", &policies.retry, &there.retries),
        (
            "circuitBreaker",
            &policies.circuit_breaker,
            &there.circuit_breakers,
        ),
        ("hedge", &policies.hedge, &there.hedges),
    ] {
        if !name.is_empty() && !known.contains(name) {
            let text = format!("there is no policy {name:?}, calls go without it");
            let finding = Finding::new(Severity::Warning, "unknown-policy", text);
            let finding = finding.near(name, known.iter().map(String::as_str));
            world.tell_of(found, &[path, &[field]].concat(), finding);
        }
    }
    for (key, method) in &policies.methods {
        named(
            world,
            found,
            &[path, &["methods", key.as_str()]].concat(),
            method,
            there,
        );
    }
}
