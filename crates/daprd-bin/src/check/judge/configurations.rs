//! Configurations: whether each section can be used, and whether what it names is there.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::access_control::{AppKind, Policy, Unobserved};
use ::middleware::{Mismatch, Wanted};
use resources::{
    AppPolicy, Component, Configuration, Content, Finding, Place, Resource, Severity, layered_configuration,
};
use telemetry::metrics::{PathLabels, Rules};
use telemetry::traces::TraceError;

use super::{Layers, PlacedResource, World};
use crate::sidecar::{ReuseBounds, api_lists_of, metric_rules, push_plan, trace_plan};

/// The features that Dapr 1.18 has.
const FEATURES: [&str; 6] = [
    "ActorStateTTL",
    "HotReload",
    "WorkflowHistorySigning",
    "WorkflowsClusteredDeployment",
    "WorkflowsFastPath",
    "WorkflowsRemoteActivityReminder",
];

/// One configuration, and the files that it is made of.
struct Layered<'a> {
    layers: &'a Layers<'a>,
    configuration: Configuration,
}

impl<'a> Layered<'a> {
    fn of(layers: &'a Layers<'a>) -> Option<Self> {
        let documents = layers.iter().filter_map(|(_, document)| match &document.content {
            Content::Configuration(value) => Some(value.clone()),
            _ => None,
        });
        let configuration = layered_configuration(documents.collect())?;
        Some(Self {
            layers,
            configuration,
        })
    }

    /// Where a field stands: in the last of the files that has it, or as much of the way to it.
    fn place(&self, path: &[impl AsRef<str>]) -> (&'a str, Place) {
        for length in (0..=path.len()).rev() {
            let mut layers = self.layers.iter().rev();
            if let Some((file, document)) = layers.find(|(_, document)| document.has(&path[..length])) {
                return (*file, document.place(&path[..length]));
            }
        }
        ("", Place::default())
    }

    fn tell(&self, world: &mut World<'_>, path: &[impl AsRef<str>], finding: Finding) {
        let (file, place) = self.place(path);
        world.tell(file, finding.at(place));
    }

    /// `spec.metrics`, or the older `spec.metric` if that is what has the section.
    fn metrics(&self, section: &[&'static str]) -> Vec<&'static str> {
        let path = [&["spec", "metrics"], section].concat();
        let has = |(_, document): &(&str, &resources::Inspected)| document.has(&path);
        if self.layers.iter().any(has) {
            path
        } else {
            [&["spec", "metric"], section].concat()
        }
    }
}

pub(super) fn judge(world: &mut World<'_>) {
    let configurations = std::mem::take(&mut world.configurations);
    let mut used: BTreeSet<String> = BTreeSet::new();
    for layers in &configurations {
        let Some(layered) = Layered::of(layers) else {
            continue;
        };
        access_control(world, &layered);
        api_lists(world, &layered);
        pipelines(world, &layered, &mut used);
        tracing(world, &layered);
        metrics(world, &layered);
        routing(world, &layered);
        app(world, &layered);
        names(world, &layered);
        secrets(world, &layered);
        features(world, &layered);
        components(world, &layered);
    }
    if !configurations.is_empty() {
        unused_middleware(world, &used);
    }
}

/// The way to a field of an item of a list.
fn below(list: &[&str], index: usize, field: &str) -> Vec<String> {
    let mut path: Vec<String> = list.iter().map(ToString::to_string).collect();
    path.extend([index.to_string(), field.to_owned()]);
    path
}

fn access_control(world: &mut World<'_>, layered: &Layered<'_>) {
    const POLICIES: [&str; 3] = ["spec", "accessControl", "policies"];
    let Some(spec) = &layered.configuration.access_control else {
        return;
    };
    let kind = if world.is_grpc {
        AppKind::Grpc
    } else {
        AppKind::Http
    };
    let mut whole = spec.clone();
    complete(world, layered, whole.policies.iter_mut().flatten());
    let compiled = Policy::compile(Some(&whole), kind, Arc::new(Unobserved));
    let told = compiled.map_or_else(|_| Vec::new(), |(_, findings)| findings);
    for finding in told {
        let severity = Severity::Warning;
        layered.tell(
            world,
            &finding.path,
            Finding::new(severity, "access-control", finding.text),
        );
    }
    for (index, policy) in spec.policies.iter().flatten().enumerate() {
        if !policy.app_id.is_empty() && world.lacks_app(&policy.app_id) {
            let path = below(&POLICIES, index, "appId");
            let text = format!("there is no app {:?}", policy.app_id);
            let finding = Finding::new(Severity::Warning, "target", text);
            let finding = finding.near(&policy.app_id, world.apps.iter().map(String::as_str));
            layered.tell(world, &path, finding);
        }
    }
}

/// Tells what is missing of policies that do not say whom they are for, and puts something in its place, so that the others
/// can be judged, too.
fn complete<'a>(
    world: &mut World<'_>,
    layered: &Layered<'_>,
    policies: impl Iterator<Item = &'a mut AppPolicy>,
) {
    for (index, policy) in policies.enumerate() {
        for (field, value) in [
            ("appId", &mut policy.app_id),
            ("trustDomain", &mut policy.trust_domain),
            ("namespace", &mut policy.namespace),
        ] {
            if value.is_empty() {
                *value = format!("missing-{index}");
                let path = ["spec", "accessControl", "policies", &index.to_string()];
                let text = format!("the policy has no {field}, the sidecar does not start");
                layered.tell(
                    world,
                    &path,
                    Finding::new(Severity::Error, "access-control", text),
                );
            }
        }
    }
}

fn api_lists(world: &mut World<'_>, layered: &Layered<'_>) {
    let lists = api_lists_of(&layered.configuration);
    let no_protocol = lists
        .without_protocol()
        .map(|(list, rule)| (list, rule, "has no effect: expected http or grpc as protocol"));
    let unknown = api_http::unknown_apis(&lists).chain(api_grpc::unknown_apis(&lists));
    let unknown = unknown.map(|(list, rule)| (list, rule, "names no API"));
    let mut findings = Vec::new();
    for (list, rule, why) in no_protocol.chain(unknown) {
        let rules = if list == "allowed" {
            &lists.allowed
        } else {
            &lists.denied
        };
        let index = rules
            .iter()
            .position(|other| std::ptr::eq(other, rule))
            .unwrap_or_default();
        let text = format!("spec.api.{list}: the rule {rule} {why}");
        findings.push((list, index, text));
    }
    for (list, index, text) in findings {
        let path = ["spec", "api", list, &index.to_string()];
        layered.tell(world, &path, Finding::new(Severity::Warning, "api", text));
    }
}

fn pipelines(world: &mut World<'_>, layered: &Layered<'_>, used: &mut BTreeSet<String>) {
    let configuration = &layered.configuration;
    for (field, pipeline) in [
        ("httpPipeline", &configuration.http_pipeline),
        ("appHttpPipeline", &configuration.app_http_pipeline),
    ] {
        for (index, handler) in pipeline.handlers.iter().enumerate() {
            used.insert(handler.name.clone());
            let index = index.to_string();
            let path = ["spec", field, "handlers", index.as_str()];
            let components = world.for_app(&world.components);
            let named = components
                .iter()
                .find(|found| found.resource.head.name == handler.name);
            let (at, finding) = match named.map(|found| found.resource) {
                None => {
                    let text = format!("there is no component {:?}: calls go on without it", handler.name);
                    let known = components.iter().map(|found| found.resource.head.name.as_str());
                    let finding =
                        Finding::new(Severity::Warning, "pipeline", text).near(&handler.name, known);
                    ("name", finding)
                }
                Some(component) => match mismatch(handler, component) {
                    Some((at, text)) => (at, Finding::new(Severity::Warning, "pipeline", text)),
                    None => continue,
                },
            };
            layered.tell(world, &[&path[..], &[at]].concat(), finding);
        }
    }
}

/// Why a component is not the one that is named.
fn mismatch(handler: &resources::Handler, component: &Component) -> Option<(&'static str, String)> {
    let wanted = Wanted {
        name: &handler.name,
        kind: &handler.kind,
        version: &handler.version,
    };
    let or_first = |version: &str| if version.is_empty() { "v1" } else { version }.to_owned();
    let (field, is, wants) = match wanted.mismatch(&component.kind, &component.version)? {
        Mismatch::Kind => ("type", component.kind.clone(), handler.kind.clone()),
        Mismatch::Version => (
            "version",
            or_first(&component.version),
            or_first(&handler.version),
        ),
    };
    let name = &handler.name;
    let text =
        format!("the component {name:?} is of the {field} {is:?}, not {wants:?}: calls go on without it");
    Some((field, text))
}

fn unused_middleware(world: &mut World<'_>, used: &BTreeSet<String>) {
    let components: Vec<PlacedResource<'_, Component>> = world.for_app(&world.components);
    for found in components {
        let name = &found.resource.head.name;
        if found.resource.category() == Some("middleware") && !used.contains(name) {
            let text = format!("no pipeline of a configuration names the middleware {name:?}");
            world.tell_of(
                found,
                &["metadata", "name"],
                Finding::new(Severity::Warning, "unused", text),
            );
        }
    }
}

fn tracing(world: &mut World<'_>, layered: &Layered<'_>) {
    let rate = &layered.configuration.tracing.sampling_rate;
    let is_rate = rate.parse::<f64>().is_ok_and(|rate| (0.0..=1.0).contains(&rate));
    if !rate.is_empty() && !is_rate {
        let text = format!("{rate:?} is no rate: expected a number from 0 to 1");
        let finding = Finding::new(Severity::Warning, "tracing", text);
        layered.tell(world, &["spec", "tracing", "samplingRate"], finding);
    }
    let Err(error) = trace_plan(world.app_id, &layered.configuration) else {
        return;
    };
    let path: &[&str] = match error {
        TraceError::Protocol(_) => &["spec", "tracing", "otel", "protocol"],
        TraceError::Zipkin { .. } => &["spec", "tracing", "zipkin", "endpointAddress"],
        TraceError::Timeout(_) => &["spec", "tracing", "otel", "timeout"],
        TraceError::Variable(_) => &["spec", "tracing"],
    };
    layered.tell(
        world,
        path,
        Finding::new(Severity::Error, "tracing", error.to_string()),
    );
}

fn metrics(world: &mut World<'_>, layered: &Layered<'_>) {
    if let Err(error) = push_plan(world.app_id, &layered.configuration) {
        let finding = Finding::new(Severity::Error, "metrics", error.to_string());
        layered.tell(world, &["spec", "daprd", "metrics", "otlp"], finding);
    }
    let metric = layered.configuration.metric();
    let mut told: Vec<(&[&'static str], String)> = Vec::new();
    let http = metric.http.clone().unwrap_or_default();
    let (_, errors) = PathLabels::new(true, &http.path_matching);
    told.extend(
        errors
            .iter()
            .map(|error| (&["http", "pathMatching"][..], error.to_string())),
    );
    let (_, errors) = Rules::compile(metric_rules(&metric));
    told.extend(errors.iter().map(|error| (&["rules"][..], error.to_string())));
    let buckets = metric.latency_distribution_buckets.iter().flatten();
    for bucket in buckets.filter(|bucket| **bucket < 0) {
        told.push((
            &["latencyDistributionBuckets"],
            format!("{bucket} is negative and not used"),
        ));
    }
    for (section, text) in told {
        let path = layered.metrics(section);
        layered.tell(world, &path, Finding::new(Severity::Warning, "metrics", text));
    }
}

/// How the app is called.
fn app(world: &mut World<'_>, layered: &Layered<'_>) {
    if let Err(error) = ReuseBounds::of(&layered.configuration.daprd.app.connections) {
        let finding = Finding::new(Severity::Error, "app", error.to_string());
        let path = ["spec", "daprd", "app", "connections", "maxAge"];
        layered.tell(world, &path, finding);
    }
}

/// What is done with calls to some apps.
fn routing(world: &mut World<'_>, layered: &Layered<'_>) {
    if let Err(error) = layered.configuration.routed() {
        let finding = Finding::new(Severity::Error, "routing", error.to_string());
        layered.tell(world, &["spec", "routing"], finding);
    }
}

fn names(world: &mut World<'_>, layered: &Layered<'_>) {
    let wanted = &layered.configuration.name_resolution;
    if let Err(error) = name_resolution::preferences(&wanted.balancing, "") {
        let finding = Finding::new(Severity::Error, "name-resolution", error.to_string());
        layered.tell(world, &["spec", "nameResolution", "balancing"], finding);
    }
    if wanted.component.is_empty() {
        return;
    }
    let version = if wanted.version.is_empty() {
        "v1"
    } else {
        &wanted.version
    };
    let instance = name_resolution::Instance {
        app_id: "app".to_owned(),
        address: "127.0.0.1".to_owned(),
        internal_port: 1,
        http_port: 2,
        app_port: Some(3),
        host_name: "host".to_owned(),
    };
    let checked = name_resolution::check(&wanted.component, version, &wanted.configuration, &instance);
    let Err(error) = checked else { return };
    let is_unknown = matches!(error, name_resolution::InitError::Unknown { .. });
    let field = if is_unknown { "component" } else { "configuration" };
    let finding = Finding::new(Severity::Error, "name-resolution", error.to_string());
    let finding = finding.near(&wanted.component, name_resolution::RESOLVERS.iter().copied());
    layered.tell(world, &["spec", "nameResolution", field], finding);
}

fn secrets(world: &mut World<'_>, layered: &Layered<'_>) {
    const SCOPES: [&str; 3] = ["spec", "secrets", "scopes"];
    for (index, field, error) in layered.configuration.secret_mistakes() {
        let path = below(&SCOPES, index, field);
        let finding = Finding::new(Severity::Error, "secret-scope", error.to_string());
        layered.tell(world, &path, finding);
    }
    let stores: BTreeSet<String> = world
        .for_app(&world.components)
        .iter()
        .filter(|found| found.resource.category() == Some("secretstores"))
        .map(|found| found.resource.head().name.clone())
        .collect();
    if world.components.is_empty() {
        return;
    }
    for (index, store) in layered.configuration.secret_scopes().enumerate() {
        if store != "kubernetes" && !stores.contains(store) {
            let path = below(&SCOPES, index, "storeName");
            let text = format!("there is no secret store {store:?}");
            let finding = Finding::new(Severity::Warning, "secret-scope", text);
            layered.tell(
                world,
                &path,
                finding.near(store, stores.iter().map(String::as_str)),
            );
        }
    }
}

fn features(world: &mut World<'_>, layered: &Layered<'_>) {
    for (index, name) in layered.configuration.named_features().enumerate() {
        if !FEATURES.contains(&name) {
            let path = ["spec", "features", &index.to_string(), "name"];
            let text = format!("Dapr has no feature {name:?}");
            layered.tell(
                world,
                &path,
                Finding::new(Severity::Warning, "feature", text).near(name, FEATURES),
            );
        }
    }
}

fn components(world: &mut World<'_>, layered: &Layered<'_>) {
    for (index, rule) in layered.configuration.denied_components().iter().enumerate() {
        let path = ["spec", "components", "deny", &index.to_string()];
        if rule.matches('/').count() > 1 {
            let text = format!(
                "{rule:?} is not looked at: expected a type, or a type and a version after one slash"
            );
            layered.tell(world, &path, Finding::new(Severity::Warning, "component", text));
        }
    }
}
