//! Connecting, with the error texts of Go's `net` and `crypto/tls` packages.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::proxy::{self, Proxy};
use crate::descriptors::is_want_of_descriptors;
use crate::tls::{self, ClientTls, OriginTls};
use crate::words::system_words;
use crate::{Descriptors, Socket};

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
    /// Nobody has this name: `dial tcp: lookup example.com: no such host`.
    #[error("dial tcp: lookup {host}: {}", lookup_words(.source))]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver of the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The handshake failed: the peer speaks no TLS, or is not who it should be, or thinks so of us.
    #[error("{}", tls::go_words(.0))]
    Handshake(#[source] Arc<io::Error>),
    /// The proxy cannot be reached, or does not let us through: `proxyconnect tcp: dial tcp 10.0.0.1:3128: …`.
    #[error("{0}")]
    Proxy(String),
}

/// The resolver of the system has no kinds of errors, only texts; those of glibc and of musl for a name that is none.
fn lookup_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text);
    match text {
        "Name or service not known" | "No address associated with hostname" | "Name does not resolve" => {
            "no such host".to_owned()
        }
        other => other.to_lowercase(),
    }
}

fn go_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => match system_words(error) {
            Some(words) => format!("connect: {words}"),
            None => error.to_string(),
        },
    }
}

/// Connects to `host:port`, trying every address that the host has. A failure is that of the first one. While the
/// process can have no further socket, connections of callers without a call make room for it.
pub(super) async fn connect(address: &str, limit: Duration) -> Result<Socket, ConnectError> {
    let failed = |address: String, source: io::Error| ConnectError::Dial {
        address,
        source: Arc::new(source),
    };
    let mut first = None;
    let connecting = async {
        // A literal address is not looked up.
        let found = lookup_host(address).await.map_err(|error| ConnectError::Lookup {
            host: address
                .rsplit_once(':')
                .map_or(address, |(host, _)| host)
                .to_owned(),
            source: Arc::new(error),
        })?;
        for found in found {
            match straight(found).await {
                Ok(socket) => return Ok(socket),
                Err(error) => first = first.take().or(Some(failed(found.to_string(), error))),
            }
        }
        let nobody = || failed(address.to_owned(), io::ErrorKind::AddrNotAvailable.into());
        Err(first.take().unwrap_or_else(nobody))
    };
    match timeout(limit, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(failed(address.to_owned(), io::ErrorKind::TimedOut.into())),
    }
}

async fn straight(address: SocketAddr) -> io::Result<Socket> {
    let stream = loop {
        match TcpStream::connect(address).await {
            Err(error) if is_want_of_descriptors(&error) => Descriptors::of_process().make_room().await,
            tried => break tried?,
        }
    };
    stream.set_nodelay(true)?;
    Ok(Socket::Tcp(stream))
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

/// Connects to an origin, through a proxy and with TLS if they are given; the limit bounds all of it.
pub(crate) async fn connect_origin(
    address: &str,
    tls: Option<&OriginTls>,
    proxy: Option<&Proxy>,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    let deadline = Instant::now() + limit;
    let socket = match proxy {
        None => connect(address, limit).await?,
        Some(proxy) => {
            let passing = proxy::pass(proxy, address, tls.is_none(), limit);
            timeout_at(deadline, passing).await.unwrap_or_else(|_| {
                let text = format!("proxyconnect tcp: the proxy {proxy} does not answer: i/o timeout");
                Err(ConnectError::Proxy(text))
            })?
        }
    };
    let Some(tls) = tls else {
        return Ok(socket);
    };
    let failed = |source: io::Error| ConnectError::Handshake(Arc::new(source));
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    match timeout_at(deadline, tls.connect(socket, host)).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}

/// Whether something listens at `host:port`, and shakes hands if TLS is given. The connection is closed at once.
pub async fn probe(
    address: &str,
    tls: Option<&OriginTls>,
    proxy: Option<&Proxy>,
    limit: Duration,
) -> Result<(), ConnectError> {
    connect_origin(address, tls, proxy, limit).await.map(drop)
}
