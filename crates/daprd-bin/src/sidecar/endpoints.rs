//! HTTP endpoints: the addresses outside of the mesh that apps call by name.

use app_channel::{External, ExternalSettings};
use lifecycle::Tasks;
use resources::{HttpEndpoint, SecretSource};

use crate::flags::{Options, Settings};
use crate::limits::app_header_limit;
use crate::scope::SCOPE;

/// Names the endpoints in the log, and puts their secrets and variables in place.
pub(super) fn process(mut endpoints: Vec<HttpEndpoint>, secrets: &SecretSource) -> Vec<HttpEndpoint> {
    endpoints.retain(|endpoint| !endpoint.head.name.is_empty());
    for endpoint in &mut endpoints {
        tracing::info!(target: SCOPE, "Found http endpoint: {}", endpoint.head.name);
        for warning in secrets.resolve(endpoint, |name| std::env::var(name).ok()) {
            tracing::warn!(target: "dapr.runtime.processor", "{warning}");
        }
        let tls = &endpoint.tls;
        if tls.certificate.value.is_some() && tls.private_key.value.is_none() {
            tracing::warn!(
                target: SCOPE,
                "HTTPEndpoint {}: the certificate of clientTLS is not used, because privateKey has no value",
                endpoint.head.name
            );
        }
    }
    tracing::info!(target: SCOPE, "Waiting for all outstanding http endpoints to be processed…");
    tracing::info!(target: SCOPE, "All outstanding http endpoints processed");
    endpoints
}

/// The channels to everything outside of the mesh. An endpoint that cannot be set up is told.
pub(super) fn external(
    endpoints: &[HttpEndpoint],
    settings: &Settings,
    options: &Options,
    connections: &Tasks,
) -> External {
    let settings = ExternalSettings {
        max_header_bytes: app_header_limit(options),
        max_concurrency: settings.app.max_concurrency.map(|places| places as usize),
        endpoints: endpoints.iter().map(settings_of).collect(),
    };
    let (external, errors) = External::new(settings, connections);
    for error in errors {
        tracing::warn!(target: SCOPE, "failed to create HTTP endpoint channel: {error}");
    }
    external
}

fn settings_of(endpoint: &HttpEndpoint) -> app_channel::EndpointSettings {
    let value = |item: &resources::Item| item.value.clone().unwrap_or_default();
    app_channel::EndpointSettings {
        name: endpoint.head.name.clone(),
        base_url: endpoint.base_url.clone(),
        headers: endpoint
            .headers
            .iter()
            .map(|item| (item.name.clone(), value(item)))
            .collect(),
        root_ca: value(&endpoint.tls.root_ca),
        certificate: value(&endpoint.tls.certificate),
        private_key: value(&endpoint.tls.private_key),
        renegotiation: endpoint.tls.renegotiation.clone(),
    }
}
