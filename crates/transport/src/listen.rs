//! Listeners: TCP and Unix sockets, bound with patience, accepting whatever happens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use go_text::system_words;
use socket2::{Domain, Protocol, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::{Instant, sleep};

use crate::counted::{Counted, Side};
use crate::descriptors::is_want_of_descriptors;
use crate::socket::keep_alive;
use crate::{Descriptors, Socket};

const BACKLOG: i32 = 4096;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long to wait for an address that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Try once.
    None,
    /// Try again, 100 ms to 500 ms apart, for so long in total.
    For(Duration),
}

/// An address that cannot be bound; printed as Go prints it.
#[derive(Debug, Error)]
#[error("{}", self.text())]
pub struct BindError {
    network: &'static str,
    address: String,
    #[source]
    source: io::Error,
}

impl BindError {
    /// Whether somebody else has the address.
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }

    fn text(&self) -> String {
        let Self { network, address, .. } = self;
        let words = go_words(&self.source);
        match self.source.kind() {
            io::ErrorKind::InvalidInput => format!("listen {network}: address {address}: {words}"),
            // The host has no address, so there is nothing that was tried.
            io::ErrorKind::HostUnreachable => format!("listen {network}: {words}"),
            _ => format!("listen {network} {address}: {words}"),
        }
    }
}

/// The words of Go's `net` package for an error of the operating system.
fn go_words(error: &io::Error) -> String {
    match system_words(error) {
        Some(words) => format!("bind: {words}"),
        None => error.to_string(),
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

impl Listener {
    /// Binds `host:port`. An empty host, `0.0.0.0` and `[::]` mean all interfaces, IPv6 and IPv4 (but for `[::]`, IPv4
    /// alone where there is no IPv6); an IPv6 address stands in brackets; a host name takes the first of its addresses
    /// of IPv4, or else its first one.
    pub async fn tcp(address: &str, patience: Patience) -> Result<Self, BindError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match bind_tcp(address) {
                Ok(listener) => return Ok(Self(Kind::Tcp(listener))),
                Err(source) => BindError {
                    network: "tcp",
                    address: address.to_owned(),
                    source,
                },
            };
            match patience {
                Patience::For(limit) if error.is_in_use() && begun.elapsed() + pause <= limit => {
                    sleep(pause).await;
                    pause = (pause * 3 / 2).min(LONGEST_PAUSE);
                }
                Patience::None | Patience::For(_) => return Err(error),
            }
        }
    }

    /// Binds a Unix socket. A socket file that nobody listens on is removed first; the file goes with the
    /// listener.
    pub fn unix(path: &Path) -> Result<Self, BindError> {
        let failed = |source| BindError {
            network: "unix",
            address: path.display().to_string(),
            source,
        };
        let is_socket = std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
        if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
            std::fs::remove_file(path).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        Ok(Self(Kind::Unix {
            listener,
            path: path.to_owned(),
        }))
    }

    /// Bounds what the system keeps of each connection for a client that does not read; without it, the system lets
    /// that grow to megabytes. For connections that are taken from now on, as far as the system follows.
    pub fn limit_send_buffer(&self, bytes: usize) {
        let _ = socket2::SockRef::from(self).set_send_buffer_size(bytes);
    }

    /// The TCP address, if it is one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix { .. } => None,
        }
    }

    /// Waits for the next connection. Errors that concern one connection, and the want of file descriptors, are
    /// survived. While few descriptors are left nobody is let in until another connection has closed.
    pub async fn accept(&self, descriptors: &Descriptors) -> Socket {
        let mut failures = 0_u32;
        loop {
            descriptors.room(self).await;
            match self.try_accept().await {
                Ok(socket) => {
                    descriptors.took(&socket);
                    return socket;
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) if is_want_of_descriptors(&error) => descriptors.make_room().await,
                Err(error) => {
                    if failures.is_multiple_of(100) {
                        tracing::warn!("cannot accept connections for now: {error}");
                    }
                    failures += 1;
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Socket> {
        match &self.0 {
            Kind::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                prepare(&stream, peer.ip());
                Ok(Socket::Tcp(Counted::new(stream, Side::Server)))
            }
            Kind::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok(Socket::Unix(Counted::new(stream, Side::Server)))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Tcp(listener) => listener.as_fd(),
            Kind::Unix { listener, .. } => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Kind::Unix { path, .. } = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn bind_tcp(address: &str) -> io::Result<TcpListener> {
    let addresses = resolve(address)?;
    let [others @ .., last] = addresses.as_slice() else {
        return Err(no_such_host(address));
    };
    for other in others {
        match bind_socket(*other) {
            // Somebody else's is no reason to try another family: a client would reach one of two servers.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
    bind_socket(*last)
}

/// What to bind for `host:port`, as Go's `net.Listen` chooses it: the next one where the host has not the family of
/// the one before.
///
/// Every address that means all interfaces means those of both families, `0.0.0.0`, too: a socket of IPv6 that takes
/// IPv4 as well. A name means its first address of IPv4, if it has one.
fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| invalid("missing port in address"))?;
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if literal.is_none() && host.contains(':') {
        return Err(invalid("too many colons in address"));
    }
    let port: u16 = port.parse().map_err(|_| invalid("invalid port"))?;
    let host = literal.unwrap_or(host);
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    if host.is_empty() {
        return Ok(vec![both, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))]);
    }
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => Ok(vec![both, SocketAddr::from((ip, port))]),
        Ok(ip) => Ok(vec![SocketAddr::from((ip, port))]),
        Err(_) => {
            let mut found: Vec<_> = (host, port)
                .to_socket_addrs()
                .map_err(|_| no_such_host(address))?
                .collect();
            found.sort_by_key(SocketAddr::is_ipv6);
            found.truncate(1);
            Ok(found)
        }
    }
}

/// Sets up a connection that was accepted from this address.
fn prepare(stream: &TcpStream, peer: IpAddr) {
    // Without it small answers wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    // This host does not vanish without us.
    if !peer.to_canonical().is_loopback() {
        keep_alive(stream);
    }
}

fn no_such_host(address: &str) -> io::Error {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    io::Error::new(
        io::ErrorKind::HostUnreachable,
        format!("lookup {host}: no such host"),
    )
}

fn bind_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_on_another_host_that_vanishes_is_noticed() {
        let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        for (peer, is_watched) in [
            ("127.0.0.1", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("10.0.0.9", true),
            ("fe80::1", true),
        ] {
            socket2::SockRef::from(&stream).set_keepalive(false).unwrap();
            prepare(&stream, peer.parse().unwrap());
            let socket = socket2::SockRef::from(&stream);
            assert_eq!(socket.keepalive().unwrap(), is_watched, "{peer}");
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_told_as_go_tells_it() {
        let first = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
        let address = first.local_addr().unwrap().to_string();
        let error = Listener::tcp(&address, Patience::None).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("listen tcp {address}: bind: address already in use")
        );
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_told_as_go_tells_it() {
        for (address, wanted) in [
            ("::1:1", "too many colons in address"),
            ("a:b:1", "too many colons in address"),
            ("localhost", "missing port in address"),
            ("127.0.0.1:65536", "invalid port"),
        ] {
            let error = Listener::tcp(address, Patience::None).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("listen tcp: address {address}: {wanted}")
            );
        }
        let error = Listener::tcp("no host:1", Patience::None).await.unwrap_err();
        assert_eq!(error.to_string(), "listen tcp: lookup no host: no such host");
    }

    #[tokio::test(start_paused = true)]
    async fn patience_waits_for_an_address() {
        let first = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
        let address = first.local_addr().unwrap().to_string();
        let begun = Instant::now();
        let patience = Patience::For(Duration::from_secs(10));
        let refused = Listener::tcp(&address, patience).await;
        assert!(refused.is_err_and(|error| error.is_in_use()));
        assert!(begun.elapsed() > Duration::from_secs(9));
        let waiting = tokio::spawn(async move { Listener::tcp(&address, patience).await });
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(first);
        assert!(waiting.await.unwrap().is_ok());
    }

    #[test]
    fn what_is_bound() {
        for (address, wanted) in [
            (":1", &["[::]:1", "0.0.0.0:1"][..]),
            ("0.0.0.0:1", &["[::]:1", "0.0.0.0:1"]),
            ("[::ffff:0.0.0.0]:1", &["[::]:1", "0.0.0.0:1"]),
            ("[::]:1", &["[::]:1"]),
            ("[::1]:1", &["[::1]:1"]),
            ("127.0.0.1:1", &["127.0.0.1:1"]),
            ("[::ffff:127.0.0.1]:1", &["127.0.0.1:1"]),
            ("localhost:1", &["127.0.0.1:1"]),
        ] {
            let addresses: Vec<_> = resolve(address)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(addresses, wanted, "{address}");
        }
    }

    #[tokio::test]
    async fn all_interfaces_are_those_of_both_families() {
        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        for address in [":0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = Listener::tcp(address, Patience::None).await else {
                assert!(!has_ipv6 && address == "[::]:0", "{address}");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            for host in ["127.0.0.1", "::1"] {
                let connected = tokio::net::TcpStream::connect((host, port)).await;
                assert_eq!(
                    connected.is_ok(),
                    has_ipv6 || host == "127.0.0.1",
                    "{address} {host}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.socket");
        std::fs::write(&path, "precious").unwrap();
        assert!(Listener::unix(&path).unwrap_err().is_in_use());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::unix(&path).unwrap();
        let error = Listener::unix(&path).unwrap_err();
        assert!(
            error.to_string().ends_with("bind: address already in use"),
            "{error}"
        );
        drop(listener);
        assert!(!path.exists());
    }
}
