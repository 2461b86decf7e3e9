//! mTLS between two relays, with the TLS library and the cipher that daprd-rs prefers.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certificates::{KEY, LEAF, NAME, ROOT};

/// Both sides of the handshake.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
}

/// The name that a relay proves.
pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a valid name")
}

impl Tls {
    /// Reads the certificates.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        Self::try_read(folder).map_err(|error| format!("relay: {error}"))
    }

    fn try_read(folder: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let root = CertificateDer::from_pem_file(folder.join(ROOT))?;
        let leaf = CertificateDer::from_pem_file(folder.join(LEAF))?;
        let key = PrivateKeyDer::from_pem_file(folder.join(KEY))?;
        let mut provider = default_provider();
        let preferred = cipher_suite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.retain(|suite| *suite != preferred);
        provider.cipher_suites.insert(0, preferred);
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(root)?;
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build()?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![leaf.clone()], key.clone_key())?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![leaf], key)?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates;

    #[test]
    fn what_is_written_can_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        certificates::write(folder.path()).expect("written");
        assert!(Tls::read(folder.path()).is_ok());
    }
}
