//! Connecting, with the error texts of Go's `net` and `crypto/tls` packages.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use go_text::system_words;
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::proxy::{self, Proxy};
use super::race::{in_order, race};
use crate::counted::{Counted, Side};
use crate::descriptors::is_want_of_descriptors;
use crate::socket::keep_alive;
use crate::tls::{self, ClientTls, OriginTls};
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
    /// Nobody answers at a Unix domain socket: `dial unix /run/x.sock: connect: no such file or directory`.
    #[error("dial unix {path}: {}", go_words(.source))]
    Unix {
        /// Where the socket should be.
        path: String,
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
    if error.kind() == io::ErrorKind::TimedOut {
        return "i/o timeout".to_owned();
    }
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

/// Connects to `host:port`, to whichever address of the host answers first. A failure is that of the first one. While
/// the process can have no further socket, connections of callers without a call make room for it. The limit bounds all
/// of it, the look-up included.
pub(super) async fn connect(address: &str, limit: Duration) -> Result<Socket, ConnectError> {
    let deadline = Instant::now() + limit;
    // A literal address is not looked up.
    let found = timeout_at(deadline, lookup_host(address)).await;
    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let addresses = in_order(found.map_err(|error| {
        ConnectError::Lookup {
            host: address
                .rsplit_once(':')
                .map_or(address, |(host, _)| host)
                .to_owned(),
            source: Arc::new(error),
        }
    })?);
    let mut failures = Vec::new();
    let racing = race(&addresses, straight, |address, error| {
        failures.push((address, error));
    });
    match timeout_at(deadline, racing).await {
        Ok(Some(socket)) => Ok(socket),
        lost => Err(failure(&addresses, failures, lost.is_err(), address)),
    }
}

/// What is told of addresses that cannot be connected to: what became of the first.
fn failure(
    addresses: &[SocketAddr],
    failures: Vec<(SocketAddr, io::Error)>,
    is_late: bool,
    wanted: &str,
) -> ConnectError {
    let of_first = failures
        .into_iter()
        .find(|(address, _)| Some(address) == addresses.first());
    let (address, source) = match (of_first, addresses.first()) {
        (Some((address, error)), _) => (address.to_string(), error),
        (None, Some(first)) if is_late => (first.to_string(), io::ErrorKind::TimedOut.into()),
        (None, _) => (wanted.to_owned(), io::ErrorKind::AddrNotAvailable.into()),
    };
    ConnectError::Dial {
        address,
        source: Arc::new(source),
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
    keep_alive(&stream);
    Ok(Socket::Tcp(Counted::new(stream, Side::Client)))
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
    secured(socket, address, tls, deadline).await
}

/// The same to a Unix domain socket. `address` has the name that the certificate must have.
pub(super) async fn connect_unix(
    path: &Path,
    address: &str,
    tls: Option<&OriginTls>,
    limit: Duration,
) -> Result<Socket, ConnectError> {
    let deadline = Instant::now() + limit;
    let connected = timeout_at(deadline, UnixStream::connect(path)).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let socket = connected.map_err(|error| ConnectError::Unix {
        path: path.display().to_string(),
        source: Arc::new(error),
    })?;
    let socket = Socket::Unix(Counted::new(socket, Side::Client));
    secured(socket, address, tls, deadline).await
}

async fn secured(
    socket: Socket,
    address: &str,
    tls: Option<&OriginTls>,
    deadline: Instant,
) -> Result<Socket, ConnectError> {
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

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_notices_when_the_other_host_vanishes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let socket = connect(&address, Duration::from_secs(10)).await.unwrap();
        let socket = SockRef::from(socket.tcp().unwrap());
        assert!(socket.keepalive().unwrap());
        let quiet = socket.tcp_keepalive_time().unwrap();
        let asked = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert!(quiet + asked <= Duration::from_secs(60), "{quiet:?} {asked:?}");
    }

    #[test]
    fn a_failure_is_that_of_the_first_address() {
        let addresses: Vec<SocketAddr> = ["10.0.0.1:80", "[::2]:80"]
            .map(|text| text.parse().unwrap())
            .into();
        let refused = |address: usize| (addresses[address], io::ErrorKind::ConnectionRefused.into());
        let unreachable = |address: usize| (addresses[address], io::ErrorKind::NetworkUnreachable.into());
        for (failures, is_late, wanted) in [
            (
                vec![unreachable(1), refused(0)],
                false,
                "dial tcp 10.0.0.1:80: connect: connection refused",
            ),
            (
                vec![refused(0)],
                true,
                "dial tcp 10.0.0.1:80: connect: connection refused",
            ),
            (vec![unreachable(1)], true, "dial tcp 10.0.0.1:80: i/o timeout"),
            (vec![], true, "dial tcp 10.0.0.1:80: i/o timeout"),
        ] {
            assert_eq!(
                failure(&addresses, failures, is_late, "host:80").to_string(),
                wanted
            );
        }
    }
}
