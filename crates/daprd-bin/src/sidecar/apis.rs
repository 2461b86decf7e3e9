//! The APIs on their listeners.

use access_control::Policy;
use api_core::{ApiLists, ApiToken, AppConnection, AppHealth, Metadata, MetadataSettings};
use api_http::{Api, ApiSettings, Cors, PublicApi};
use app_channel::App;
use internal_grpc::Server;
use invoke_core::Inbound;
use resources::{Component, Configuration, HttpEndpoint};
use transport::listen::{Listener, Patience};
use transport::server::{GrpcServerConfig, serve_grpc, serve_http};

use super::components::listed;
use super::parts::Parts;
use super::{Fatal, SCOPE, Sidecar};
use crate::environment::Environment;
use crate::flags::{Flags, Options, Settings, go};
use crate::observer::Observers;
use crate::servers::{self, PATIENCE};

pub(super) fn metadata(
    settings: &Settings,
    configuration: &Configuration,
    environment: &Environment,
    components: &[Component],
    endpoints: &[HttpEndpoint],
) -> Metadata {
    let app = &settings.app;
    let health = app.health.as_ref().map(|health| AppHealth {
        health_check_path: if app.protocol.is_http() {
            health.path.clone()
        } else {
            String::new()
        },
        health_probe_interval: go::format_duration(health.interval),
        health_probe_timeout: go::format_duration(health.timeout),
        health_threshold: health.threshold,
    });
    Metadata::new(MetadataSettings {
        app_id: settings.app_id.clone(),
        namespace: environment.namespace.clone(),
        version: crate::flags::VERSION.to_owned(),
        features: configuration.enabled_features(),
        components: components.iter().map(listed).collect(),
        http_endpoints: endpoints
            .iter()
            .map(|endpoint| endpoint.head.name.clone())
            .collect(),
        resiliencies: Vec::new(),
        app: AppConnection {
            port: app.port_shown,
            protocol: app.protocol.name().to_owned(),
            channel_address: app.address.clone(),
            max_concurrency: app.max_concurrency.unwrap_or(0),
            health,
        },
    })
}

pub(super) fn api_settings(
    flags: &Flags,
    options: &Options,
    configuration: &Configuration,
    environment: &Environment,
    apis: ApiLists,
) -> ApiSettings {
    let token = ApiToken::new(&environment.api_token);
    if token.is_some() {
        tracing::info!(target: "dapr.runtime.http", "Enabled token authentication on HTTP server");
    }
    ApiSettings {
        max_body: options.max_body,
        token,
        apis,
        cors: Cors::parse(flags.text("allowed-origins")),
        tracing: is_traced(configuration),
    }
}

/// Whether trace contexts are read and given back: a rate of exactly nothing switches all of it off.
pub(super) fn is_traced(configuration: &Configuration) -> bool {
    configuration.tracing.sampling_rate.parse::<f64>() != Ok(0.0)
}

/// The longest message of gRPC, in bytes.
pub(super) fn max_message(options: &Options) -> usize {
    let max = options.max_body.and_then(|max| usize::try_from(max).ok());
    max.unwrap_or(usize::MAX)
}

/// The limits of both gRPC ports.
pub(super) fn grpc_limits(options: &Options) -> GrpcServerConfig {
    let header_list = options.read_buffer.map_or(u64::from(u32::MAX), |size| size << 10);
    GrpcServerConfig {
        max_header_list: u32::try_from(header_list).unwrap_or(u32::MAX),
        ..GrpcServerConfig::default()
    }
}

pub(super) fn grpc_settings(
    options: &Options,
    configuration: &Configuration,
    environment: &Environment,
    apis: ApiLists,
) -> api_grpc::ApiSettings {
    let token = ApiToken::new(&environment.api_token);
    if token.is_some() {
        tracing::info!(target: "dapr.runtime.grpc.api", "Enabled token authentication on gRPC server");
    }
    api_grpc::ApiSettings {
        max_message: max_message(options),
        token,
        apis,
        tracing: is_traced(configuration),
    }
}

pub(super) async fn grpc_api(
    settings: &Settings,
    options: &Options,
    api: api_grpc::Api<Sidecar, Observers>,
    parts: &mut Parts,
) -> Result<(), Fatal> {
    let latch = parts.readiness.register("grpc-api-server");
    for (address, listener) in servers::listeners(settings, settings.grpc_port, "grpc").await? {
        let kind = if settings.socket_folder.is_some() {
            "UNIX socket"
        } else {
            "TCP address"
        };
        tracing::info!(target: "dapr.runtime.grpc.api", "gRPC server listening on {kind}: {address}");
        parts.tasks.spawn(serve_grpc(
            listener,
            grpc_limits(options),
            api.clone(),
            parts.shutdown.clone(),
        ));
    }
    tracing::info!(target: SCOPE, "API gRPC server is running on port {}", settings.grpc_port);
    latch.ready();
    parts.server_latches.push(latch);
    Ok(())
}

pub(super) async fn http_api(
    settings: &Settings,
    options: &Options,
    environment: &Environment,
    api: Api<Sidecar, Observers>,
    parts: &Parts,
) -> Result<(), Fatal> {
    let limits = servers::api_limits(options, !environment.disables_h2c);
    for (address, listener) in servers::listeners(settings, settings.http_port, "http").await? {
        let kind = if settings.socket_folder.is_some() {
            "UNIX socket"
        } else {
            "TCP address"
        };
        tracing::info!(target: "dapr.runtime.http", "HTTP server listening on {kind}: {address}");
        parts.tasks.spawn(serve_http(
            listener,
            limits.clone(),
            api.clone(),
            parts.shutdown.clone(),
        ));
    }
    tracing::info!(target: SCOPE, "HTTP server is running on port {}", settings.http_port);
    Ok(())
}

pub(super) async fn public(
    flags: &Flags,
    settings: &Settings,
    api: PublicApi,
    parts: &Parts,
) -> Result<(), Fatal> {
    let Some(port) = settings.public_port else {
        return Ok(());
    };
    let address = format!("{}:{port}", flags.text("dapr-public-listen-address"));
    let listener = Listener::tcp(&address, Patience::None)
        .await
        .inspect_err(|error| servers::tell_unusable("dapr-public-port", error))?;
    tracing::info!(target: "dapr.runtime.http", "HTTP public server listening on: {address}");
    parts.tasks.spawn(serve_http(
        listener,
        servers::http1_limits(4096),
        api,
        parts.shutdown.clone(),
    ));
    Ok(())
}

pub(super) async fn internal_api(
    flags: &Flags,
    reserved: Option<Listener>,
    port: u16,
    calls: Server<Inbound<App, Policy, Observers>>,
    limits: GrpcServerConfig,
    parts: &mut Parts,
) -> Result<(), Fatal> {
    let address = format!("{}:{port}", flags.text("dapr-internal-grpc-listen-address"));
    let latch = parts.readiness.register("grpc-internal-server");
    let listener = match reserved {
        Some(listener) => listener,
        None => Listener::tcp(&address, PATIENCE)
            .await
            .inspect_err(|error| servers::tell_unusable("dapr-internal-grpc-port", error))
            .map_err(|_| Fatal::NoListener)?,
    };
    parts
        .tasks
        .spawn(serve_grpc(listener, limits, calls, parts.shutdown.clone()));
    tracing::info!(target: SCOPE, "Internal gRPC server is running on {address}");
    latch.ready();
    parts.server_latches.push(latch);
    Ok(())
}
