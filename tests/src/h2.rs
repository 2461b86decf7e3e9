//! A client with one HTTP/2 connection, by prior knowledge.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// One connection; any number of calls at a time.
pub struct H2Client {
    sender: SendRequest<Body>,
    connection: JoinHandle<()>,
    port: u16,
}

impl H2Client {
    /// Connects to a port of the loopback interface.
    ///
    /// # Panics
    /// When nobody listens, or not to HTTP/2.
    pub async fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("somebody listens");
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .expect("HTTP/2");
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self {
            sender,
            connection,
            port,
        }
    }

    /// Sends a `GET` of a path.
    pub async fn get(&self, path: &str) -> Result<http::Response<Incoming>, hyper::Error> {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        self.send(http::Method::GET, path, empty).await
    }

    /// Sends a request with a body.
    ///
    /// # Panics
    /// When the path is none.
    pub async fn send(
        &self,
        method: http::Method,
        path: &str,
        body: Body,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.body(body).expect("a valid request");
        self.request(request).await
    }

    /// Sends a request whose URI is a path.
    ///
    /// # Panics
    /// When the path is none.
    pub async fn request(
        &self,
        mut request: http::Request<Body>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        let uri = format!("http://127.0.0.1:{}{}", self.port, request.uri());
        *request.uri_mut() = uri.parse().expect("a path");
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(request).await
    }
}

impl Drop for H2Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
