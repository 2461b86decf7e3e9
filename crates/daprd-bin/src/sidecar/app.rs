//! The way to the app.

use app_channel::{
    App, ConcurrencyLimit, GrpcChannel, GrpcSettings, HttpChannel, HttpProtocol, HttpSettings, Probe,
    ProbeSettings, Watched,
};
use http::HeaderValue;
use transport::client::Reuse;
use transport::tls::{OriginTls, Trust};

use super::parts::Parts;
use crate::environment::Environment;
use crate::fatal::Fatal;
use crate::flags::{AppProtocol, Options, Settings};
use crate::limits::{app_header_limit, max_message};
use crate::scope::SCOPE;

pub(super) fn app_channel(
    settings: &Settings,
    options: &Options,
    environment: &Environment,
    watched: &Watched,
    parts: &Parts,
) -> Result<Option<App>, Fatal> {
    let app = &settings.app;
    let Some(port) = app.port else {
        tracing::warn!(target: "dapr.runtime.channels", "App channel is not initialized. Did you configure an app-port?");
        return Ok(None);
    };
    let token = HeaderValue::from_str(&environment.app_token)
        .ok()
        .filter(|token| !token.is_empty());
    let address = format!("{}:{port}", bracketed(&app.address));
    // What the configuration says of it comes with each generation.
    let reuse = Reuse::default();
    let grpc = GrpcSettings {
        address: address.clone(),
        tls: app_tls(app.protocol)?,
        token: token.clone(),
        max_message: max_message(options),
        reuse: reuse.clone(),
    };
    let grpc = GrpcChannel::new(grpc, parts.connections.clone());
    let limit = app
        .max_concurrency
        .map(|places| ConcurrencyLimit::new(places as usize));
    let protocol = match app.protocol {
        AppProtocol::Http | AppProtocol::Https => HttpProtocol::Http,
        AppProtocol::H2c => HttpProtocol::H2c,
        AppProtocol::Grpc | AppProtocol::Grpcs => {
            return Ok(Some(App::grpc(grpc).limited(limit).watched(watched.clone())));
        }
    };
    let settings = HttpSettings {
        protocol,
        base: base(app.protocol, &address),
        tls: app_tls(app.protocol)?,
        proxy: None,
        token,
        max_header_bytes: app_header_limit(options),
        deadline_header: environment.deadline_header.clone(),
        reuse,
    };
    let http = HttpChannel::new(settings, parts.connections.clone())?;
    Ok(Some(
        App::http(http, grpc).limited(limit).watched(watched.clone()),
    ))
}

fn base(protocol: AppProtocol, address: &str) -> String {
    let scheme = if protocol == AppProtocol::Https {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{address}")
}

/// TLS to the app, which may have any certificate: it is on the same host, as in Dapr.
fn app_tls(protocol: AppProtocol) -> Result<Option<OriginTls>, Fatal> {
    Ok(match protocol {
        AppProtocol::Https => Some(OriginTls::http1(Trust::Anyone, None)?),
        AppProtocol::Grpcs => Some(OriginTls::http2(Trust::Anyone)?),
        AppProtocol::Http | AppProtocol::H2c | AppProtocol::Grpc => None,
    })
}

/// An IPv6 address needs brackets in front of a port.
pub(super) fn bracketed(address: &str) -> String {
    match address.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => address.to_owned(),
    }
}

/// Waits for the app, if there is one. `false` when the sidecar stops before.
pub(super) async fn wait_for_app(settings: &Settings, parts: &Parts) -> Result<bool, Fatal> {
    let app = &settings.app;
    if app.port_shown == 0 {
        return Ok(true);
    }
    let address = format!("{}:{}", bracketed(&app.address), app.port_shown);
    let port = app.port.unwrap_or(0);
    let (name, tls) = (app.protocol.name(), app_tls(app.protocol)?);
    if !app_channel::wait_for_app(name, &address, port, tls.as_ref(), &parts.shutdown).await {
        return Ok(false);
    }
    if let Some(places) = app.max_concurrency {
        tracing::info!(target: SCOPE, "app max concurrency set to {places}");
    }
    Ok(true)
}

/// Begins to look after the app: with probes, or by taking it for healthy. What is asked of the app by itself is
/// asked when it is healthy for the first time.
pub(super) async fn attend(
    settings: &Settings,
    options: &Options,
    (app, watched): (&App, &Watched),
    asks_subscriptions: bool,
    parts: &Parts,
) -> Result<(), Fatal> {
    let health = app.health().clone();
    let first = first_questions(settings, app.clone(), asks_subscriptions);
    let Some(wanted) = &settings.app.health else {
        health.assume_healthy();
        first.await;
        return Ok(());
    };
    let probe = probe(settings, options, &wanted.path, parts)?.watched(watched.clone());
    let probes = ProbeSettings {
        interval: wanted.interval,
        timeout: wanted.timeout,
        threshold: wanted.threshold,
    };
    health.await_first_probe();
    let (healthy, shutdown) = (health.clone(), parts.shutdown.clone());
    parts.tasks.spawn(async move {
        let asking = async {
            healthy.healthy().await;
            first.await;
        };
        tokio::select! {
            () = shutdown.draining() => {}
            () = asking => {}
        }
    });
    parts
        .tasks
        .spawn(health.watch(probe, probes, parts.shutdown.clone()));
    Ok(())
}

/// A probe with a connection of its own, and without the app's token.
fn probe(settings: &Settings, options: &Options, path: &str, parts: &Parts) -> Result<Probe, Fatal> {
    let app = &settings.app;
    let address = format!("{}:{}", bracketed(&app.address), app.port_shown);
    let protocol = match app.protocol {
        AppProtocol::Http | AppProtocol::Https => HttpProtocol::Http,
        AppProtocol::H2c => HttpProtocol::H2c,
        AppProtocol::Grpc | AppProtocol::Grpcs => {
            let settings = GrpcSettings {
                address,
                tls: app_tls(app.protocol)?,
                token: None,
                max_message: max_message(options),
                reuse: Reuse::default(),
            };
            return Ok(Probe::grpc(GrpcChannel::new(settings, parts.connections.clone())));
        }
    };
    let settings = HttpSettings {
        protocol,
        base: base(app.protocol, &address),
        tls: app_tls(app.protocol)?,
        proxy: None,
        token: None,
        max_header_bytes: app_header_limit(options),
        deadline_header: None,
        reuse: Reuse::default(),
    };
    let channel = HttpChannel::new(settings, parts.connections.clone())?;
    Ok(Probe::http(channel, path))
}

/// What the sidecar asks an HTTP app by itself.
fn first_questions(
    settings: &Settings,
    app: App,
    asks_subscriptions: bool,
) -> impl Future<Output = ()> + Send + use<> {
    let (app_id, asks) = (settings.app_id.as_str().into(), settings.asks_app_config);
    async move {
        if app.as_http().is_none() {
            return;
        }
        if asks {
            app_channel::load_app_configuration(&app, &app_id).await;
        } else {
            tracing::warn!(
                target: SCOPE,
                "Skipping programmatic dapr configuration loading (see 'disable-init-endpoints' flag/annotation)"
            );
        }
        if asks_subscriptions {
            app_channel::load_subscriptions(&app, &app_id).await;
        }
    }
}
