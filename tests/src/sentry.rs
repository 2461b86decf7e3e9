//! A certificate authority that speaks sentry's protocol, and does what the test says.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::pki::{Authority, now, set_validity};
use crate::rpc::{Body, field, respond, varint};

/// What a sidecar asked for.
#[derive(Clone, Debug, Default)]
pub struct SignRequest {
    /// How many requests came before this one.
    pub number: u32,
    /// The id of the app.
    pub id: String,
    /// The token.
    pub token: String,
    /// The trust domain, mostly empty.
    pub trust_domain: String,
    /// The namespace.
    pub namespace: String,
    /// The request for a certificate, in PEM.
    pub csr: String,
    /// Which validator should judge the token.
    pub validator: u64,
    /// The audiences.
    pub jwt_audiences: Vec<String>,
    /// The metadata of the call.
    pub metadata: HeaderMap,
}

impl SignRequest {
    /// The 32 bytes of the public key, where they stand in the request.
    ///
    /// # Panics
    /// When the request is not of the one form that sidecars use.
    pub fn public_key(&self) -> Vec<u8> {
        let base64: String = self.csr.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(base64).expect("base64");
        assert_eq!(der.len(), 129, "the request of a sidecar has 129 bytes");
        der[21..53].to_vec()
    }

    /// The id that Dapr's sentry would certify.
    pub fn spiffe_id(&self) -> String {
        format!("spiffe://public/ns/{}/{}", self.namespace, self.id)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum SignAnswer {
    /// A chain in PEM.
    Chain(String),
    /// A status of gRPC.
    Status(u32, &'static str),
    /// A message that is what it is.
    Bytes(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

type Behaviour = Arc<dyn Fn(&Authority, &SignRequest) -> SignAnswer + Send + Sync>;

/// The server; it stops when dropped.
pub struct Sentry {
    /// `127.0.0.1:port`.
    pub address: String,
    state: Arc<State>,
    server: tokio::task::JoinHandle<()>,
}

struct State {
    authority: Authority,
    behaviour: Mutex<Behaviour>,
    shown: Mutex<Arc<CertifiedKey>>,
    requests: AtomicU32,
    seen: Mutex<Vec<SignRequest>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A certificate for what was asked for, from a while ago until so many seconds from now.
pub fn signed_for(seconds: i64) -> impl Fn(&Authority, &SignRequest) -> SignAnswer + Send + Sync + 'static {
    move |authority, request| {
        SignAnswer::Chain(
            authority.certify(&request.spiffe_id(), &request.public_key(), |params| {
                set_validity(params, now() - 900, now() + seconds);
            }),
        )
    }
}

impl Sentry {
    /// Signs for a day, as Dapr's sentry does, with the identity that sidecars expect by default.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::start_on(listener)
    }

    /// The same, on a listener that the test made.
    ///
    /// # Panics
    /// When the listener has no address.
    pub fn start_on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("an address").to_string();
        let authority = Authority::new();
        let shown = authority
            .issue("spiffe://localhost/ns/default/dapr-sentry")
            .certified();
        let state = Arc::new(State {
            authority,
            behaviour: Mutex::new(Arc::new(signed_for(86_400))),
            shown: Mutex::new(shown),
            requests: AtomicU32::new(0),
            seen: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            server,
        }
    }

    /// The authority that signs.
    pub fn authority(&self) -> &Authority {
        &self.state.authority
    }

    /// The trust anchor, in PEM.
    pub fn anchors(&self) -> String {
        self.state.authority.pem()
    }

    /// From now on answers come from here.
    pub fn answer_with(
        &self,
        behaviour: impl Fn(&Authority, &SignRequest) -> SignAnswer + Send + Sync + 'static,
    ) {
        *locked(&self.state.behaviour) = Arc::new(behaviour);
    }

    /// From now on new connections see this certificate of sentry itself.
    pub fn show(&self, certified: Arc<CertifiedKey>) {
        *locked(&self.state.shown) = certified;
    }

    /// What was asked for so far.
    pub fn seen(&self) -> Vec<SignRequest> {
        locked(&self.state.seen).clone()
    }
}

impl Drop for Sentry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Shows the certificate of the moment.
struct Shown(Arc<State>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&locked(&self.0.shown)))
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(Arc::clone(&state))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // Dropped together with the server.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        // The last part of an answer does not wait for the receipt of the one before.
        let _ = socket.set_nodelay(true);
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else {
                return;
            };
            let service = service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(answer(&state, request).await) }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(state: &State, request: http::Request<Incoming>) -> http::Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes);
    let mut request = decode(body.unwrap_or_default().get(5..).unwrap_or_default());
    request.number = state.requests.fetch_add(1, Ordering::SeqCst);
    request.metadata = parts.headers;
    locked(&state.seen).push(request.clone());
    let behaviour = Arc::clone(&locked(&state.behaviour));
    match behaviour(&state.authority, &request) {
        SignAnswer::Chain(chain) => {
            let mut message = field(1, chain.as_bytes());
            // valid_until: some date.
            message.extend(field(3, &[0x08, 0x80, 0xa8, 0xd6, 0xb9, 0x07]));
            respond(Some(message), 0, "")
        }
        SignAnswer::Bytes(message) => respond(Some(message), 0, ""),
        SignAnswer::Status(code, text) => respond(None, code, text),
        SignAnswer::Silence => std::future::pending().await,
    }
}

fn decode(mut message: &[u8]) -> SignRequest {
    let mut request = SignRequest::default();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let number = varint(&mut message);
        if tag.is_multiple_of(8) {
            if tag >> 3 == 6 {
                request.validator = number;
            }
            continue;
        }
        let length = usize::try_from(number).expect("a length");
        let (value, rest) = message.split_at(length);
        message = rest;
        let value = String::from_utf8(value.to_vec()).expect("text");
        match tag >> 3 {
            1 => request.id = value,
            2 => request.token = value,
            3 => request.trust_domain = value,
            4 => request.namespace = value,
            5 => request.csr = value,
            7 => request.jwt_audiences.push(value),
            other => panic!("a field {other}"),
        }
    }
    request
}
