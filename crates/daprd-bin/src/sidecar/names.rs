//! Where this sidecar is found, and how it finds others.

use std::sync::Arc;
use std::time::Duration;

use invoke_core::Resolver;
use lifecycle::{Current, Tasks};
use name_resolution::{Built, InitError, Instance, Means};
use resources::NameResolution;
use telemetry::metrics::StartMetrics;
use thiserror::Error;
use tokio::sync::Mutex;
use transport::listen::Listener;

use super::generation::Known;
use super::parts::Parts;
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

/// A resolver that cannot be had.
#[derive(Debug, Error)]
#[error("[{stage}]: initialization error occurred for nr ({resolver}): {source}")]
pub struct NamesError {
    stage: &'static str,
    /// Name and version.
    resolver: String,
    source: InitError,
}

/// Who this sidecar is to resolvers, and what they work with.
pub(super) struct Ours {
    pub(super) instance: Instance,
    pub(super) is_kubernetes: bool,
    /// Who owns what they do in the background.
    pub(super) connections: Tasks,
}

/// The resolver of one configuration, and the targets that were found by it.
pub(super) struct Names {
    wanted: NameResolution,
    built: Option<Arc<Built>>,
    pub(super) resolver: Option<Arc<dyn Resolver>>,
    /// Those of another resolver are no good: what it watches is watched as long as somebody has the target.
    pub(super) targets: Arc<Known>,
}

/// By which resolver this sidecar is found and finds others. Cloning shares it.
#[derive(Clone)]
pub(super) struct Directory {
    current: Current<Names>,
    /// Held while the registration changes; whether it has ended for good.
    is_closed: Arc<Mutex<bool>>,
    ours: Arc<Ours>,
}

impl Directory {
    /// Registers this sidecar. A resolver that cannot be set up is no reason not to start: the app can still be called.
    pub(super) async fn open(wanted: &NameResolution, ours: Ours, counters: Option<&StartMetrics>) -> Self {
        let (built, resolver) = match ours.set_up(wanted, counters).await {
            Ok((built, resolver)) => {
                if let Some(complaint) = &built.complaint {
                    let error = ours.failed(wanted, InitError::Init(complaint.clone()), counters);
                    tracing::error!(target: SCOPE, "{error}");
                }
                (Some(Arc::new(built)), Some(resolver))
            }
            Err(error) => {
                tracing::error!(target: SCOPE, "{error}");
                (None, None)
            }
        };
        let names = Names {
            wanted: wanted.clone(),
            built,
            resolver,
            targets: Arc::default(),
        };
        Self {
            current: Current::new(names),
            is_closed: Arc::default(),
            ours: Arc::new(ours),
        }
    }

    /// What is current now.
    pub(super) fn names(&self) -> Arc<Names> {
        self.current.take()
    }

    /// Registers this sidecar as a new configuration wants it, then ends the registration before. What cannot be set up,
    /// or cannot be registered with now, changes nothing. `again`: what could not be had before is tried once more.
    pub(super) async fn change(
        &self,
        wanted: &NameResolution,
        again: bool,
        counters: Option<&StartMetrics>,
    ) -> Result<(), NamesError> {
        let is_closed = self.is_closed.lock().await;
        let before = self.names();
        if *is_closed || before.wanted == *wanted && (before.built.is_some() || !again) {
            return Ok(());
        }
        let (built, resolver) = match &before.built {
            Some(built) if self.ours.is_same_resolver(&before.wanted, wanted) => {
                let resolver = self.ours.preferring(built, wanted, counters)?;
                (Arc::clone(built), resolver)
            }
            _ => {
                let (built, resolver) = self.ours.set_up(wanted, counters).await?;
                if let Some(complaint) = &built.complaint {
                    let complaint = InitError::Init(complaint.clone());
                    built.leave().await;
                    return Err(self.ours.failed(wanted, complaint, counters));
                }
                (Arc::new(built), resolver)
            }
        };
        self.current.replace(Names {
            wanted: wanted.clone(),
            built: Some(Arc::clone(&built)),
            resolver: Some(resolver),
            targets: Arc::default(),
        });
        if let Some(old) = before.built.as_ref().filter(|old| !Arc::ptr_eq(old, &built)) {
            old.yield_to(&built).await;
        }
        Ok(())
    }

    /// Withdraws the registration for good. Resolving goes on.
    pub(super) async fn close(&self) {
        let mut is_closed = self.is_closed.lock().await;
        *is_closed = true;
        if let Some(built) = &self.names().built {
            built.close().await;
        }
    }

    /// Lets go of targets that nobody calls any more.
    pub(super) fn sweep(&self, parts: &Parts) {
        let (directory, shutdown) = (self.clone(), parts.shutdown.clone());
        parts.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.draining() => return,
                    () = tokio::time::sleep(SWEEP) => directory.names().targets.sweep(),
                }
            }
        });
    }
}

impl Ours {
    fn name<'a>(&self, wanted: &'a NameResolution) -> &'a str {
        match wanted.component.as_str() {
            "" if self.is_kubernetes => "kubernetes",
            "" => "mdns",
            name => name,
        }
    }

    fn version(wanted: &NameResolution) -> &str {
        if wanted.version.is_empty() {
            "v1"
        } else {
            &wanted.version
        }
    }

    /// Whether both want the same resolver, and differ in what the balancer prefers alone.
    fn is_same_resolver(&self, one: &NameResolution, other: &NameResolution) -> bool {
        let both = [one, other].map(|wanted| (self.name(wanted), Self::version(wanted)));
        // mDNS has no settings, and must not say goodbye for a sidecar that stays.
        both[0] == both[1] && (one.configuration == other.configuration || both[0].0 == "mdns")
    }

    async fn set_up(
        &self,
        wanted: &NameResolution,
        counters: Option<&StartMetrics>,
    ) -> Result<(Built, Arc<dyn Resolver>), NamesError> {
        let (name, version) = (self.name(wanted), Self::version(wanted));
        let failed = |error| self.failed(wanted, error, counters);
        let preferences = name_resolution::preferences(&wanted.balancing, &self.caller()).map_err(failed)?;
        let (proxies, _) = environment::proxies();
        let means = Means::new(self.connections.clone(), proxies, environment::variable);
        let built = name_resolution::build(name, version, &wanted.configuration, &self.instance, &means);
        let built = built.await.map_err(failed)?;
        if built.complaint.is_none() {
            tracing::info!(target: SCOPE, "Initialized name resolution to {name}");
        }
        let resolver = name_resolution::preferring(Arc::clone(&built.resolver), preferences);
        Ok((built, resolver))
    }

    /// What tells this sidecar from all others that pick, and is the same after a restart in the same place.
    fn caller(&self) -> String {
        let Instance {
            address,
            internal_port,
            ..
        } = &self.instance;
        format!("{address}:{internal_port}")
    }

    /// The same resolver; picks from what it finds prefer what is wanted now.
    fn preferring(
        &self,
        built: &Built,
        wanted: &NameResolution,
        counters: Option<&StartMetrics>,
    ) -> Result<Arc<dyn Resolver>, NamesError> {
        let preferences = name_resolution::preferences(&wanted.balancing, &self.caller())
            .map_err(|error| self.failed(wanted, error, counters))?;
        Ok(name_resolution::preferring(
            Arc::clone(&built.resolver),
            preferences,
        ))
    }

    fn failed(
        &self,
        wanted: &NameResolution,
        source: InitError,
        counters: Option<&StartMetrics>,
    ) -> NamesError {
        let is_unknown = matches!(source, InitError::Unknown { .. });
        if let Some(counters) = counters {
            counters.resolver_failed(self.name(wanted), is_unknown);
        }
        NamesError {
            stage: if is_unknown {
                "CREATE_COMPONENT_FAILURE"
            } else {
                "INIT_COMPONENT_FAILURE"
            },
            resolver: format!("{}/{}", self.name(wanted), Self::version(wanted)),
            source,
        }
    }
}
