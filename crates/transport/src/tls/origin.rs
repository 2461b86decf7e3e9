//! TLS to one origin that is no peer: an app, or an address on the web.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::{ClientConfig, Error};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use thiserror::Error as ThisError;
use tokio_rustls::TlsConnector;

use super::anyone::Anyone;
use super::roots::Roots;
use super::verify::Verifier;
use super::{ALPN_H2, Records, Session, crypto, server_name, system, words};
use crate::Socket;
use crate::counted::{Handshake, Side};

/// Whose certificate is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust<'a> {
    /// Anybody's: the connection is private, but nobody knows with whom. For apps on the same host, as in Dapr.
    Anyone,
    /// Whoever the authorities of the system vouch for, by the name of the host: those that Go's `crypto/x509` would
    /// find, `SSL_CERT_FILE` and `SSL_CERT_DIR` included.
    System,
    /// Whoever these certificates (in PEM) vouch for, by the name of the host. A certificate among them that is no
    /// authority's vouches for itself.
    Only(&'a [u8]),
}

/// What TLS cannot be set up with.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum OriginTlsError {
    /// There is no certificate among the roots.
    #[error("no certificate was found in the PEM of the roots")]
    NoRoots,
    /// The system has no authorities.
    #[error(
        "x509: failed to load system roots and no roots provided: neither SSL_CERT_FILE, SSL_CERT_DIR nor the usual places have a certificate"
    )]
    NoSystemRoots,
    /// The client certificate or its key is not usable.
    #[error("{0}")]
    ClientCertificate(String),
    /// The TLS library refuses it.
    #[error("{}", words::of_rustls(.0))]
    Library(#[from] Error),
}

/// How connections to one origin are secured. Cloning shares it.
#[derive(Clone)]
pub struct OriginTls {
    config: Arc<ClientConfig>,
    /// Whether the name of the host matters.
    is_verified: bool,
    /// The name that the certificate must have when it is not that of the address.
    name: Option<Arc<str>>,
    findings: Arc<[String]>,
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
        let provider = crypto::for_origins();
        let roots = roots(trust)?;
        let findings = match trust {
            Trust::Only(_) => roots.as_ref().map(Roots::findings).unwrap_or_default(),
            // What the system has that nobody asked for is no news.
            Trust::Anyone | Trust::System => Vec::new(),
        };
        let is_verified = roots.is_some();
        let verifier: Arc<dyn ServerCertVerifier> = match roots {
            Some(roots) => Arc::new(Verifier::new(roots, Arc::clone(&provider))),
            None => Arc::new(Anyone(Arc::clone(&provider))),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let (chain, key) = client_certificate(chain, key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| OriginTlsError::ClientCertificate(of_key(&error)))?
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            is_verified,
            name: None,
            findings: findings.into(),
        })
    }

    /// The same for an origin whose certificate has this name, whatever its address is.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }

    /// What is of no use in what this was made of, for the log: it can be told before the first call.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// The configuration of the TLS library.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The handshake. The caller bounds its time.
    pub(crate) async fn connect(&self, socket: Socket, host: &str) -> io::Result<Socket> {
        let host = self.name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = match name {
            Ok(name) => name,
            Err(_) if self.is_verified => {
                let text = format!("tls: {host:?} is no name of a host that a certificate could have");
                return Err(io::Error::other(text));
            }
            Err(_) => server_name(host),
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let handshake = Handshake::begin(Side::Client);
        let stream = connector
            .connect(name, Records::new(socket))
            .await
            .map_err(words::explained)?;
        handshake.succeeded();
        Ok(Socket::Tls(Box::new(Session::new(stream))))
    }
}

/// The pool of those who may vouch; nothing if nobody needs to.
fn roots(trust: Trust<'_>) -> Result<Option<Roots>, OriginTlsError> {
    let (roots, none) = match trust {
        Trust::Anyone => return Ok(None),
        Trust::System => (Roots::of(system::authorities()), OriginTlsError::NoSystemRoots),
        Trust::Only(pem) => (Roots::of(system::certificates(pem)), OriginTlsError::NoRoots),
    };
    if roots.is_empty() {
        Err(none)
    } else {
        Ok(Some(roots))
    }
}

/// Why a key cannot be the one of a certificate.
fn of_key(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => "tls: private key does not match public key".to_owned(),
        Error::General(text) => format!("private key: {text}"),
        other => words::of_rustls(other),
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(chain: &[u8], key: &[u8]) -> Result<Identity, OriginTlsError> {
    let unusable = |what: &str, cause: &rustls_pki_types::pem::Error| {
        OriginTlsError::ClientCertificate(format!("{what}: {}", of_pem(cause)))
    };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|cause| unusable("certificate", &cause))?;
    if certificates.is_empty() {
        return Err(OriginTlsError::ClientCertificate(
            "certificate: no certificate was found in the PEM".to_owned(),
        ));
    }
    if key.windows(9).any(|window| window == b"ENCRYPTED") {
        return Err(OriginTlsError::ClientCertificate(
            "private key: it is encrypted, and there is no password for it".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|cause| unusable("private key", &cause))?;
    Ok((certificates, key))
}

fn of_pem(error: &rustls_pki_types::pem::Error) -> &'static str {
    use rustls_pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => "the PEM has a line BEGIN without its line END",
        Error::IllegalSectionStart { .. } => "the PEM has a line BEGIN that cannot be read",
        Error::Base64Decode(_) => "the PEM has a block that is no base64",
        Error::NoItemsFound => "nothing was found in the PEM",
        _ => "the PEM cannot be read",
    }
}

#[cfg(test)]
mod tests;
