//! mTLS between two relays, with the TLS library and the cipher that daprd-rs prefers.

use std::path::Path;
use std::sync::Arc;

use integration_tests::pki::Authority;
use rcgen::SanType;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const NAME: &str = "relay";
const ROOT: &str = "root.der";
const LEAF: &str = "leaf.der";
const KEY: &str = "key.der";

/// Both sides of the handshake.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
}

/// The name that a relay proves.
pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a valid name")
}

/// Makes an authority and a certificate for two relays.
pub(crate) fn write(folder: &Path) -> Result<(), String> {
    let authority = Authority::new();
    let issued = authority.issue_with("spiffe://public/ns/default/relay", |params| {
        let name = NAME.try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::DnsName(name));
    });
    for (file, content) in [
        (ROOT, authority.der().to_vec()),
        (LEAF, issued.chain[0].to_vec()),
        (KEY, issued.key.serialize_der()),
    ] {
        std::fs::write(folder.join(file), content).map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

impl Tls {
    /// Reads what `write` wrote.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let read = |file: &str| std::fs::read(folder.join(file)).map_err(|error| format!("{file}: {error}"));
        Self::from_parts(read(ROOT)?.into(), read(LEAF)?.into(), read(KEY)?)
            .map_err(|error| format!("relay: {error}"))
    }

    fn from_parts(
        root: CertificateDer<'static>,
        leaf: CertificateDer<'static>,
        key: Vec<u8>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut provider = default_provider();
        let preferred = cipher_suite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.retain(|suite| *suite != preferred);
        provider.cipher_suites.insert(0, preferred);
        let provider = Arc::new(provider);
        let key = PrivateKeyDer::try_from(key)?;
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

    #[test]
    fn what_is_written_can_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path()).expect("written");
        assert!(Tls::read(folder.path()).is_ok());
    }
}
