//! Listeners and servers, with the log lines and the errors by which Dapr knows them.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use lifecycle::{Shutdown, Tasks};
use transport::Descriptors;
use transport::listen::{Listener, Patience};
use transport::server::{Budget, H2Config, Handler, HttpServerConfig, RequestBody, serve_http};

use crate::fatal::Fatal;
use crate::flags::{Options, Settings};
use crate::scope::SCOPE;

/// How long an address that is in use is waited for.
pub const PATIENCE: Patience = Patience::For(Duration::from_secs(10));
/// Go's allowance on top of what is configured.
const HEADER_SLACK: u64 = 4096;
const GO_HEADER_DEFAULT: u64 = 1 << 20;

/// The listeners of one API: a Unix socket, or each of the listen addresses that can be bound.
pub async fn listeners(
    settings: &Settings,
    port: u16,
    socket: &str,
) -> Result<Vec<(String, Listener)>, Fatal> {
    if let Some(folder) = &settings.socket_folder {
        let path = PathBuf::from(folder).join(format!("dapr-{}-{socket}.socket", settings.app_id));
        let listener = Listener::unix(&path)?;
        return Ok(vec![(path.display().to_string(), listener)]);
    }
    let mut bound = Vec::new();
    for address in &settings.listen_addresses {
        let address = format!("{address}:{port}");
        match Listener::tcp(&address, PATIENCE).await {
            Ok(listener) => bound.push((address, listener)),
            Err(error) => tell_unusable(&format!("dapr-{socket}-port"), &error),
        }
    }
    if bound.is_empty() {
        Err(Fatal::NoListener)
    } else {
        Ok(bound)
    }
}

/// Says which flag chose an address that cannot be used. The error that ends the start names neither.
pub fn tell_unusable(flag: &str, error: &dyn std::error::Error) {
    tracing::error!(target: SCOPE, "{error} (chosen by --{flag})");
}

/// What the HTTP/2 streams of the API port may hold together, in bytes.
const STREAMS: usize = 32 << 20;

/// The limits of the API port.
pub fn api_limits(options: &Options, h2c: bool, descriptors: Descriptors) -> HttpServerConfig {
    let read_buffer = options.read_buffer.unwrap_or(GO_HEADER_DEFAULT);
    let header_list = u32::try_from(read_buffer + 320).unwrap_or(u32::MAX);
    let h2c = h2c.then(|| H2Config {
        max_header_list: header_list,
        max_concurrent_streams: 250,
        max_frame: 16 << 10,
        stream_window: 256 << 10,
        connection_window: 16 << 20,
        budget: Budget::new(STREAMS),
        max_upgrade_body: options
            .max_body
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(4 << 20)
            .min(16 << 20),
    });
    HttpServerConfig {
        h2c,
        descriptors,
        ..http1_limits(read_buffer)
    }
}

/// The limits of a port that speaks HTTP/1 alone. Such a port is for those who watch the sidecar: what descriptors are
/// kept back from callers is for them, too.
pub fn http1_limits(read_buffer: u64) -> HttpServerConfig {
    HttpServerConfig {
        max_header_bytes: usize::try_from(read_buffer + HEADER_SLACK).unwrap_or(usize::MAX),
        header_timeout: Duration::from_secs(10),
        h2c: None,
        descriptors: Descriptors::default(),
    }
}

/// Opens the profiling port. Profiles of Go have no meaning here; the port answers 404.
pub async fn profiling(settings: &Settings, shutdown: &Shutdown, tasks: &Tasks) -> Result<(), Fatal> {
    let Some(port) = settings.profile_port else {
        return Ok(());
    };
    let mut is_open = false;
    for address in &settings.listen_addresses {
        let address = format!("{address}:{port}");
        let listener = match Listener::tcp(&address, PATIENCE).await {
            Ok(listener) => listener,
            Err(error) => {
                tell_unusable("profile-port", &error);
                continue;
            }
        };
        tracing::info!(target: "dapr.runtime.http", "HTTP profiling server listening on: {address}");
        tasks.spawn(serve_http(
            listener,
            http1_limits(4096),
            NothingHere,
            shutdown.clone(),
        ));
        is_open = true;
    }
    if is_open {
        Ok(())
    } else {
        Err(Fatal::NoProfilingListener)
    }
}

/// Answers every request with 404.
#[derive(Clone, Copy)]
struct NothingHere;

impl Handler for NothingHere {
    type Body = Full<Bytes>;

    async fn call(&self, _: Request<RequestBody>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from_static(b"404 page not found\n")));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }
}
