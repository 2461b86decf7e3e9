//! The way to the app.

use std::sync::atomic::Ordering;

use app_channel::{HttpChannel, HttpProtocol, HttpSettings};
use http::HeaderValue;

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
) -> Result<Option<HttpChannel>, Fatal> {
    let app = &settings.app;
    let Some(port) = app.port else {
        tracing::warn!(target: SCOPE, "App channel is not initialized. Did you configure an app-port?");
        return Ok(None);
    };
    let protocol = if app.protocol == AppProtocol::H2c {
        HttpProtocol::H2c
    } else {
        HttpProtocol::Http
    };
    let token = HeaderValue::from_str(&environment.app_token)
        .ok()
        .filter(|token| !token.is_empty());
    let settings = HttpSettings {
        protocol,
        base: format!("http://{}:{port}", bracketed(&app.address)),
        token,
        max_header_bytes: app_header_limit(options),
    };
    Ok(Some(HttpChannel::new(settings, parts.connections.clone())?))
}

/// An IPv6 address needs brackets in front of a port.
pub(super) fn bracketed(address: &str) -> String {
    match address.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => address.to_owned(),
    }
}

/// Waits for the app, if there is one. `false` when the sidecar stops before.
pub(super) async fn wait_for_app(settings: &Settings, channel: Option<&HttpChannel>, parts: &Parts) -> bool {
    if settings.app.port_shown == 0 {
        return true;
    }
    let app = &settings.app;
    let address = format!("{}:{}", bracketed(&app.address), app.port_shown);
    let port = app.port.unwrap_or(0);
    if !app_channel::wait_for_app(app.protocol.name(), &address, port, &parts.shutdown).await {
        return false;
    }
    parts.is_app_up.store(true, Ordering::Relaxed);
    let Some(channel) = channel else { return true };
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
