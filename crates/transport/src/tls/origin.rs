//! TLS to one origin that is no peer: an app, or an address on the web.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use thiserror::Error as ThisError;
use tokio_rustls::{TlsConnector, TlsStream};

use super::{ALPN_H2, server_name};
use crate::Socket;

/// Whose certificate is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust<'a> {
    /// Anybody's: the connection is private, but nobody knows with whom. For apps on the same host, as in Dapr.
    Anyone,
    /// Whoever the authorities of the system vouch for, by the name of the host.
    System,
    /// Whoever these authorities vouch for (certificates in PEM), by the name of the host.
    Only(&'a [u8]),
}

/// What TLS cannot be set up with.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum OriginTlsError {
    /// There is no certificate among the roots.
    #[error("no certificate authority was found in the PEM of the roots")]
    NoRoots,
    /// The client certificate or its key is not usable.
    #[error("{0}")]
    ClientCertificate(String),
    /// The TLS library refuses it.
    #[error(transparent)]
    Library(#[from] Error),
}

/// How connections to one origin are secured. Cloning shares it.
#[derive(Clone)]
pub struct OriginTls {
    config: Arc<ClientConfig>,
}

impl fmt::Debug for OriginTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginTls")
    }
}

impl OriginTls {
    /// TLS 1.2 or later, for HTTP/1.1. `identity` is the client's certificate chain and key, both in PEM, for
    /// origins that ask for it.
    pub fn http1(trust: Trust<'_>, identity: Option<(&[u8], &[u8])>) -> Result<Self, OriginTlsError> {
        Self::new(trust, identity, b"http/1.1")
    }

    /// The same, for HTTP/2, which the origin must agree to.
    pub fn http2(trust: Trust<'_>) -> Result<Self, OriginTlsError> {
        Self::new(trust, None, ALPN_H2)
    }

    fn new(
        trust: Trust<'_>,
        identity: Option<(&[u8], &[u8])>,
        protocol: &[u8],
    ) -> Result<Self, OriginTlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier(trust, &provider)?);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let (chain, key) = client_certificate(chain, key)?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// The configuration of the TLS library.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The handshake. The caller bounds its time.
    pub(crate) async fn connect(&self, socket: Socket, host: &str) -> io::Result<Socket> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(server_name(host), socket).await?;
        Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
    }
}

fn verifier(
    trust: Trust<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, OriginTlsError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Anyone => return Ok(Arc::new(NoVerification(Arc::clone(provider)))),
        // What of the system's authorities cannot be read is left out, as everywhere.
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Trust::Only(pem) => {
            let authorities = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
            roots.add_parsable_certificates(authorities);
            if roots.is_empty() {
                return Err(OriginTlsError::NoRoots);
            }
        }
    }
    if roots.is_empty() {
        return Err(OriginTlsError::NoRoots);
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = verifier
        .build()
        .map_err(|error| OriginTlsError::ClientCertificate(error.to_string()))?;
    Ok(verifier)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(chain: &[u8], key: &[u8]) -> Result<Identity, OriginTlsError> {
    let unusable = |what: &str, cause: rustls_pki_types::pem::Error| {
        OriginTlsError::ClientCertificate(format!("{what}: {cause}"))
    };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|cause| unusable("certificate", cause))?;
    if certificates.is_empty() {
        return Err(OriginTlsError::ClientCertificate(
            "certificate: no certificate was found in the PEM".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|cause| unusable("private key", cause))?;
    Ok((certificates, key))
}

/// Accepts every certificate; that the peer has the key to it is still checked.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::client::connect_origin;
    use crate::testing::{accept, listen, soon};

    struct Server {
        certificate: String,
        key: KeyPair,
        config: Arc<ServerConfig>,
    }

    fn server(name: &str, protocol: &[u8]) -> Server {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        Server {
            certificate: certificate.pem(),
            key,
            config: Arc::new(config),
        }
    }

    /// Connects to a server of this configuration; the error is in the words that callers see.
    async fn connected(server: &Server, tls: &OriginTls) -> Result<(), String> {
        let (listener, address) = listen().await;
        let port = address.rsplit_once(':').unwrap().1.to_owned();
        let acceptor = TlsAcceptor::from(Arc::clone(&server.config));
        tokio::spawn(async move {
            if let Ok(mut stream) = acceptor.accept(accept(&listener).await).await {
                let _ = stream.write_all(b"!").await;
            }
        });
        let limit = std::time::Duration::from_secs(30);
        let address = format!("localhost:{port}");
        let mut socket = soon(connect_origin(&address, Some(tls), limit))
            .await
            .map_err(|error| error.to_string())?;
        let mut byte = [0];
        soon(socket.read_exact(&mut byte))
            .await
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    #[tokio::test]
    async fn whom_to_trust() {
        let own = server("localhost", b"http/1.1");
        let other = server("elsewhere", b"http/1.1");
        let only =
            |server: &Server| OriginTls::http1(Trust::Only(server.certificate.as_bytes()), None).unwrap();
        assert_eq!(
            connected(&own, &OriginTls::http1(Trust::Anyone, None).unwrap()).await,
            Ok(())
        );
        assert_eq!(connected(&own, &only(&own)).await, Ok(()));
        for (server, tls) in [(&own, only(&other)), (&other, only(&other))] {
            let error = connected(server, &tls).await.unwrap_err();
            assert!(
                error.starts_with("tls: failed to verify certificate: x509: "),
                "{error}"
            );
        }
        let unknown = connected(&own, &only(&other)).await.unwrap_err();
        assert!(
            unknown.ends_with("certificate signed by unknown authority"),
            "{unknown}"
        );
    }

    #[test]
    fn what_cannot_be_set_up() {
        assert!(matches!(
            OriginTls::http1(Trust::Only(b"junk"), None),
            Err(OriginTlsError::NoRoots)
        ));
        let own = server("localhost", b"http/1.1");
        let (certificate, key) = (own.certificate.as_bytes(), own.key.serialize_pem());
        assert!(OriginTls::http1(Trust::Anyone, Some((certificate, key.as_bytes()))).is_ok());
        for (chain, key) in [
            (&b"junk"[..], key.as_bytes()),
            (certificate, b"junk"),
            (certificate, server("x", b"h2").key.serialize_pem().as_bytes()),
        ] {
            assert!(OriginTls::http1(Trust::Anyone, Some((chain, key))).is_err());
        }
    }
}
