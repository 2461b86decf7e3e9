//! The way to the app.

use std::sync::atomic::Ordering;

use app_channel::{App, GrpcChannel, GrpcSettings, HttpChannel, HttpProtocol, HttpSettings, Limit};
use http::HeaderValue;

use super::apis::max_message;
use super::parts::Parts;
use super::{Fatal, SCOPE};
use crate::environment::Environment;
use crate::flags::{AppProtocol, Options, Settings};

/// The headers of an app's answer may be as long as `--read-buffer-size` says.
pub(super) fn app_header_limit(options: &Options) -> usize {
    options
        .read_buffer
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(10 << 20)
}

pub(super) fn app_channel(
    settings: &Settings,
    options: &Options,
    environment: &Environment,
    parts: &Parts,
) -> Result<Option<App>, Fatal> {
    let app = &settings.app;
    let Some(port) = app.port else {
        tracing::warn!(target: SCOPE, "App channel is not initialized. Did you configure an app-port?");
        return Ok(None);
    };
    let token = HeaderValue::from_str(&environment.app_token)
        .ok()
        .filter(|token| !token.is_empty());
    let address = format!("{}:{port}", bracketed(&app.address));
    let grpc = GrpcSettings {
        address: address.clone(),
        token: token.clone(),
        max_message: max_message(options),
    };
    let grpc = GrpcChannel::new(grpc, parts.connections.clone());
    let limit = app.max_concurrency.map(|places| Limit::new(places as usize));
    let protocol = match app.protocol {
        AppProtocol::Http => HttpProtocol::Http,
        AppProtocol::H2c => HttpProtocol::H2c,
        AppProtocol::Grpc => return Ok(Some(App::grpc(grpc).limited(limit))),
        AppProtocol::Https | AppProtocol::Grpcs => {
            return Err(Fatal::Unsupported(format!(
                "--app-protocol={}",
                app.protocol.name()
            )));
        }
    };
    let settings = HttpSettings {
        protocol,
        base: format!("http://{address}"),
        token,
        max_header_bytes: app_header_limit(options),
    };
    let http = HttpChannel::new(settings, parts.connections.clone())?;
    Ok(Some(App::http(http, grpc).limited(limit)))
}

/// An IPv6 address needs brackets in front of a port.
pub(super) fn bracketed(address: &str) -> String {
    match address.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => address.to_owned(),
    }
}

/// Waits for the app, if there is one. `false` when the sidecar stops before.
pub(super) async fn wait_for_app(settings: &Settings, app_channel: Option<&App>, parts: &Parts) -> bool {
    if settings.app.port_shown == 0 {
        return true;
    }
    let app = &settings.app;
    let address = format!("{}:{}", bracketed(&app.address), app.port_shown);
    let port = app.port.unwrap_or(0);
    if !app_channel::wait_for_app(app.protocol.name(), &address, port, &parts.shutdown).await {
        return false;
    }
    if let Some(places) = app.max_concurrency {
        tracing::info!(target: SCOPE, "app max concurrency set to {places}");
    }
    parts.is_app_up.store(true, Ordering::Relaxed);
    let Some(channel) = app_channel.and_then(App::as_http) else {
        return true;
    };
    if settings.asks_app_config {
        app_channel::load_app_configuration(channel, &settings.app_id.as_str().into()).await;
    } else {
        tracing::warn!(
            target: SCOPE,
            "Skipping programmatic dapr configuration loading (see 'disable-init-endpoints' flag/annotation)"
        );
    }
    true
}
