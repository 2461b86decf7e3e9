//! Connecting, with the error texts of Go's `net` and `crypto/tls` packages.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::Socket;
use crate::tls::{self, ClientTls, OriginTls};

/// A connection that could not be made.
#[derive(Clone, Debug, Error)]
pub enum ConnectError {
    /// Nobody answers: `dial tcp 127.0.0.1:1: connect: connection refused`.
    #[error("dial tcp {address}: {}", go_words(.source))]
    Dial {
        /// `host:port`.
        address: String,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// The handshake failed: the peer speaks no TLS, or is not who it should be, or thinks so of us.
    #[error("{}", tls::go_words(.0))]
    Handshake(#[source] Arc<io::Error>),
}

fn go_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// Connects to `host:port`, trying every address that the host has.
pub(super) async fn connect(address: &str, limit: Duration) -> Result<Socket, ConnectError> {
    let failed = |source: io::Error| ConnectError::Dial {
        address: address.to_owned(),
        source: Arc::new(source),
    };
    let connecting = async {
        // `connect` tries all addresses in turn; a literal address is not looked up.
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        io::Result::Ok(Socket::Tcp(stream))
    };
    match timeout(limit, connecting).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}

/// The same, and a handshake in which the peer must prove `identity`; the limit bounds both. Without a way to
/// prove it there is no connection.
pub(super) async fn connect_tls(
    address: &str,
    identity: &str,
    tls: Option<&ClientTls>,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    let failed = |source: io::Error| ConnectError::Handshake(Arc::new(source));
    let Some(tls) = tls else {
        return Err(failed(io::Error::other(
            "no TLS is configured for a peer that must prove who it is",
        )));
    };
    let deadline = Instant::now() + limit;
    let socket = connect(address, limit).await?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    match timeout_at(deadline, tls.connect(socket, host, identity)).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}

/// Connects to an origin, with TLS if it is given; the limit bounds both.
pub(crate) async fn connect_origin(
    address: &str,
    tls: Option<&OriginTls>,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    let Some(tls) = tls else {
        return connect(address, limit).await;
    };
    let failed = |source: io::Error| ConnectError::Handshake(Arc::new(source));
    let deadline = Instant::now() + limit;
    let socket = connect(address, limit).await?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    match timeout_at(deadline, tls.connect(socket, host)).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}

/// Whether something listens at `host:port`, and shakes hands if TLS is given. The connection is closed at once.
pub async fn probe(address: &str, tls: Option<&OriginTls>, limit: Duration) -> Result<(), ConnectError> {
    connect_origin(address, tls, limit).await.map(drop)
}
