//! Clients of the internal port: who may connect, and what becomes of the others.

use std::sync::Arc;

use integration_tests::pki::{Authority, Issued, now, set_validity, uri};
use integration_tests::sentry::Sentry;
use integration_tests::{Daprd, HttpApp, Mesh, PATIENCE, Protocol};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::secured;

/// Believes every server.
#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl ServerCertVerifier for Gullible {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

struct Client {
    version: &'static rustls::SupportedProtocolVersion,
    shows: Option<Issued>,
    alpn: &'static [&'static [u8]],
}

impl Client {
    fn showing(issued: Issued) -> Self {
        Self {
            version: &rustls::version::TLS13,
            shows: Some(issued),
            alpn: &[b"h2"],
        }
    }

    /// Connects; the bytes that the server sends first, or nothing when it hangs up. And the kind of the key that
    /// it showed.
    async fn connect(self, daprd: &Daprd) -> (Vec<u8>, Option<Vec<u8>>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible(provider)));
        let mut config = match self.shows {
            None => builder.with_no_client_auth(),
            Some(Issued { chain, key }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|alpn| alpn.to_vec()).collect();
        let socket = TcpStream::connect(("127.0.0.1", daprd.internal_port))
            .await
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let talk = async {
            let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, socket).await else {
                return (Vec::new(), None);
            };
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let shown = shown.map(|leaf| leaf.to_vec());
            let mut first = vec![0; 9];
            match stream.read_exact(&mut first).await {
                Ok(_) => (first, shown),
                Err(_) => (Vec::new(), shown),
            }
        };
        tokio::time::timeout(PATIENCE, talk).await.expect("an end")
    }
}

async fn stage(id: &str) -> (Sentry, Mesh, Daprd) {
    let (sentry, mesh) = (Sentry::start().await, Mesh::new());
    let daprd = secured(mesh.sidecar(id), &sentry).start().await;
    (sentry, mesh, daprd)
}

const ANYBODY: &str = "spiffe://elsewhere/ns/other/somebody";

#[tokio::test]
async fn who_may_connect() {
    let (sentry, _mesh, daprd) = stage("H1-app").await;
    let ours = sentry.authority();
    let may = async |client: Client| client.connect(&daprd).await.0.get(3) == Some(&4);
    assert!(may(Client::showing(ours.issue(ANYBODY))).await);
    assert!(may(Client::showing(ours.below("between", |_| {}).issue(ANYBODY))).await);
    let old = Client {
        version: &rustls::version::TLS12,
        ..Client::showing(ours.issue(ANYBODY))
    };
    assert!(may(old).await);
    for (what, issued) in [
        ("another authority", Authority::new().issue(ANYBODY)),
        (
            "expired",
            ours.issue_with(ANYBODY, |params| set_validity(params, now() - 9, now() - 3)),
        ),
        (
            "not yet valid",
            ours.issue_with(ANYBODY, |params| set_validity(params, now() + 60, now() + 99)),
        ),
        (
            "two ids",
            ours.issue_with(ANYBODY, |params| {
                params.subject_alt_names.push(uri("spiffe://a/b"));
            }),
        ),
        (
            "no id",
            ours.issue_with(ANYBODY, |params| params.subject_alt_names.clear()),
        ),
        ("no path", ours.issue("spiffe://elsewhere")),
        ("no SPIFFE", ours.issue("https://elsewhere/ns/other/somebody")),
    ] {
        assert!(!may(Client::showing(issued)).await, "{what}");
    }
    let silent = |alpn| Client {
        shows: None,
        alpn,
        version: &rustls::version::TLS13,
    };
    assert!(!may(silent(&[b"h2"])).await);
    for alpn in [&[] as &[&[u8]], &[b"http/1.1"]] {
        let client = Client {
            alpn,
            ..Client::showing(ours.issue(ANYBODY))
        };
        assert!(!may(client).await);
    }
    // Who shows nothing sees who it is nevertheless: the certificate of Ed25519.
    let (_, shown) = silent(&[]).connect(&daprd).await;
    let ed25519 = [0x06, 0x03, 0x2b, 0x65, 0x70];
    assert!(shown.unwrap().windows(5).any(|bytes| bytes == ed25519));
}

#[tokio::test]
async fn hostile_clients_change_nothing() {
    let (sentry, mesh, daprd) = stage("H2-app").await;
    let app = HttpApp::echo(Protocol::Http).await;
    let other = secured(mesh.sidecar("H2-other"), &sentry)
        .app_port(app.port)
        .start()
        .await;
    let theirs = Authority::new();
    for round in 0..100_u8 {
        let mut socket = TcpStream::connect(("127.0.0.1", other.internal_port))
            .await
            .unwrap();
        let bytes: Vec<u8> = match round % 4 {
            0 => (0..200).map(|_| fastrand::u8(..)).collect(),
            1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            // The head of a hello, and something.
            2 => [&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[round; 194]].concat(),
            _ => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        };
        let _ = socket.write_all(&bytes).await;
        let client = Client::showing(theirs.issue(ANYBODY));
        assert!(client.connect(&other).await.0.is_empty());
    }
    let (status, body) = super::invoke(&daprd, "H2-other").await;
    assert_eq!(status, 200, "{body}");
}
