//! Handshakes with servers of every kind.

use rcgen::{CertificateParams, KeyPair};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::client::connect_origin;
use crate::testing::{accept, listen, soon};

const P521: &str = include_str!("../../../tests-data/p521.pem");
const P521_KEY: &str = include_str!("../../../tests-data/p521.key");
const P521_PKCS8: &str = include_str!("../../../tests-data/p521-pkcs8.key");
const P256_KEY: &str = include_str!("../../../tests-data/p256.key");
const VERSION_1: &str = include_str!("../../../tests-data/v1.pem");
const RSA_1024: &str = include_str!("../../../tests-data/rsa1024.pem");

struct Server {
    certificate: String,
    key: String,
    config: Arc<ServerConfig>,
}

fn server(name: &str) -> Server {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    showing(&certificate.pem(), &key.serialize_pem(), &[&TLS12, &TLS13])
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    system::certificates(pem.as_bytes())
}

fn key(pem: &str) -> Arc<dyn SigningKey> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    crypto::provider().key_provider.load_private_key(key).unwrap()
}

fn of(certified: CertifiedKey, versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(Arc::new(certified))));
    Arc::new(config)
}

/// A server that shows a certificate, whether or not the key is the one to it.
fn showing(certificate: &str, private: &str, versions: &[&'static SupportedProtocolVersion]) -> Server {
    Server {
        certificate: certificate.to_owned(),
        key: private.to_owned(),
        config: of(CertifiedKey::new(chain(certificate), key(private)), versions),
    }
}

/// Connects to a server of this configuration; the error is in the words that callers see.
async fn connected(config: &Arc<ServerConfig>, tls: &OriginTls) -> Result<(), String> {
    let (listener, address) = listen().await;
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    tokio::spawn(async move {
        if let Ok(mut stream) = acceptor.accept(accept(&listener).await).await {
            let _ = stream.write_all(b"!").await;
        }
    });
    let limit = std::time::Duration::from_secs(30);
    let address = format!("localhost:{port}");
    let mut socket = soon(connect_origin(&address, Some(tls), None, limit))
        .await
        .map_err(|error| error.to_string())?;
    let mut byte = [0];
    soon(socket.read_exact(&mut byte))
        .await
        .map_err(|error| words::go_words(&error))?;
    Ok(())
}

fn anyone() -> OriginTls {
    OriginTls::http1(Trust::Anyone, None).unwrap()
}

fn only(pem: &str) -> OriginTls {
    OriginTls::http1(Trust::Only(pem.as_bytes()), None).unwrap()
}

#[tokio::test]
async fn whom_to_trust() {
    let (own, other) = (server("localhost"), server("elsewhere"));
    assert_eq!(connected(&own.config, &anyone()).await, Ok(()));
    assert_eq!(connected(&own.config, &only(&own.certificate)).await, Ok(()));
    for (server, trusted, wanted) in [
        (&own, &other, "certificate signed by unknown authority"),
        (
            &other,
            &other,
            "certificate is valid for elsewhere, not localhost",
        ),
    ] {
        let error = connected(&server.config, &only(&trusted.certificate))
            .await
            .unwrap_err();
        let error = error
            .strip_prefix("tls: failed to verify certificate: x509: ")
            .unwrap();
        assert_eq!(error.split(" (").next(), Some(wanted));
    }
}

#[tokio::test]
async fn servers_with_keys_of_p521() {
    for version in [&TLS12, &TLS13] {
        for key in [P521_KEY, P521_PKCS8] {
            let server = showing(P521, key, &[version]);
            assert_eq!(
                connected(&server.config, &only(P521)).await,
                Ok(()),
                "{version:?}"
            );
            assert_eq!(connected(&server.config, &anyone()).await, Ok(()), "{version:?}");
        }
    }
}

#[tokio::test]
async fn servers_that_exchange_keys_on_p521_alone() {
    for version in [&TLS12, &TLS13] {
        let mut strict = server("localhost");
        let mut provider = rustls::crypto::CryptoProvider::clone(&crypto::for_origins());
        provider
            .kx_groups
            .retain(|group| group.name() == rustls::NamedGroup::secp521r1);
        let shown = CertifiedKey::new(chain(&strict.certificate), key(&strict.key));
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shown(Arc::new(shown))));
        strict.config = Arc::new(config);
        let result = connected(&strict.config, &only(&strict.certificate)).await;
        assert_eq!(result, Ok(()), "{version:?}");
    }
}

/// A server that closes the connection without having said so, as Python's `ssl` does: at the end of a record, or
/// before the last bytes of one.
#[tokio::test]
async fn a_session_may_end_without_a_word_between_records() {
    for version in [&TLS12, &TLS13] {
        for (cut, wanted) in [(0, Ok("all of it")), (1, Err("EOF")), (8, Err("EOF"))] {
            let own = server("localhost");
            let shown = CertifiedKey::new(chain(&own.certificate), key(&own.key));
            let config = of(shown, &[version]);
            let (listener, address) = listen().await;
            let port = address.rsplit_once(':').unwrap().1.to_owned();
            tokio::spawn(async move {
                let acceptor = TlsAcceptor::from(config);
                let stream = acceptor.accept(accept(&listener).await).await.unwrap();
                let (mut socket, mut session) = stream.into_inner();
                let mut records = Vec::new();
                for part in [&b"all "[..], b"of it"] {
                    std::io::Write::write_all(&mut session.writer(), part).unwrap();
                    session.write_tls(&mut records).unwrap();
                }
                records.truncate(records.len() - cut);
                socket.write_all(&records).await.unwrap();
                socket.shutdown().await.unwrap();
                let _ = socket.read_to_end(&mut Vec::new()).await;
            });
            let limit = std::time::Duration::from_secs(30);
            let address = format!("localhost:{port}");
            let trusted = only(&own.certificate);
            let mut socket = soon(connect_origin(&address, Some(&trusted), None, limit))
                .await
                .unwrap();
            let mut read = Vec::new();
            let result = soon(socket.read_to_end(&mut read)).await;
            let result = result.map(|_| read).map_err(|error| words::go_words(&error));
            assert_eq!(
                result,
                wanted.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned),
                "{version:?}, without the last {cut} bytes"
            );
        }
    }
}

#[tokio::test]
async fn clients_with_keys_of_p521() {
    let leaf = include_str!("../../../tests-data/p521-leaf.pem");
    let mut authorities = RootCertStore::empty();
    let authority = include_str!("../../../tests-data/p521-ca.pem");
    authorities.add(chain(authority).remove(0)).unwrap();
    for version in [&TLS12, &TLS13] {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities.clone()), crypto::provider());
        let shown = CertifiedKey::new(chain(P521), key(P521_KEY));
        let config = ServerConfig::builder_with_provider(crypto::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(Arc::new(Shown(Arc::new(shown))));
        let identity = Some((leaf.as_bytes(), P521_KEY.as_bytes()));
        let tls = OriginTls::http1(Trust::Only(P521.as_bytes()), identity).unwrap();
        assert_eq!(connected(&Arc::new(config), &tls).await, Ok(()), "{version:?}");
    }
}

/// A key that signs with zeros.
#[derive(Clone, Debug)]
struct Zeros;

impl SigningKey for Zeros {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl Signer for Zeros {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(vec![0; 128])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::RSA_PSS_SHA256
    }
}

#[tokio::test]
async fn apps_may_show_any_certificate() {
    for version in [&TLS12, &TLS13] {
        let old = showing(VERSION_1, P256_KEY, &[version]);
        assert_eq!(connected(&old.config, &anyone()).await, Ok(()), "{version:?}");
        // Nothing here can verify what such a key signs, so nothing is.
        let weak = of(CertifiedKey::new(chain(RSA_1024), Arc::new(Zeros)), &[version]);
        assert_eq!(connected(&weak, &anyone()).await, Ok(()), "{version:?}");
        // What can be verified is.
        for (certificate, other_key) in [(P521, server("x").key.as_str()), (VERSION_1, P521_KEY)] {
            let liar = showing(certificate, other_key, &[version]);
            let error = connected(&liar.config, &anyone()).await;
            assert_eq!(
                error,
                Err("tls: invalid signature by the server certificate".to_owned()),
                "{version:?}"
            );
        }
        let junk = of(
            CertifiedKey::new(vec![vec![0x30, 0].into()], Arc::new(Zeros)),
            &[version],
        );
        assert_eq!(
            connected(&junk, &anyone()).await,
            Err("tls: failed to parse certificate from server: x509: malformed certificate".to_owned())
        );
    }
}

#[tokio::test]
async fn a_server_that_has_nothing_in_common_with_us() {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        let mut hello = [0; 16];
        socket.read_exact(&mut hello).await.unwrap();
        // An alert of TLS 1.2: fatal, handshake_failure.
        socket.write_all(&[21, 3, 3, 0, 2, 2, 40]).await.unwrap();
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    let limit = std::time::Duration::from_secs(30);
    let error = soon(connect_origin(&address, Some(&anyone()), None, limit))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "remote error: tls: handshake failure (the server takes nothing of what this sidecar offers, which is TLS 1.3, or \
         TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305; cipher suites with CBC are not among it; or it wants to \
         see a client certificate)"
    );
}

#[test]
fn what_cannot_be_set_up() {
    assert!(matches!(
        OriginTls::http1(Trust::Only(b"junk"), None),
        Err(OriginTlsError::NoRoots)
    ));
    let own = server("localhost");
    let (certificate, key) = (own.certificate.as_bytes(), own.key.as_bytes());
    assert!(OriginTls::http1(Trust::Anyone, Some((certificate, key))).is_ok());
    let other = server("x").key;
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let small = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let no_base64 = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    for (chain, key, wanted) in [
        (
            &b"junk"[..],
            key,
            "certificate: no certificate was found in the PEM",
        ),
        (certificate, b"junk", "private key: nothing was found in the PEM"),
        (
            no_base64.as_bytes(),
            key,
            "certificate: the PEM has a block that is no base64",
        ),
        (
            certificate,
            other.as_bytes(),
            "tls: private key does not match public key",
        ),
        (
            certificate,
            P521_KEY.as_bytes(),
            "tls: private key does not match public key",
        ),
        (
            certificate,
            encrypted.as_bytes(),
            "private key: it is encrypted, and there is no password for it",
        ),
        (
            certificate,
            small.as_bytes(),
            "private key: the key is none of RSA with 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519",
        ),
    ] {
        let error = OriginTls::http1(Trust::Anyone, Some((chain, key))).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
    let weak = only(RSA_1024);
    assert_eq!(
        weak.findings(),
        [
            "a certificate among the roots is of no use: the RSA key of \"localhost\" has 1024 bits, at least 2048 are needed"
        ]
    );
    assert!(only(&own.certificate).findings().is_empty());
}
