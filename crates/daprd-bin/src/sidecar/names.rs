//! Where this sidecar is found, and how it finds others.

use std::sync::Arc;
use std::time::Duration;

use invoke_core::Resolver;
use name_resolution::{InitError, Instance, Means};
use resources::Configuration;
use telemetry::metrics::StartMetrics;
use transport::listen::Listener;

use super::generation::Known;
use super::parts::Parts;
use super::source::Source;
use crate::environment;
use crate::flags::Flags;
use crate::scope::SCOPE;
use crate::servers::PATIENCE;

/// How often targets that nobody calls are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// Takes the internal port before anybody else does; it serves later.
pub(super) async fn reserve_internal(flags: &Flags, port: u16) -> Option<Listener> {
    let address = format!("{}:{port}", flags.text("dapr-internal-grpc-listen-address"));
    match Listener::tcp(&address, PATIENCE).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(
                target: SCOPE,
                "could not reserve internal gRPC port before component initialization; it will be bound when \
                 the internal gRPC server starts: {error}"
            );
            None
        }
    }
}

/// A sidecar that only listens on the loopback interface is announced there.
pub(super) fn advertised(flags: &Flags, host_address: &str) -> String {
    match flags.text("dapr-internal-grpc-listen-address") {
        loopback @ ("127.0.0.1" | "localhost" | "[::1]") => loopback.to_owned(),
        _ => host_address.to_owned(),
    }
}

/// A resolver that cannot be set up is no reason not to start: the app can still be called.
pub(super) async fn resolver(
    configuration: &Configuration,
    source: &Source,
    instance: &Instance,
    counters: Option<&StartMetrics>,
    parts: &mut Parts,
) -> Option<Arc<dyn Resolver>> {
    let wanted = &configuration.name_resolution;
    let name = match wanted.component.as_str() {
        "" if source.is_kubernetes() => "kubernetes",
        "" => "mdns",
        name => name,
    };
    let version = if wanted.version.is_empty() {
        "v1"
    } else {
        &wanted.version
    };
    let failed = |error: InitError| {
        let is_unknown = matches!(error, InitError::Unknown { .. });
        let stage = if is_unknown {
            "CREATE_COMPONENT_FAILURE"
        } else {
            "INIT_COMPONENT_FAILURE"
        };
        if let Some(counters) = counters {
            counters.resolver_failed(name, is_unknown);
        }
        tracing::error!(
            target: SCOPE,
            "[{stage}]: initialization error occurred for nr ({name}/{version}): {error}"
        );
    };
    let caller = format!("{}:{}", instance.address, instance.internal_port);
    let preferences = match name_resolution::preferences(&wanted.balancing, &caller) {
        Ok(preferences) => preferences,
        Err(error) => {
            failed(error);
            return None;
        }
    };
    let (proxies, _) = environment::proxies();
    let means = Means::new(parts.connections.clone(), proxies, environment::variable);
    match name_resolution::build(name, version, &wanted.configuration, instance, &means).await {
        Ok(built) => {
            match &built.complaint {
                None => tracing::info!(target: SCOPE, "Initialized name resolution to {name}"),
                Some(complaint) => failed(InitError::Init(complaint.clone())),
            }
            let resolver = name_resolution::preferring(Arc::clone(&built.resolver), preferences);
            parts.names = Some(built);
            Some(resolver)
        }
        Err(error) => {
            failed(error);
            None
        }
    }
}

/// Lets go of targets that nobody calls any more.
pub(super) fn sweep(targets: &Arc<Known>, parts: &Parts) {
    let (targets, shutdown) = (Arc::clone(targets), parts.shutdown.clone());
    parts.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.draining() => return,
                () = tokio::time::sleep(SWEEP) => targets.sweep(),
            }
        }
    });
}
