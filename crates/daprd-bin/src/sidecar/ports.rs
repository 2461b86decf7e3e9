//! The ports, each with the door of the current generation.

use api_core::ApiToken;
use lifecycle::Current;
use transport::listen::{Listener, Patience};
use transport::server::{GrpcServerConfig, serve_grpc, serve_http};

use super::doors::Door;
use super::generation::Generation;
use super::parts::Parts;
use crate::environment::Environment;
use crate::fatal::Fatal;
use crate::flags::{Flags, Options, Settings};
use crate::limits::grpc_limits;
use crate::scope::SCOPE;
use crate::servers::{self, PATIENCE};

pub(super) async fn grpc_api(
    settings: &Settings,
    options: &Options,
    environment: &Environment,
    current: &Current<Generation>,
    parts: &mut Parts,
) -> Result<(), Fatal> {
    if ApiToken::new(&environment.api_token).is_some() {
        tracing::info!(target: "dapr.runtime.grpc.api", "Enabled token authentication on gRPC server");
    }
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
            grpc_limits(options, &parts.descriptors),
            Door::new(current, |generation: &Generation| &generation.grpc),
            parts.shutdown.clone(),
        ));
    }
    current.take().enabled.say_of_grpc();
    match settings.socket_folder {
        None => tracing::info!(target: SCOPE, "API gRPC server is running on port {}", settings.grpc_port),
        Some(_) => tracing::info!(target: SCOPE, "API gRPC server is running on a Unix Domain Socket"),
    }
    latch.ready();
    parts.server_latches.push(latch);
    Ok(())
}

pub(super) async fn http_api(
    settings: &Settings,
    options: &Options,
    environment: &Environment,
    current: &Current<Generation>,
    parts: &mut Parts,
) -> Result<(), Fatal> {
    if ApiToken::new(&environment.api_token).is_some() {
        tracing::info!(target: "dapr.runtime.http", "Enabled token authentication on HTTP server");
    }
    tracing::info!(
        target: "dapr.runtime.http",
        "Enabled max body size HTTP middleware with size {} bytes", options.max_body_shown
    );
    current.take().enabled.say_of_http();
    let limits = servers::api_limits(options, !environment.disables_h2c, parts.descriptors.clone());
    for (address, listener) in servers::listeners(settings, settings.http_port, "http").await? {
        let kind = if settings.socket_folder.is_some() {
            "UNIX socket"
        } else {
            "TCP address"
        };
        tracing::info!(target: "dapr.runtime.http", "HTTP server listening on {kind}: {address}");
        parts.http_addresses.push(address);
        parts.tasks.spawn(serve_http(
            listener,
            limits.clone(),
            Door::new(current, |generation: &Generation| &generation.http),
            parts.shutdown.clone(),
        ));
    }
    match settings.socket_folder {
        None => tracing::info!(target: SCOPE, "HTTP server is running on port {}", settings.http_port),
        Some(_) => tracing::info!(target: SCOPE, "HTTP server is running on a Unix Domain Socket"),
    }
    Ok(())
}

pub(super) async fn public(
    flags: &Flags,
    settings: &Settings,
    current: &Current<Generation>,
    parts: &mut Parts,
) -> Result<(), Fatal> {
    let Some(port) = settings.public_port else {
        return Ok(());
    };
    let address = format!("{}:{port}", flags.text("dapr-public-listen-address"));
    let listener = Listener::tcp(&address, Patience::None)
        .await
        .inspect_err(|error| servers::tell_unusable("dapr-public-port", error))?;
    tracing::info!(target: "dapr.runtime.http", "HTTP public server listening on: {address}");
    parts.http_addresses.push(address);
    parts.tasks.spawn(serve_http(
        listener,
        servers::http1_limits(4096),
        Door::new(current, |generation: &Generation| &generation.public),
        parts.shutdown.clone(),
    ));
    Ok(())
}

pub(super) async fn internal_api(
    flags: &Flags,
    reserved: Option<Listener>,
    port: u16,
    current: &Current<Generation>,
    limits: GrpcServerConfig,
    parts: &mut Parts,
) -> Result<(), Fatal> {
    let address = format!("{}:{port}", flags.text("dapr-internal-grpc-listen-address"));
    let latch = parts.readiness.register("grpc-internal-server");
    let calls = Door::new(current, |generation: &Generation| &generation.internal);
    let listener = match reserved {
        Some(listener) => listener,
        None => Listener::tcp(&address, PATIENCE)
            .await
            .inspect_err(|error| servers::tell_unusable("dapr-internal-grpc-port", error))
            .map_err(|_| Fatal::NoListener)?,
    };
    let bound = listener.local_addr();
    tracing::info!(
        target: "dapr.runtime.grpc.internal",
        "gRPC server listening on pre-bound TCP address: {}",
        bound.map_or_else(|| address.clone(), |bound| bound.to_string())
    );
    current.take().enabled.say_of_internal();
    parts
        .tasks
        .spawn(serve_grpc(listener, limits, calls, parts.shutdown.clone()));
    tracing::info!(target: SCOPE, "Internal gRPC server is running on {address}");
    latch.ready();
    parts.server_latches.push(latch);
    Ok(())
}
