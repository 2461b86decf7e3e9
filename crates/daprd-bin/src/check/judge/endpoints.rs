//! HTTP endpoints: their addresses, headers and certificates.

use app_channel::{EndpointError, External, ExternalSettings, Watched};
use lifecycle::Tasks;
use resources::{Finding, HttpEndpoint, SecretSource, Severity};

use super::{PlacedResource, World, components};
use crate::sidecar::endpoint_settings;

/// Where the values of an endpoint stand behind its headers.
const DOCUMENTS: [&str; 3] = ["rootCA", "certificate", "privateKey"];

pub(super) fn judge(world: &mut World<'_>, source: SecretSource) {
    let tasks = Tasks::new();
    let settings = ExternalSettings {
        max_header_bytes: 1 << 16,
        max_concurrency: None,
        proxies: transport::client::Proxies::default(),
        watched: Watched::default(),
    };
    let external = External::new(settings, &tasks);
    for found in world.for_app(&world.endpoints) {
        let mut resolved = found.resource.clone();
        let headers = resolved.headers.len();
        components::secrets(world, found, &mut resolved, &source, false, |index| {
            let path: Vec<String> = match index.checked_sub(headers) {
                None => vec!["spec".to_owned(), "headers".to_owned(), index.to_string()],
                Some(document) => {
                    let name = DOCUMENTS.get(document).copied().unwrap_or_default();
                    ["spec", "clientTLS", name].map(str::to_owned).into()
                }
            };
            path
        });
        one(world, found, &resolved, &external);
    }
}

fn one(
    world: &mut World<'_>,
    found: PlacedResource<'_, HttpEndpoint>,
    resolved: &HttpEndpoint,
    external: &External,
) {
    let (_, new) = external.with(vec![endpoint_settings(resolved)]);
    for endpoint in new {
        if let Some(error) = endpoint.broken() {
            let path: &[&str] = match error {
                EndpointError::BaseUrl { .. } => &["spec", "baseUrl"],
                EndpointError::Header { .. } => &["spec", "headers"],
                EndpointError::RootCa { .. } => &["spec", "clientTLS", "rootCA"],
                EndpointError::ClientCertificate { .. } => &["spec", "clientTLS", "certificate"],
                EndpointError::Renegotiation { .. } => &["spec", "clientTLS", "renegotiation"],
                _ => &["spec", "clientTLS"],
            };
            world.tell_of(
                found,
                path,
                Finding::new(Severity::Error, "endpoint", error.to_string()),
            );
        }
        for text in endpoint.findings() {
            let finding = Finding::new(Severity::Warning, "endpoint", text);
            world.tell_of(found, &["spec", "clientTLS"], finding);
        }
    }
    let tls = &resolved.tls;
    if tls.certificate.value.is_some() && tls.private_key.value.is_none() {
        let text = "the certificate of clientTLS is not used, because privateKey has no value";
        let finding = Finding::new(Severity::Warning, "endpoint", text);
        world.tell_of(found, &["spec", "clientTLS", "certificate"], finding);
    }
}
