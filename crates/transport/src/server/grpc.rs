//! HTTP/2 alone, for gRPC.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lifecycle::{Shutdown, Tasks};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::handshake::Handshaking;
use super::{Handler, drive};
use crate::Socket;
use crate::listen::Listener;
use crate::tls::{self, PeerIdentity, ServerTls};

/// The limits of a gRPC server.
#[derive(Clone, Debug)]
pub struct GrpcServerConfig {
    /// The longest header list, in bytes as RFC 9113, section 6.5.2 counts them.
    pub max_header_list: u32,
    /// How long a client may take until its connection preface is there.
    pub handshake_timeout: Duration,
    /// A ping after so long without traffic, and how long its answer may take.
    pub keep_alive: (Duration, Duration),
    /// How many bytes of one stream may be on the way unread.
    pub stream_window: u32,
    /// How many bytes of all streams together may be on the way unread. Large, so that readers that lag do not
    /// stop their neighbours on the connection.
    pub connection_window: u32,
    /// How connections are secured; `None` for clear text. The handshake counts towards `handshake_timeout`.
    pub tls: Option<ServerTls>,
}

impl Default for GrpcServerConfig {
    fn default() -> Self {
        Self {
            max_header_list: 4 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            keep_alive: (Duration::from_secs(10), Duration::from_secs(5)),
            stream_window: 256 * 1024,
            connection_window: 64 * 1024 * 1024,
            tls: None,
        }
    }
}

/// Serves a listener until the drain is over: the future resolves when the last connection has ended, or when
/// waiting is over. Our SETTINGS go out before the client's preface is read, as clients expect of gRPC servers.
pub async fn serve_grpc<H: Handler>(
    listener: Listener,
    config: GrpcServerConfig,
    handler: H,
    shutdown: Shutdown,
) {
    let connections = Tasks::new();
    let config = Arc::new(config);
    loop {
        let socket = tokio::select! {
            biased;
            () = shutdown.draining() => break,
            socket = listener.accept() => socket,
        };
        let (config, handler, shutdown) = (Arc::clone(&config), handler.clone(), shutdown.clone());
        connections.spawn(async move {
            let limit = Instant::now() + config.handshake_timeout;
            let Some((socket, peer)) = secured(socket, config.tls.as_ref(), limit, &shutdown).await else {
                return;
            };
            let service = service_fn(move |mut request: Request<Incoming>| {
                if let Some(peer) = &peer {
                    request.extensions_mut().insert(peer.clone());
                }
                let handler = handler.clone();
                // In a box from the start: hyper moves it several times, and it is large.
                Box::pin(async move { Ok::<_, Infallible>(handler.call(request.map(Either::Left)).await) })
            });
            let (limit, draining) = (sleep_until(limit), shutdown.clone());
            let io = Handshaking::new(socket, async move {
                tokio::select! {
                    () = limit => {}
                    () = draining.draining() => {}
                }
            });
            let connection = builder(&config).serve_connection(TokioIo::new(io), service);
            drive(connection, shutdown).await;
        });
    }
    drop(listener);
    tokio::select! {
        () = connections.wait() => {}
        () = shutdown.forced() => {
            connections.abort_all();
            connections.wait().await;
        }
    }
}

/// The connection after its TLS handshake, if there is to be one: `None` when it failed, or was not done in time.
async fn secured(
    socket: Socket,
    tls: Option<&ServerTls>,
    limit: Instant,
    shutdown: &Shutdown,
) -> Option<(Socket, Option<PeerIdentity>)> {
    let Some(tls) = tls else {
        return Some((socket, None));
    };
    let accepted = tokio::select! {
        accepted = timeout_at(limit, tls.accept(socket)) => accepted,
        () = shutdown.draining() => return None,
    };
    let error = match accepted {
        Ok(Ok((socket, peer))) => return Some((socket, Some(peer))),
        Ok(Err(error)) => tls::go_words(&error),
        Err(_) => "it was not done in time".to_owned(),
    };
    tracing::debug!(target: "dapr.runtime.security", "TLS handshake with a client failed: {error}");
    None
}

fn builder(config: &GrpcServerConfig) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_header_list_size(config.max_header_list)
        .max_concurrent_streams(None)
        .max_frame_size(64 * 1024)
        .max_send_buf_size(128 * 1024)
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .keep_alive_interval(config.keep_alive.0)
        .keep_alive_timeout(config.keep_alive.1);
    builder
}
