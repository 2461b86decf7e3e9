//! Apps that speak TLS.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::SanType;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::pki::{Authority, Issued};

/// An HTTPS server called `localhost` that answers everything with `hello`; it stops when dropped.
pub struct TlsApp {
    /// Its port.
    pub port: u16,
    server: tokio::task::JoinHandle<()>,
}

/// A certificate of this authority for `localhost`.
///
/// # Panics
/// When the name cannot stand in one.
pub fn localhost(authority: &Authority) -> Issued {
    authority.issue_with("spiffe://unused/x", |params| {
        params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().expect("ASCII"))];
    })
}

impl TlsApp {
    /// Shows a certificate of `authority`. With `clients` it wants to see one of that authority.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(authority: &Authority, clients: Option<&Authority>) -> Self {
        Self::serve(config(authority, clients)).await
    }

    /// Shows this certificate, with the key to it, both in PEM.
    ///
    /// # Panics
    /// When no port is free, or they are no certificate and key.
    pub async fn showing(certificate: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a known kind of key");
        let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        Self::serve(config).await
    }

    /// Takes the TLS off connections, of HTTP/2 or HTTP/1.1, and passes them on to a port of the loopback interface.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn in_front_of(authority: &Authority, behind: u16) -> Self {
        let mut config = config(authority, None);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let Ok(mut plain) = TcpStream::connect(("127.0.0.1", behind)).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
                });
            }
        });
        Self { port, server }
    }

    async fn serve(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = tokio::spawn(async move {
            // Dropped together with the server.
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let service = service_fn(|_| async {
                        let body = Full::new(bytes::Bytes::from_static(b"hello"));
                        Ok::<_, Infallible>(http::Response::new(body))
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, server }
    }
}

impl Drop for TlsApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn config(authority: &Authority, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let shown = Arc::new(SingleCertAndKey::from(localhost(authority).certified()));
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    builder.with_cert_resolver(shown)
}
