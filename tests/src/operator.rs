//! An operator that has the resources that the test gives it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::pki::Authority;
use crate::rpc::{Body, field, respond, respond_with, varint};

/// What a sidecar asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorRequest {
    /// The method, like `ListComponents`.
    pub method: String,
    /// The texts of the message by their numbers.
    pub fields: HashMap<u64, String>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum OperatorAnswer {
    /// Resources, each as JSON.
    Resources(Vec<String>),
    /// A message that is what it is.
    Bytes(Vec<u8>),
    /// A status of gRPC.
    Status(u32, &'static str),
    /// A stream of what is sent here from now on.
    Events(broadcast::Sender<Pushed>),
}

/// What the operator pushes.
#[derive(Clone, Debug)]
pub enum Pushed {
    /// An event: its type (1 created, 2 updated, 3 deleted) and the JSON of the resource.
    Event(u8, String),
    /// The end of the streams that are open.
    End,
}

type Behaviour = dyn Fn(&OperatorRequest) -> OperatorAnswer + Send + Sync;

/// The server; it stops when dropped.
pub struct Operator {
    /// `127.0.0.1:port`.
    pub address: String,
    seen: Arc<Mutex<Vec<OperatorRequest>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Operator {
    /// An operator with the identity that sidecars expect by default; whoever calls must have a certificate of the same
    /// authority.
    pub async fn start(
        authority: &Authority,
        behaviour: impl Fn(&OperatorRequest) -> OperatorAnswer + Send + Sync + 'static,
    ) -> Self {
        let id = "spiffe://localhost/ns/default/dapr-operator";
        Self::start_as(authority, authority.issue(id).certified(), behaviour).await
    }

    /// The same, with this certificate.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start_as(
        authority: &Authority,
        shown: Arc<CertifiedKey>,
        behaviour: impl Fn(&OperatorRequest) -> OperatorAnswer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::start_on(listener, authority, shown, behaviour)
    }

    /// The same, on a listener that the test made.
    ///
    /// # Panics
    /// When the listener has no address.
    pub fn start_on(
        listener: TcpListener,
        authority: &Authority,
        shown: Arc<CertifiedKey>,
        behaviour: impl Fn(&OperatorRequest) -> OperatorAnswer + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address").to_string();
        let seen = Arc::<Mutex<Vec<OperatorRequest>>>::default();
        let acceptor = TlsAcceptor::from(Arc::new(config(authority, shown)));
        let server = serve(listener, acceptor, Arc::new(behaviour), Arc::clone(&seen));
        Self {
            address,
            seen,
            server: tokio::spawn(server),
        }
    }

    /// What was asked for so far.
    pub fn seen(&self) -> Vec<OperatorRequest> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn config(authority: &Authority, shown: Arc<CertifiedKey>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).expect("a root");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    behaviour: Arc<Behaviour>,
    seen: Arc<Mutex<Vec<OperatorRequest>>>,
) {
    // Dropped together with the server.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, behaviour, seen) = (acceptor.clone(), Arc::clone(&behaviour), Arc::clone(&seen));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else {
                return;
            };
            let service = service_fn(move |request| {
                let (behaviour, seen) = (Arc::clone(&behaviour), Arc::clone(&seen));
                async move {
                    let asked = asked(request).await;
                    let answer = behaviour(&asked);
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
                    Ok::<_, Infallible>(answered(answer))
                }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn asked(request: http::Request<Incoming>) -> OperatorRequest {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes);
    let body = body.unwrap_or_default();
    let mut message = body.get(5..).unwrap_or_default();
    let mut asked = OperatorRequest {
        method: parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned(),
        fields: HashMap::new(),
    };
    while !message.is_empty() {
        let tag = varint(&mut message);
        assert_eq!(tag % 8, 2, "only texts are sent");
        let length = usize::try_from(varint(&mut message)).expect("a length");
        let (value, rest) = message.split_at(length);
        message = rest;
        let value = String::from_utf8(value.to_vec()).expect("text");
        asked.fields.insert(tag >> 3, value);
    }
    asked
}

fn answered(answer: OperatorAnswer) -> http::Response<Body> {
    match answer {
        OperatorAnswer::Resources(resources) => {
            let message = resources.iter().flat_map(|json| field(1, json.as_bytes()));
            respond(Some(message.collect()), 0, "")
        }
        OperatorAnswer::Bytes(message) => respond(Some(message), 0, ""),
        OperatorAnswer::Status(code, text) => respond(None, code, text),
        OperatorAnswer::Events(sender) => {
            let events = stream::unfold(sender.subscribe(), |mut receiver| async move {
                match receiver.recv().await {
                    Ok(Pushed::Event(kind, json)) => {
                        let mut message = field(1, json.as_bytes());
                        message.extend([2 << 3, kind]);
                        Some((message, receiver))
                    }
                    Ok(Pushed::End) | Err(_) => None,
                }
            });
            respond_with(events, 0, "")
        }
    }
}
