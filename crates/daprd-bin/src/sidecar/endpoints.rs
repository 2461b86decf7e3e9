//! HTTP endpoints: the addresses outside of the mesh that apps call by name.

use std::sync::Arc;
use std::time::Duration;

use app_channel::{External, ExternalSettings, NamedEndpoint, Watched};
use lifecycle::Tasks;
use resources::{HttpEndpoint, SecretSource};

use crate::environment;
use crate::flags::{Options, Settings};
use crate::limits::app_header_limit;
use crate::scope::SCOPE;

/// How long a server may take to shake hands when it is tried.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

/// Names the endpoints in the log, and puts their secrets and variables in place.
pub(super) fn process(endpoints: Vec<Arc<HttpEndpoint>>, secrets: &SecretSource) -> Vec<Arc<HttpEndpoint>> {
    for endpoint in endpoints.iter().filter(|endpoint| !endpoint.head.name.is_empty()) {
        tracing::info!(target: SCOPE, "Found http endpoint: {}", endpoint.head.name);
    }
    let endpoints = resolve(endpoints, secrets);
    tracing::info!(target: SCOPE, "Waiting for all outstanding http endpoints to be processed…");
    tracing::info!(target: SCOPE, "All outstanding http endpoints processed");
    endpoints
}

/// Puts secrets and variables in place. One without a name is nobody's.
pub(super) fn resolve(
    mut endpoints: Vec<Arc<HttpEndpoint>>,
    secrets: &SecretSource,
) -> Vec<Arc<HttpEndpoint>> {
    endpoints.retain(|endpoint| !endpoint.head.name.is_empty());
    for endpoint in &mut endpoints {
        // What refers to nothing is shared with whoever read it.
        if endpoint.has_references() {
            let resolved = Arc::make_mut(endpoint);
            for warning in secrets.resolve(resolved, |name| std::env::var(name).ok()) {
                tracing::warn!(target: "dapr.runtime.processor", "{warning}");
            }
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
    endpoints
}

/// The channels to everything outside of the mesh, without endpoints yet.
pub(super) fn external(
    settings: &Settings,
    options: &Options,
    watched: &Watched,
    connections: &Tasks,
) -> External {
    let (proxies, findings) = environment::proxies();
    for finding in findings {
        tracing::warn!(target: SCOPE, "{finding}");
    }
    for line in proxies.shown() {
        tracing::info!(target: SCOPE, "{line}");
    }
    let settings = ExternalSettings {
        max_header_bytes: app_header_limit(options),
        max_concurrency: settings.app.max_concurrency.map(|places| places as usize),
        proxies,
        watched: watched.clone(),
    };
    External::new(settings, connections)
}

/// The same with these endpoints. One that cannot be set up is told.
pub(super) fn with_endpoints(
    external: &External,
    endpoints: &[Arc<HttpEndpoint>],
    connections: &Tasks,
) -> External {
    let (external, new) = external.with(endpoints.iter().map(|endpoint| settings_of(endpoint)).collect());
    for endpoint in &new {
        if let Some(error) = endpoint.broken() {
            tracing::warn!(target: SCOPE, "failed to create HTTP endpoint channel: {error}");
        }
        for finding in endpoint.findings() {
            tracing::warn!(target: SCOPE, "HTTPEndpoint {}: {finding}", endpoint.name());
        }
    }
    if !new.is_empty() {
        try_handshakes(new, connections);
    }
    external
}

/// Looks, beside the start, whether the servers of endpoints and this sidecar can agree about TLS: an operator reads of
/// an old server, or of an authority that is not trusted, before a caller does.
fn try_handshakes(endpoints: Vec<NamedEndpoint>, connections: &Tasks) {
    connections.spawn(async move {
        for endpoint in endpoints {
            if let Err(why) = endpoint.shake_hands(HANDSHAKE_LIMIT).await {
                tracing::warn!(target: SCOPE, "calls will fail as long as this is so: {why}");
            }
        }
    });
}

/// An endpoint for the channels.
pub fn settings_of(endpoint: &HttpEndpoint) -> app_channel::EndpointSettings {
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
