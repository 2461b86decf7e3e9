//! The start: every part put together, in the order in which others may rely on it.

use std::sync::Arc;
use std::time::Instant;

use api_http::{Api, Health, PublicApi};
use internal_grpc::{Client, ClientConfig, Server, ServerConfig, purge_idle};
use invoke_core::headers::Identity;
use invoke_core::{BuiltInRetry, Inbound, Outbound};
use name_resolution::{Instance, host};
use reflection::Reflection;
use resources::{Configuration, SecretSource};
use telemetry::log::Log;
use telemetry::metrics::Metrics;
use telemetry::server::{MetricsError, MetricsServer};
use transport::client::H2PoolConfig;
use transport::listen::Listener;
use transport::server::GrpcServerConfig;

use super::access::{api_lists, policy};
use super::apis::{
    api_settings, grpc_api, grpc_limits, grpc_settings, http_api, internal_api, is_traced, max_message,
    metadata, public,
};
use super::app::{app_channel, attend, wait_for_app};
use super::components::{self, has_message_bus};
use super::endpoints;
use super::names::{advertised, reserve_internal, resolver, sweep};
use super::parts::Parts;
use super::security::Security;
use super::source::Source;
use super::{Fatal, SCOPE};
use crate::environment::{self, Environment};
use crate::flags::{Flags, Options, Settings, go};
use crate::observer::ApiLog;
use crate::servers;

/// Puts the sidecar together, in the order in which others may rely on its parts.
pub(super) async fn start(
    flags: &Flags,
    options: &Options,
    settings: &Settings,
    log: &Log,
    requests: lifecycle::ShutdownRequests,
    parts: &mut Parts,
    begun: Instant,
) -> Result<(), Fatal> {
    for warning in &settings.warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
    let runtime = parts.readiness.register("runtime");
    let environment = Environment::read();
    let security = Security::establish(flags, settings, &environment, parts).await?;
    let host_name = host::host_name();
    let internal_port = settings
        .internal_port
        .unwrap_or_else(|| stable_port(settings, &host_name));
    let host_address = host::host_address(environment.host_ip.as_deref())?;
    let source = Source::of(flags, &security, &environment.namespace).await?;
    let metrics_port = flags.text("metrics-port");
    let lookup = environment::lookup(settings, metrics_port, internal_port, &host_address);
    let configuration = source.configuration(flags, lookup).await?;
    let registry = Metrics::new();
    security.register(&registry, &settings.app_id);
    let policy = policy(flags, settings, &configuration, &registry)?;
    let apis = api_lists(&configuration);
    metrics(flags, &configuration, registry, parts).await?;
    tracing::info!(target: SCOPE, "{} mode configured", flags.text("mode"));
    tracing::info!(target: SCOPE, "app id: {}", settings.app_id);
    say_what_is_not_there(flags, &configuration);

    let internal = reserve_internal(flags, internal_port).await;
    let internal_port = internal
        .as_ref()
        .and_then(Listener::local_addr)
        .map_or(internal_port, |address| address.port());
    let advertised = advertised(flags, &host_address);
    let instance = Instance {
        app_id: settings.app_id.clone(),
        address: advertised,
        internal_port,
        host_name: host_name.clone(),
    };
    let resolver = resolver(&configuration, source.is_kubernetes(), &instance, parts).await;
    let accepted = components::accept(source.components(settings).await?, &configuration)?;
    let components = accepted.components;
    let secrets = SecretSource {
        stores: accepted.stores,
        is_kubernetes: source.is_kubernetes(),
        allowed_variables: std::env::var("DAPR_ENV_KEYS").unwrap_or_default(),
    };
    let endpoints = endpoints::process(source.http_endpoints(settings).await, &secrets);

    let health = Health::new(parts.readiness.clone());
    let metadata = Arc::new(metadata(
        settings,
        &configuration,
        &environment,
        &components,
        &endpoints,
    ));
    let max_message = max_message(options);
    let channel = app_channel(settings, options, &environment, parts)?;
    let identity = Arc::new(Identity::new(
        settings.app_id.as_str().into(),
        environment.namespace.as_str().into(),
        &host_address,
        &host_name,
    ));
    let logging = configuration.api_logging();
    let by_flag = flags
        .is_given("enable-api-logging")
        .then(|| flags.is_on("enable-api-logging"));
    let observer = Arc::new(ApiLog::new(log.clone(), by_flag, logging));
    let inbound = Arc::new(Inbound::observed(
        Arc::clone(&identity),
        channel.clone(),
        policy,
        Arc::clone(&observer),
    ));
    let pool = ClientConfig {
        max_message,
        pool: H2PoolConfig {
            tls: security.of_client(),
            ..H2PoolConfig::default()
        },
    };
    let client = Client::new(pool, parts.connections.clone());
    let external = endpoints::external(&endpoints, settings, options, parts);
    let targets = Arc::default();
    sweep(&targets, parts);
    let outbound = Outbound::with(
        identity,
        Arc::clone(&inbound),
        client.clone(),
        external,
        resolver,
        targets,
        BuiltInRetry::default(),
    );

    let outbound = Arc::new(outbound);
    let api = api_grpc::Api::new(
        Arc::clone(&outbound),
        Arc::clone(&observer),
        grpc_settings(options, &configuration, &environment, apis.clone()),
        Arc::clone(&metadata),
        requests.clone(),
        reflection(api_grpc::SERVICES)?,
    );
    grpc_api(settings, options, api, parts)
        .await
        .map_err(|error| server("API gRPC server", error))?;
    let api = Api::new(
        outbound,
        observer,
        api_settings(flags, options, &configuration, &environment, apis.clone()),
        Arc::clone(&metadata),
        health.clone(),
        requests,
    );
    http_api(settings, options, &environment, api, parts)
        .await
        .map_err(|error| server("HTTP server", error))?;
    public(
        flags,
        settings,
        PublicApi::new(Arc::clone(&metadata), health.clone(), &apis),
        parts,
    )
    .await?;
    servers::profiling(settings, &parts.shutdown, &parts.tasks)
        .await
        .map_err(|error| server("HTTP server", error))?;
    tracing::info!(
        target: SCOPE,
        "The request body size parameter is: {} bytes", options.max_body_shown
    );
    let calls = Server::new(
        inbound,
        ServerConfig {
            max_message,
            tracing: is_traced(&configuration),
        },
        reflection(internal_grpc::SERVICES)?,
    );
    let limits = GrpcServerConfig {
        tls: security.of_server(),
        ..grpc_limits(options)
    };
    internal_api(flags, internal, internal_port, calls, limits, parts)
        .await
        .map_err(|error| server("internal gRPC server", error))?;
    parts
        .tasks
        .spawn(purge_idle(client, environment.purge, parts.shutdown.clone()));
    health.outbound_is_ready();

    if !wait_for_app(settings, parts).await? {
        return Ok(());
    }
    if let Some(app) = &channel {
        let asks_subscriptions = settings.asks_subscriptions && has_message_bus(&components);
        attend(settings, options, app, asks_subscriptions, parts).await?;
        parts.app = Some(app.health().clone());
    }
    metadata.app_is_ready();
    runtime.ready();
    let elapsed = begun.elapsed().as_millis();
    tracing::info!(target: SCOPE, "dapr initialized. Status: Running. Init Elapsed {elapsed}ms");
    parts.server_latches.push(runtime);
    Ok(())
}

/// Describes the services of a server to those who ask.
fn reflection(services: &[&str]) -> Result<Reflection, Fatal> {
    Reflection::new(services).map_err(|error| Fatal::Reflection(error.to_string()))
}

pub(super) fn server(server: &'static str, source: Fatal) -> Fatal {
    Fatal::Server {
        server,
        source: Box::new(source),
    }
}

pub(super) fn stable_port(settings: &Settings, host_name: &str) -> u16 {
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

/// Says plainly which parts of the configuration have no effect yet.
pub(super) fn say_what_is_not_there(flags: &Flags, configuration: &Configuration) {
    let not_there = |what: &str| {
        tracing::warn!(target: SCOPE, "{what} is not supported by this version of daprd-rs and has no effect");
    };
    if !configuration.http_pipeline.handlers.is_empty()
        || !configuration.app_http_pipeline.handlers.is_empty()
    {
        not_there("middleware of the configuration");
    }
    let tracing = &configuration.tracing;
    if !tracing.zipkin.endpoint_address.is_empty() || !tracing.otel.endpoint_address.is_empty() {
        not_there("spec.tracing of the configuration");
    }
    if flags
        .text("placement-host-address")
        .trim()
        .trim_matches(['"', '\''])
        .trim()
        .is_empty()
    {
        tracing::warn!(target: SCOPE, "Actor runtime disabled: no placement address was given");
    }
    let schedulers = flags.list("scheduler-host-address");
    if schedulers
        .iter()
        .all(|address| address.trim().trim_matches(['"', '\'']).trim().is_empty())
    {
        tracing::warn!(target: SCOPE, "No scheduler host addresses provided. Scheduler disabled");
    }
}

pub(super) async fn metrics(
    flags: &Flags,
    configuration: &Configuration,
    registry: Metrics,
    parts: &Parts,
) -> Result<(), Fatal> {
    if configuration.metric().enabled == Some(true) {
        tracing::debug!(target: "dapr.runtime.diagnostics", "metrics are enabled");
    }
    if !flags.is_on("enable-metrics") {
        return Ok(());
    }
    let port = go::atoi(flags.text("metrics-port")).map_err(MetricsError::Port)?;
    let port = u16::try_from(port).map_err(|_| MetricsError::Port(format!("{port} is no port")))?;
    let server = MetricsServer::bind(flags.text("metrics-listen-address"), port, registry)
        .await
        .inspect_err(|error| servers::tell_unusable("metrics-port", error))?;
    parts.tasks.spawn(server.serve(parts.shutdown.clone()));
    Ok(())
}
