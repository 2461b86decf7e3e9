//! Apps that live in the test.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// What an app is sent.
pub type Request = http::Request<Incoming>;
/// What an app answers. An error in the body breaks the connection.
pub type Response = http::Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// The sending end of a body of unknown length. Dropping it ends the body; aborting it breaks the connection.
pub type BodySender = Sender<Bytes, std::io::Error>;

/// The protocol that an app speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 in clear text.
    H2c,
}

/// An HTTP app on a free port of the loopback interface; it stops when dropped.
pub struct HttpApp {
    /// Its port.
    pub port: u16,
    server: JoinHandle<()>,
    connections: Arc<Semaphore>,
}

impl HttpApp {
    /// Starts an app whose `handler` answers every request.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start<H, Fut>(protocol: Protocol, handler: H) -> Self
    where
        H: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::start_on(listener, protocol, handler)
    }

    /// The same, on a listener that the test made.
    ///
    /// # Panics
    /// When the listener has no address.
    pub fn start_on<H, Fut>(listener: TcpListener, protocol: Protocol, handler: H) -> Self
    where
        H: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let port = listener.local_addr().expect("an address").port();
        // Closing the semaphore tells every connection to end.
        let connections = Arc::new(Semaphore::new(0));
        let stop = Arc::clone(&connections);
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let handler = handler.clone();
                let stop = Arc::clone(&stop);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = handler(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let mut builder = auto::Builder::new(TokioExecutor::new());
                    builder.http2().max_concurrent_streams(10_000);
                    let builder = match protocol {
                        Protocol::Http => builder.http1_only(),
                        Protocol::H2c => builder.http2_only(),
                    };
                    let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
                    tokio::select! {
                        _ = connection => {}
                        _ = stop.acquire() => {}
                    }
                });
            }
        });
        Self {
            port,
            server,
            connections,
        }
    }

    /// An app that answers each request with its method, path, headers and body as JSON: what a test looks at
    /// to see what the app saw.
    pub async fn echo(protocol: Protocol) -> Self {
        Self::start(protocol, |request| async move {
            let (parts, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            let headers: Vec<_> = parts
                .headers
                .iter()
                .map(|(name, value)| {
                    (
                        name.to_string(),
                        String::from_utf8_lossy(value.as_bytes()).into_owned(),
                    )
                })
                .collect();
            let seen = serde_json::json!({
                "method": parts.method.as_str(),
                "target": parts.uri.path_and_query().map(ToString::to_string),
                "headers": headers,
                "body": String::from_utf8_lossy(&body),
            });
            let mut answer = text(200, seen.to_string());
            let json = http::HeaderValue::from_static("application/json");
            answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
            answer
        })
        .await
    }
}

impl Drop for HttpApp {
    fn drop(&mut self) {
        self.server.abort();
        self.connections.close();
    }
}

/// An answer of one piece.
///
/// # Panics
/// When the status is none.
pub fn text(status: u16, body: impl Into<Bytes>) -> Response {
    let body = Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync();
    http::Response::builder()
        .status(status)
        .body(body)
        .expect("a valid answer")
}

/// An answer whose body comes piece by piece from the sender.
///
/// # Panics
/// When the status is none.
pub fn stream(status: u16) -> (BodySender, Response) {
    let (sender, body) = Channel::new(1);
    let answer = http::Response::builder()
        .status(status)
        .body(body.boxed_unsync())
        .expect("a valid answer");
    (sender, answer)
}
