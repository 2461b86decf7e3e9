//! TLS on a socket: what a server and a client need to know of it.
//!
//! Who may connect, and whom a client trusts, is decided by the configurations of `rustls` that are given from
//! outside; so is the name that a peer's certificate proves. A handshake that does not agree on HTTP/2 is no use
//! here and ends the connection.

mod anyone;
mod crypto;
mod ecdsa;
mod exchange;
mod keys;
mod origin;
mod records;
mod roots;
mod system;
mod verify;
mod withdrawal;
mod words;
mod x509;

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Socket;
use crate::counted::{Handshake, Side};

pub use crypto::provider;
pub use origin::{OriginTls, OriginTlsError, Trust};
use records::Records;
pub use records::Session;
pub use roots::may_sign;
pub use withdrawal::Withdrawals;
pub(crate) use words::go_words;
pub use x509::x509_words;

/// The protocol that both sides must agree on (RFC 9113, section 3.2).
pub const ALPN_H2: &[u8] = b"h2";

/// The identity that the peer of a connection proved in the handshake: an extension of every request that a
/// server takes in over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(pub Arc<str>);

type Identify = dyn Fn(&CertificateDer<'_>) -> Option<Arc<str>> + Send + Sync;

/// How a server secures its connections. Cloning shares it.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    identify: Arc<Identify>,
    withdrawals: Withdrawals,
}

impl ServerTls {
    /// `config` must ask for a client certificate and verify it; `identify` tells the identity of a certificate
    /// that was verified. A client without one is not served.
    pub fn new(
        config: Arc<ServerConfig>,
        identify: impl Fn(&CertificateDer<'_>) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            config,
            identify: Arc::new(identify),
            withdrawals: Withdrawals::default(),
        }
    }

    /// The same; connections drain when trust is withdrawn.
    #[must_use]
    pub fn until(self, withdrawals: Withdrawals) -> Self {
        Self { withdrawals, ..self }
    }

    pub(crate) fn withdrawals(&self) -> &Withdrawals {
        &self.withdrawals
    }

    /// The handshake. The caller bounds its time.
    pub(crate) async fn accept(&self, socket: Socket) -> io::Result<(Socket, PeerIdentity)> {
        let handshake = Handshake::begin(Side::Server);
        let stream = TlsAcceptor::from(Arc::clone(&self.config))
            .accept(Records::new(socket))
            .await?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(ALPN_H2) {
            return Err(io::Error::other("the client does not speak HTTP/2 over TLS"));
        }
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        match leaf.and_then(|leaf| (self.identify)(leaf)) {
            Some(identity) => {
                handshake.succeeded();
                let socket = Socket::Tls(Box::new(Session::new(stream)));
                Ok((socket, PeerIdentity(identity)))
            }
            None => Err(io::Error::other("the client has no identity")),
        }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

type ConfigFor = dyn Fn(&str) -> Arc<ClientConfig> + Send + Sync;

/// How a client secures its connections, by the identity that it expects of the peer. Cloning shares it.
#[derive(Clone)]
pub struct ClientTls {
    config_for: Arc<ConfigFor>,
    withdrawals: Withdrawals,
}

impl ClientTls {
    /// `config_for` is asked once per connection; its configuration must verify that the peer has this identity.
    pub fn new(config_for: impl Fn(&str) -> Arc<ClientConfig> + Send + Sync + 'static) -> Self {
        Self {
            config_for: Arc::new(config_for),
            withdrawals: Withdrawals::default(),
        }
    }

    /// The same; connections drain when trust is withdrawn.
    #[must_use]
    pub fn until(self, withdrawals: Withdrawals) -> Self {
        Self { withdrawals, ..self }
    }

    pub(crate) fn withdrawals(&self) -> &Withdrawals {
        &self.withdrawals
    }

    /// The handshake. The caller bounds its time. `host` is sent to the server if it is a name.
    pub(crate) async fn connect(&self, socket: Socket, host: &str, identity: &str) -> io::Result<Socket> {
        let handshake = Handshake::begin(Side::Client);
        let connector = TlsConnector::from((self.config_for)(identity));
        let stream = connector.connect(server_name(host), Records::new(socket)).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
            return Err(io::Error::other(
                "credentials: cannot check peer: missing selected ALPN property",
            ));
        }
        handshake.succeeded();
        Ok(Socket::Tls(Box::new(Session::new(stream))))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

/// What stands in the handshake as the server's name: nothing for an address, nor for what is no name of DNS.
/// The name proves nothing here: the configuration verifies the identity.
fn server_name(host: &str) -> ServerName<'static> {
    let host = host.trim_matches(['[', ']']).to_owned();
    ServerName::try_from(host).unwrap_or(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0]))))
}

#[cfg(test)]
mod tests;
