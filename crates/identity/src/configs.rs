//! The configurations of TLS. Versions, suites and key types are those that Dapr's peers may use.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Error, ServerConfig, SignatureScheme};
use transport::tls::ALPN_H2;

use crate::svid::Svid;
use crate::verify::Verifier;

/// A server that shows the certificate of the moment, and wants to see one.
pub(crate) fn server(
    provider: Arc<CryptoProvider>,
    verifier: Verifier,
    shown: Shown,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    // A resumed session would not be verified again.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// A client that shows the certificate of the moment, if it has one to show.
pub(crate) fn client(
    provider: Arc<CryptoProvider>,
    verifier: Verifier,
    shown: Option<Shown>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::new(shown)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The certificate of the moment. Handshakes that begin after it was replaced show the new one; connections that
/// are there go on.
#[derive(Clone)]
pub(crate) struct Shown(Arc<ArcSwap<Svid>>);

impl Shown {
    pub(crate) fn new(svid: Svid) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(svid)))
    }

    pub(crate) fn current(&self) -> Arc<Svid> {
        self.0.load_full()
    }

    pub(crate) fn replace(&self, svid: Svid) {
        self.0.store(Arc::new(svid));
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({})", self.0.load().id)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
