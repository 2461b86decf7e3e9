//! Both ends over loopback, with a certificate authority of the test.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use lifecycle::{Shutdown, ShutdownTrigger, Tasks};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;

use super::*;
use crate::client::{ClientError, Delivery, ErrorKind, H2Pool, H2PoolConfig, PeerKey};
use crate::listen::{Listener, Patience};
use crate::server::{GrpcServerConfig, Handler, RequestBody, serve_grpc};
use crate::testing::{listen, read_rest, soon, write};

/// What both ends of a test trust, and what they show.
struct Pki {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Pki {
    fn new() -> Self {
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf
            .signed_by(&key, &rcgen::Issuer::new(authority, &authority_key))
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        Self {
            roots: Arc::new(roots),
            chain: vec![leaf.der().clone()],
            key: key.serialize_der(),
        }
    }

    fn key(&self) -> rustls_pki_types::PrivateKeyDer<'static> {
        self.key.clone().try_into().unwrap()
    }

    fn server(&self, identify: fn(&CertificateDer<'_>) -> Option<Arc<str>>) -> ServerTls {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(self.chain.clone(), self.key())
            .unwrap();
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        ServerTls::new(Arc::new(config), identify)
    }

    fn client_config(&self, has_certificate: bool, alpn: &[u8]) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = if has_certificate {
            builder
                .with_client_auth_cert(self.chain.clone(), self.key())
                .unwrap()
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        config.alpn_protocols.retain(|alpn| !alpn.is_empty());
        Arc::new(config)
    }
}

/// A handler that tells the identity it sees.
#[derive(Clone)]
struct WhoIsIt;

impl Handler for WhoIsIt {
    type Body = Full<Bytes>;

    async fn call(&self, request: Request<RequestBody>) -> Response<Full<Bytes>> {
        let peer = request.extensions().get::<PeerIdentity>();
        let name = peer.map_or("nobody".to_owned(), |peer| peer.0.to_string());
        Response::new(Full::from(name))
    }
}

fn someone(leaf: &CertificateDer<'_>) -> Option<Arc<str>> {
    (!leaf.is_empty()).then(|| "someone".into())
}

async fn serve(tls: Option<ServerTls>) -> (String, ShutdownTrigger) {
    let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = GrpcServerConfig {
        handshake_timeout: Duration::from_millis(400),
        tls,
        ..GrpcServerConfig::default()
    };
    let (trigger, shutdown) = Shutdown::new();
    tokio::spawn(serve_grpc(listener, config, WhoIsIt, shutdown));
    (address, trigger)
}

fn pool(tls: Option<ClientTls>) -> H2Pool {
    let config = H2PoolConfig {
        tls,
        connect_timeout: Duration::from_secs(10),
        ..H2PoolConfig::default()
    };
    H2Pool::new(config, Tasks::new())
}

fn secured(config: Arc<ClientConfig>) -> H2Pool {
    pool(Some(ClientTls::new(move |_| Arc::clone(&config))))
}

fn key(address: &str, identity: Option<&str>) -> PeerKey {
    PeerKey {
        address: address.into(),
        identity: identity.map(Into::into),
    }
}

async fn ask(pool: &H2Pool, key: &PeerKey) -> Result<String, ClientError> {
    let uri = format!("https://{}/", key.address);
    let request = Request::get(uri).body(Full::default()).unwrap();
    let answer = soon(pool.send(key, request)).await?;
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_handler_sees_who_calls() {
    let pki = Pki::new();
    let (address, _trigger) = serve(Some(pki.server(someone))).await;
    let pool = secured(pki.client_config(true, ALPN_H2));
    assert_eq!(ask(&pool, &key(&address, Some("x"))).await.unwrap(), "someone");
    let (address, _trigger) = serve(None).await;
    assert_eq!(ask(&pool, &key(&address, None)).await.unwrap(), "nobody");
}

#[tokio::test]
async fn no_connection_is_shared_between_identities() {
    let pki = Pki::new();
    let (address, _trigger) = serve(Some(pki.server(someone))).await;
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (config, noted) = (pki.client_config(true, ALPN_H2), Arc::clone(&asked));
    let pool = pool(Some(ClientTls::new(move |identity| {
        noted.lock().unwrap().push(identity.to_owned());
        Arc::clone(&config)
    })));
    for identity in ["a", "b", "a", "b"] {
        ask(&pool, &key(&address, Some(identity))).await.unwrap();
    }
    assert_eq!(*asked.lock().unwrap(), ["a", "b"]);
}

#[tokio::test]
async fn a_client_that_does_not_prove_anything_is_not_served() {
    let pki = Pki::new();
    for (identify, has_certificate, alpn) in [
        (someone as fn(&CertificateDer<'_>) -> _, false, ALPN_H2),
        (|_| None, true, ALPN_H2),
        (someone, true, b""),
        (someone, true, b"http/1.1"),
    ] {
        let (address, _trigger) = serve(Some(pki.server(identify))).await;
        let pool = secured(pki.client_config(has_certificate, alpn));
        let error = ask(&pool, &key(&address, Some("x"))).await.unwrap_err();
        let is_refused = error.kind() == ErrorKind::Handshake || error.without_preface().is_some();
        assert!(is_refused, "{error:?}");
    }
}

#[tokio::test]
async fn a_hello_that_does_not_end_holds_no_connection() {
    let pki = Pki::new();
    let (address, _trigger) = serve(Some(pki.server(someone))).await;
    for start in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]] {
        let mut client = TcpStream::connect(&address).await.unwrap();
        write(&mut client, start).await;
        read_rest(&mut client).await;
    }
}

#[tokio::test]
async fn clear_text_on_a_port_for_tls() {
    let pki = Pki::new();
    let (address, _trigger) = serve(Some(pki.server(someone))).await;
    let error = ask(&pool(None), &key(&address, None)).await.unwrap_err();
    assert!(error.without_preface().is_some(), "{error:?}");
    let mut client = TcpStream::connect(&address).await.unwrap();
    write(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let rest = read_rest(&mut client).await;
    assert!(!rest.contains("HTTP"), "{rest:?}");
}

#[tokio::test]
async fn tls_on_a_port_for_clear_text() {
    let pki = Pki::new();
    let (address, _trigger) = serve(None).await;
    let pool = secured(pki.client_config(true, ALPN_H2));
    let error = ask(&pool, &key(&address, Some("x"))).await.unwrap_err();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Handshake, Delivery::No));
    assert_eq!(
        error.to_string(),
        "tls: first record does not look like a TLS handshake"
    );
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused_by_both() {
    let (ours, theirs) = (Pki::new(), Pki::new());
    let (address, _trigger) = serve(Some(theirs.server(someone))).await;
    let pool = secured(ours.client_config(true, ALPN_H2));
    let error = ask(&pool, &key(&address, Some("x"))).await.unwrap_err();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Handshake, Delivery::No));
    // Now only the server objects.
    let trusting = Pki {
        roots: Arc::clone(&theirs.roots),
        ..ours
    };
    let pool = secured(trusting.client_config(true, ALPN_H2));
    let error = ask(&pool, &key(&address, Some("x"))).await.unwrap_err();
    let words = error.without_preface().unwrap();
    assert!(words.starts_with("remote error: tls: "), "{words}");
}

#[tokio::test]
async fn without_tls_nobody_can_prove_anything() {
    let (listener, address) = listen().await;
    let error = ask(&pool(None), &key(&address, Some("x"))).await.unwrap_err();
    assert_eq!((error.kind(), error.seen()), (ErrorKind::Handshake, Delivery::No));
    let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(nobody.is_err(), "a connection was made");
}

#[test]
fn server_names() {
    for (host, wanted) in [
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("not a name", "0.0.0.0"),
        ("", "0.0.0.0"),
    ] {
        assert_eq!(server_name(host).to_str(), wanted, "{host:?}");
    }
}

/// Trust is withdrawn while calls go on: none of them fails, and both sides are verified anew.
#[tokio::test]
async fn connections_drain_when_trust_is_withdrawn() {
    let pki = Pki::new();
    for is_server in [true, false] {
        let (withdrawals, handshakes) = (Withdrawals::default(), Arc::new(AtomicUsize::new(0)));
        let mut server = pki.server(someone);
        let (config, count) = (pki.client_config(true, ALPN_H2), Arc::clone(&handshakes));
        let mut client = ClientTls::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Arc::clone(&config)
        });
        if is_server {
            server = server.until(withdrawals.clone());
        } else {
            client = client.until(withdrawals.clone());
        }
        let (address, _trigger) = serve(Some(server)).await;
        let (pool, key) = (Arc::new(pool(Some(client))), key(&address, Some("x")));
        let made = || handshakes.load(Ordering::Relaxed);
        for round in 1..4 {
            let calls = (0..50).map(|_| {
                let (pool, key) = (Arc::clone(&pool), key.clone());
                tokio::spawn(async move { ask(&pool, &key).await })
            });
            let calls: Vec<_> = calls.collect();
            tokio::task::yield_now().await;
            withdrawals.withdraw();
            for call in calls {
                assert_eq!(soon(call).await.unwrap().unwrap(), "someone", "round {round}");
            }
        }
        let before = made();
        assert!(before >= 2, "{before}");
        ask(&pool, &key).await.unwrap();
        let after = made();
        ask(&pool, &key).await.unwrap();
        assert_eq!(made(), after, "what was made since is used");
    }
}
