//! The settings of the APIs.

use std::collections::HashSet;
use std::sync::Arc;

use api_core::{ApiLists, ApiToken, AppConnection, AppHealth, MetadataSettings};
use api_http::{ApiSettings, Cors};
use invoke_core::Pipeline;
use resources::{Component, Configuration, HttpEndpoint, Resiliency};

use super::components::listed;
use crate::environment::Environment;
use crate::flags::{Flags, Options, Settings};
use crate::limits::max_message;

/// The resources that the metadata lists.
pub(super) struct Shown<'a> {
    pub(super) components: &'a [Arc<Component>],
    pub(super) endpoints: &'a [Arc<HttpEndpoint>],
    pub(super) resiliency: &'a [Arc<Resiliency>],
}

pub(super) fn metadata(
    settings: &Settings,
    configuration: &Configuration,
    environment: &Environment,
    shown: Shown<'_>,
) -> MetadataSettings {
    let app = &settings.app;
    let health = app.health.as_ref().map(|health| AppHealth {
        health_check_path: if app.protocol.is_http() {
            health.path.clone()
        } else {
            String::new()
        },
        health_probe_interval: go_text::format_duration(health.interval),
        health_probe_timeout: go_text::format_duration(health.timeout),
        health_threshold: health.threshold,
    });
    MetadataSettings {
        app_id: settings.app_id.clone(),
        namespace: environment.namespace.clone(),
        version: crate::flags::VERSION.to_owned(),
        features: configuration.enabled_features(),
        components: shown
            .components
            .iter()
            .map(|component| listed(component))
            .collect(),
        http_endpoints: shown
            .endpoints
            .iter()
            .map(|endpoint| endpoint.head.name.clone())
            .collect(),
        resiliencies: names(shown.resiliency),
        app: AppConnection {
            port: app.port_shown,
            protocol: app.protocol.name().to_owned(),
            channel_address: app.address.clone(),
            max_concurrency: app.max_concurrency.unwrap_or(0),
            health,
        },
    }
}

/// Each name once, whatever is wrong with the policies.
fn names(resiliency: &[Arc<Resiliency>]) -> Vec<String> {
    let mut seen = HashSet::new();
    let names = resiliency.iter().map(|resource| &resource.head.name);
    names.filter(|name| seen.insert(*name)).cloned().collect()
}

pub(super) fn api_settings(
    flags: &Flags,
    options: &Options,
    configuration: &Configuration,
    environment: &Environment,
    apis: ApiLists,
    pipeline: Option<Arc<dyn Pipeline>>,
) -> ApiSettings {
    ApiSettings {
        max_body: options.max_body,
        token: ApiToken::new(&environment.api_token),
        apis,
        cors: Cors::parse(flags.text("allowed-origins")),
        tracing: is_traced(configuration),
        pipeline,
        deadline_header: environment.deadline_header.clone(),
    }
}

/// Whether trace contexts are read and given back: a rate of exactly nothing switches all of it off.
pub(super) fn is_traced(configuration: &Configuration) -> bool {
    configuration.tracing.sampling_rate.parse::<f64>() != Ok(0.0)
}

pub(super) fn grpc_settings(
    options: &Options,
    configuration: &Configuration,
    environment: &Environment,
    apis: ApiLists,
) -> api_grpc::ApiSettings {
    api_grpc::ApiSettings {
        max_message: max_message(options),
        token: ApiToken::new(&environment.api_token),
        apis,
        tracing: is_traced(configuration),
    }
}
