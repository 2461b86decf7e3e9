//! HTTP/2 alone, for gRPC.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http2::{Budget, Config, KeepAlive, RecvBody};
use lifecycle::{Shutdown, Tasks};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::handshake::Handshaking;
use super::{Handler, RequestBody, drive};
use crate::listen::Listener;
use crate::tls::{self, PeerIdentity, ServerTls};
use crate::{Descriptors, Socket};

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
    /// How many bytes of all streams of a connection may be on the way to this side.
    pub connection_window: u32,
    /// What the streams of all connections may hold together.
    pub budget: Arc<Budget>,
    /// How connections are secured; `None` for clear text. The handshake counts towards `handshake_timeout`.
    pub tls: Option<ServerTls>,
    /// What the connections of the process may take.
    pub descriptors: Descriptors,
}

impl Default for GrpcServerConfig {
    fn default() -> Self {
        Self {
            max_header_list: 4 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            keep_alive: (Duration::from_secs(10), Duration::from_secs(5)),
            stream_window: 256 * 1024,
            connection_window: 16 * 1024 * 1024,
            budget: Arc::default(),
            tls: None,
            descriptors: Descriptors::default(),
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
            socket = listener.accept(&config.descriptors) => socket,
        };
        let member = config.descriptors.join();
        let (config, handler, shutdown) = (Arc::clone(&config), handler.clone(), shutdown.clone());
        connections.spawn(async move {
            let limit = Instant::now() + config.handshake_timeout;
            // Counted before the handshake: an anchor that is withdrawn meanwhile concerns this connection, too.
            let trust = config
                .tls
                .as_ref()
                .map(|tls| (tls.withdrawals().clone(), tls.withdrawals().count()));
            let Some((socket, peer)) = secured(socket, config.tls.as_ref(), limit, &shutdown).await else {
                return;
            };
            let service = move |mut request: Request<RecvBody>| {
                if let Some(peer) = &peer {
                    request.extensions_mut().insert(peer.clone());
                }
                let handler = handler.clone();
                async move { handler.call(request.map(RequestBody::Http2)).await }
            };
            // A drain does not wait for a client that has not said anything yet.
            let (limit, draining) = (sleep_until(limit), shutdown.clone());
            let io = Handshaking::new(socket, async move {
                tokio::select! {
                    () = limit => {}
                    () = draining.draining() => {}
                }
            });
            let connection = http2::server::serve(io, bounds(&config), service);
            let withdrawn = async {
                match trust {
                    Some((withdrawals, count)) => withdrawals.after(count).await,
                    None => pending().await,
                }
            };
            drive(connection, member, shutdown, withdrawn).await;
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
    tracing::debug!("TLS handshake with a client failed: {error}");
    None
}

fn bounds(config: &GrpcServerConfig) -> Config {
    let (interval, patience) = config.keep_alive;
    Config {
        stream_window: config.stream_window,
        connection_window: config.connection_window,
        budget: Arc::clone(&config.budget),
        max_header_list: config.max_header_list,
        keep_alive: Some(KeepAlive {
            interval,
            patience,
            while_idle: true,
        }),
        ..Config::default()
    }
}
