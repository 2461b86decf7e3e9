//! The start: one stage after the other, each of which may rely on those before it.

use std::sync::Arc;
use std::time::Instant;

use ::middleware::{Store, Web};
use api_http::Health;
use app_channel::App;
use internal_grpc::{Client, ClientConfig, purge_idle};
use invoke_core::headers::Identity;
use lifecycle::{Current, Latch, ShutdownRequests};
use name_resolution::{Instance, host};
use reflection::Reflection;
use resources::{Configuration, HttpEndpoint, Resiliency};
use telemetry::metrics::{Metrics, StartMetrics};
use telemetry::traces::Exporters;
use transport::client::H2PoolConfig;
use transport::listen::Listener;
use transport::server::GrpcServerConfig;

use super::app::{app_channel, attend, wait_for_app};
use super::components::{self, Accepted, has_message_bus};
use super::endpoints;
use super::generation::{Generation, Lasting, Read, Rules};
use super::given::CommandLine;
use super::metrics::{self, Measuring, Sources};
use super::middleware;
use super::names::{Directory, Ours, advertised, reserve_internal};
use super::notices::say_what_is_not_there;
use super::parts::Parts;
use super::placeholders::Placeholders;
use super::ports::{grpc_api, http_api, internal_api, public};
use super::reload::{ReadResources, Reloader, Variables, stamps};
use super::security::Security;
use super::source::Source;
use super::watch::is_enabled;
use crate::environment::{self, Environment};
use crate::fatal::Fatal;
use crate::flags::Settings;
use crate::limits::{grpc_limits, max_message};
use crate::scope::SCOPE;
use crate::servers;

/// Puts the sidecar together.
pub(super) async fn start(
    given: CommandLine<'_>,
    requests: ShutdownRequests,
    parts: &mut Parts,
    begun: Instant,
) -> Result<(), Fatal> {
    for warning in &given.settings.warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
    let runtime = parts.readiness.register("runtime");

    // Who and where this sidecar is, and what it is to be.
    let place = Place::find(&given, parts).await?;
    let stamps = stamps(&given.flags.list("config"));
    let configuration = place.configuration(&given).await?;
    let registry = Metrics::new();
    let measuring = Measuring::begin(given.flags, &given.settings.app_id, &configuration);
    if measuring.calls.is_some() {
        place.security.register(&registry, &given.settings.app_id);
    }
    let exporters = exporters(&given.settings.app_id, parts);
    let rules = Rules::compile(&given, &configuration, &place.environment, &measuring.access)?;
    let start_metrics = measuring.start.clone();
    let measuring = Current::new(measuring);
    metrics::register(&measuring, &registry);
    let watched = metrics::watched(given.flags, &measuring);
    metrics::serve(given.flags, registry.clone(), parts).await?;
    tracing::info!(target: SCOPE, "{} mode configured", given.flags.text("mode"));
    tracing::info!(target: SCOPE, "app id: {}", given.settings.app_id);
    say_what_is_not_there(given.flags);

    // What lasts, and the first generation on top of it.
    let internal = reserve_internal(given.flags, place.internal_port).await;
    let internal = Internal::new(internal, place.internal_port);
    let ours = Ours {
        instance: place.instance(&given, &internal),
        is_kubernetes: place.source.is_kubernetes(),
        connections: parts.connections.clone(),
    };
    let directory = Directory::open(&configuration.name_resolution, ours, start_metrics.as_ref()).await;
    parts.directory = Some(directory.clone());
    if is_enabled(&configuration) {
        place.source.check()?;
    }
    let resiliency = place.source.resiliency(given.settings).await;
    let web = web(parts);
    let (found, accepted, middleware, endpoints) = resources(
        &given,
        &place,
        (configuration, resiliency),
        start_metrics.as_ref(),
        &web,
    )
    .await?;
    let asks_subscriptions = given.settings.asks_subscriptions && has_message_bus(&accepted.components);
    let security = place.security;
    let lasting = Lasting {
        health: Health::new(parts.readiness.clone()),
        app: app_channel(given.settings, given.options, &place.environment, &watched, parts)?,
        identity: Arc::new(Identity::new(
            given.settings.app_id.as_str().into(),
            place.environment.namespace.as_str().into(),
            &place.host_address,
            &place.host_name,
        )),
        client: client(&given, &security, parts),
        directory,
        requests,
        connections: parts.connections.clone(),
        of_api: reflection(api_grpc::SERVICES)?,
        of_internal: reflection(internal_grpc::SERVICES)?,
        environment: place.environment,
        exporters,
        registry: registry.clone(),
        pushed: parts.pushed.clone(),
        measuring,
        watched,
    };
    let own = Sources {
        app_id: given.settings.app_id.clone(),
        log: given.log.clone(),
        exporters: lasting.exporters.clone(),
        directory: lasting.directory.clone(),
        limit: lasting.app.as_ref().and_then(App::limit).cloned(),
        expiry: security.expiry(),
    };
    own.register(&lasting.measuring, &registry);
    let lasting = Arc::new(lasting);
    lasting.directory.sweep(parts);
    let read = Read {
        configuration: found.configuration.clone(),
        rules: rules.clone(),
        components: accepted.components.clone(),
        middleware: middleware.clone(),
        endpoints: endpoints.clone(),
        resiliency: found.resiliency.clone(),
        keeps_policies: false,
    };
    let first = Generation::build(&given, &lasting, read, None);
    let metadata = Arc::clone(&first.metadata);
    let app = first.app.clone();
    let current = Current::new(first);

    // The doors, then the app behind them.
    serve(&given, &lasting, &security, internal, &current, parts).await?;
    let reloader = Reloader {
        owned: given.owned(),
        source: place.source,
        variables: Variables {
            internal_port: place.internal_port,
            host_address: place.host_address,
        },
        lasting: Arc::clone(&lasting),
        current,
        found,
        rules,
        accepted,
        middleware,
        web,
        endpoints,
        stamps,
    };
    if let Some(ends) = parts.reloads.take() {
        parts.tasks.spawn(reloader.run(parts.shutdown.clone(), ends));
    }
    lasting.health.outbound_is_ready();
    if !wait_for_app(given.settings, parts).await? {
        return Ok(());
    }
    if let Some(app) = &app {
        attend(
            given.settings,
            given.options,
            (app, &lasting.watched),
            asks_subscriptions,
            parts,
        )
        .await?;
        parts.app = Some(app.health().clone());
    }
    metadata.app_is_ready();
    say_ready(runtime, begun, parts);
    Ok(())
}

/// Who and where this sidecar is.
struct Place {
    environment: Environment,
    security: Security,
    source: Arc<Source>,
    host_name: String,
    host_address: String,
    internal_port: u16,
}

impl Place {
    async fn find(given: &CommandLine<'_>, parts: &Parts) -> Result<Self, Fatal> {
        let environment = Environment::read();
        let security = Security::establish(given.flags, given.settings, &environment, parts).await?;
        let host_name = host::host_name();
        let internal_port = given
            .settings
            .internal_port
            .unwrap_or_else(|| stable_port(given.settings, &host_name));
        let host_address = host::host_address(environment.host_ip.as_deref())?;
        let source = Source::of(given.flags, &security, &environment.namespace, &parts.waiting).await?;
        Ok(Self {
            environment,
            security,
            source: Arc::new(source),
            host_name,
            host_address,
            internal_port,
        })
    }

    async fn configuration(&self, given: &CommandLine<'_>) -> Result<Configuration, Fatal> {
        let metrics_port = given.flags.text("metrics-port");
        let lookup = environment::lookup(
            given.settings,
            metrics_port,
            self.internal_port,
            &self.host_address,
        );
        self.source.configuration(given.flags, lookup).await
    }

    /// How others find this sidecar.
    fn instance(&self, given: &CommandLine<'_>, internal: &Internal) -> Instance {
        Instance {
            app_id: given.settings.app_id.clone(),
            address: advertised(given.flags, &self.host_address),
            internal_port: internal.port,
            http_port: given.settings.http_port,
            app_port: given.settings.app.port,
            host_name: self.host_name.clone(),
        }
    }
}

/// The internal port, and its listener when nobody had taken it.
struct Internal {
    listener: Option<Listener>,
    port: u16,
}

impl Internal {
    fn new(listener: Option<Listener>, wanted: u16) -> Self {
        let bound = listener.as_ref().and_then(Listener::local_addr);
        Self {
            port: bound.map_or(wanted, |address| address.port()),
            listener,
        }
    }
}

/// The way to servers that middleware asks.
fn web(parts: &Parts) -> Web {
    let (proxies, _) = environment::proxies();
    Web::new(proxies, parts.connections.clone())
}

/// Components and HTTP endpoints as they are found; then what is accepted of components, and the endpoints with their
/// secrets in place, and the middleware among the components.
async fn resources(
    given: &CommandLine<'_>,
    place: &Place,
    (configuration, resiliency): (Configuration, Vec<Arc<Resiliency>>),
    counters: Option<&StartMetrics>,
    web: &Web,
) -> Result<(ReadResources, Accepted, Store, Vec<Arc<HttpEndpoint>>), Fatal> {
    let source = &place.source;
    let components = source.components(given.settings).await?;
    let mut accepted = components::accept(components.clone(), &configuration, counters)?;
    tell_unknown_stores(&configuration, &accepted);
    let secrets = source.secrets(std::mem::take(&mut accepted.stores));
    let environment = &place.environment;
    let placeholders = Placeholders::of(
        &environment.namespace,
        &given.settings.app_id,
        environment.pod_name.clone(),
    );
    let store = middleware::load(&mut accepted, &secrets, &placeholders, web, &Store::default()).await?;
    let endpoints = source.http_endpoints(given.settings).await;
    let resolved = endpoints::process(endpoints.clone(), &secrets);
    accepted.stores = secrets.stores;
    let found = ReadResources {
        configuration,
        components,
        endpoints,
        resiliency,
        configurations: source.held_configurations(),
    };
    Ok((found, accepted, store, resolved))
}

/// The configuration may limit a secret store that there is not.
fn tell_unknown_stores(configuration: &Configuration, accepted: &Accepted) {
    for store in configuration.secret_scopes() {
        if !accepted.stores.contains_key(store) {
            tracing::warn!(
                target: "dapr.runtime.compstore",
                "Secrets configuration added for '{store}', but no matching secret store was found"
            );
        }
    }
}

/// Those who export spans, whatever the configuration wants of them.
fn exporters(app_id: &str, parts: &Parts) -> Exporters {
    let (proxies, _) = environment::proxies();
    Exporters::new(
        app_id,
        parts.exporters.clone(),
        parts.connections.clone(),
        proxies,
    )
}

fn client(given: &CommandLine<'_>, security: &Security, parts: &Parts) -> Client {
    let config = ClientConfig {
        max_message: max_message(given.options),
        pool: H2PoolConfig {
            tls: security.of_client(),
            ..H2PoolConfig::default()
        },
    };
    Client::new(config, parts.connections.clone())
}

/// Opens every port; what it serves is the current generation.
async fn serve(
    given: &CommandLine<'_>,
    lasting: &Lasting,
    security: &Security,
    internal: Internal,
    current: &Current<Generation>,
    parts: &mut Parts,
) -> Result<(), Fatal> {
    let in_server = |server: &'static str| {
        move |error| Fatal::Server {
            server,
            source: Box::new(error),
        }
    };
    let CommandLine {
        flags,
        options,
        settings,
        ..
    } = *given;
    let environment = &lasting.environment;
    grpc_api(settings, options, environment, current, parts)
        .await
        .map_err(in_server("API gRPC server"))?;
    http_api(settings, options, environment, current, parts)
        .await
        .map_err(in_server("HTTP server"))?;
    public(flags, settings, current, parts).await?;
    servers::profiling(settings, &parts.shutdown, &parts.tasks)
        .await
        .map_err(in_server("HTTP server"))?;
    tracing::info!(
        target: SCOPE,
        "The request body size parameter is: {} bytes", options.max_body_shown
    );
    let limits = GrpcServerConfig {
        tls: security.of_server(),
        ..grpc_limits(options, &parts.descriptors)
    };
    internal_api(flags, internal.listener, internal.port, current, limits, parts)
        .await
        .map_err(in_server("internal gRPC server"))?;
    let purge = purge_idle(lasting.client.clone(), environment.purge, parts.shutdown.clone());
    parts.tasks.spawn(purge);
    Ok(())
}

fn say_ready(runtime: Latch, begun: Instant, parts: &mut Parts) {
    runtime.ready();
    let elapsed = begun.elapsed().as_millis();
    tracing::info!(target: SCOPE, "dapr initialized. Status: Running. Init Elapsed {elapsed}ms");
    parts.server_latches.push(runtime);
}

/// Describes the services of a server to those who ask.
fn reflection(services: &[&str]) -> Result<Reflection, Fatal> {
    Reflection::new(services).map_err(|error| Fatal::Reflection(error.to_string()))
}

fn stable_port(settings: &Settings, host_name: &str) -> u16 {
    let folder = std::env::current_dir()
        .map(|folder| folder.display().to_string())
        .unwrap_or_default();
    host::stable_port(
        &settings.app_id,
        &folder,
        rustix::process::getuid().as_raw(),
        host_name,
    )
}
