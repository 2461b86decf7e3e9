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
use tokio::time::sleep;

use super::handshake::Handshaking;
use super::{Handler, drive};
use crate::listen::Listener;

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
}

impl Default for GrpcServerConfig {
    fn default() -> Self {
        Self {
            max_header_list: 4 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            keep_alive: (Duration::from_secs(10), Duration::from_secs(5)),
            stream_window: 256 * 1024,
            connection_window: 64 * 1024 * 1024,
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
            let service = service_fn(move |request: Request<Incoming>| {
                let handler = handler.clone();
                // In a box from the start: hyper moves it several times, and it is large.
                Box::pin(async move { Ok::<_, Infallible>(handler.call(request.map(Either::Left)).await) })
            });
            let (limit, draining) = (sleep(config.handshake_timeout), shutdown.clone());
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
