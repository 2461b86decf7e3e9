//! A bare relay: what moving a call with hyper costs when nothing else is done.
//!
//! Two of them in a row are the floor of the usual stack: HTTP/1 in and HTTP/2 out, then HTTP/2 in and HTTP/1 out;
//! for gRPC HTTP/2 on all three ways. No header is looked at, no body is measured, no error is explained. This
//! program runs as two processes, as sidecars do: `bench relay LISTEN-PORT IN OUT NEXT-PORT [CERTIFICATES]`.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::relay_tls::{self, Tls};

/// The version that one side of a relay speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    H1,
    H2,
    /// HTTP/2 in TLS, with a certificate of each side.
    H2Tls,
}

impl Wire {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2 => "h2",
            Self::H2Tls => "h2-tls",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        [Self::H1, Self::H2, Self::H2Tls]
            .into_iter()
            .find(|wire| wire.name() == name)
            .ok_or_else(|| format!("relay: {name:?} is none of h1, h2 and h2-tls"))
    }
}

/// As large as those of our sidecar, so that large bodies do not measure windows.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

/// The next hop, and the connections to it.
struct Next {
    port: u16,
    wire: Wire,
    tls: Option<Tls>,
    /// Idle connections of HTTP/1, most recently used last.
    idle: Mutex<Vec<http1::SendRequest<Incoming>>>,
    /// The one connection of HTTP/2.
    shared: tokio::sync::OnceCell<http2::SendRequest<Incoming>>,
}

/// Runs a relay until it is killed: `LISTEN-PORT IN OUT NEXT-PORT [CERTIFICATES]`.
pub(crate) async fn run(args: &[String]) -> Result<(), String> {
    let [listen, incoming, outgoing, next, certificates @ ..] = args else {
        return Err("relay: LISTEN-PORT IN OUT NEXT-PORT [CERTIFICATES]".to_owned());
    };
    let tls = certificates.first().map(|folder| Tls::read(Path::new(folder)));
    let port = |text: &String| {
        text.parse::<u16>()
            .map_err(|_| format!("relay: {text:?} is no port"))
    };
    let incoming = Wire::parse(incoming)?;
    let next = Arc::new(Next {
        port: port(next)?,
        wire: Wire::parse(outgoing)?,
        tls: tls.transpose()?,
        idle: Mutex::default(),
        shared: tokio::sync::OnceCell::new(),
    });
    let listener = TcpListener::bind(("127.0.0.1", port(listen)?))
        .await
        .map_err(|error| format!("relay: {error}"))?;
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        tokio::spawn(serve(socket, incoming, Arc::clone(&next)));
    }
    Ok(())
}

async fn serve(socket: TcpStream, wire: Wire, next: Arc<Next>) {
    let tls = next.tls.as_ref().map(|tls| tls.acceptor.clone());
    let service = service_fn(move |request| {
        let next = Arc::clone(&next);
        async move {
            Ok::<_, Infallible>(next.pass(request).await.unwrap_or_else(|_| {
                let nothing = Empty::new().map_err(|never| match never {});
                let mut answer = Response::new(nothing.boxed_unsync());
                *answer.status_mut() = StatusCode::BAD_GATEWAY;
                answer
            }))
        }
    });
    // A client that goes away is no news.
    let _ = match (wire, tls) {
        (Wire::H1, _) => {
            let io = TokioIo::new(socket);
            http1_server().serve_connection(io, service).await
        }
        (Wire::H2Tls, Some(tls)) => {
            let Ok(stream) = tls.accept(socket).await else {
                return;
            };
            let io = TokioIo::new(stream);
            http2_server().serve_connection(io, service).await
        }
        (Wire::H2 | Wire::H2Tls, _) => {
            let io = TokioIo::new(socket);
            http2_server().serve_connection(io, service).await
        }
    };
}

fn http1_server() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new());
    builder
}

fn http2_server() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(None)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Next {
    async fn pass(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Answer, Failure> {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        match self.wire {
            Wire::H1 => {
                *request.uri_mut() = path.parse()?;
                *request.version_mut() = Version::HTTP_11;
                let host = format!("127.0.0.1:{}", self.port).parse()?;
                request.headers_mut().insert(header::HOST, host);
                let mut sender = self.idle_or_new().await?;
                let answer = sender.send_request(request).await?;
                Ok(answer.map(|body| Returning::new(body, sender, self).boxed_unsync()))
            }
            Wire::H2 | Wire::H2Tls => {
                let uri: Uri = format!("http://127.0.0.1:{}{path}", self.port).parse()?;
                *request.uri_mut() = uri;
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(header::CONNECTION);
                request.headers_mut().remove(header::HOST);
                let mut sender = self.shared.get_or_try_init(|| self.http2()).await?.clone();
                Ok(sender.send_request(request).await?.map(BodyExt::boxed_unsync))
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, Failure> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn idle_or_new(&self) -> Result<http1::SendRequest<Incoming>, Failure> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut sender) = idle else { break };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let (sender, connection) = http1::handshake(TokioIo::new(self.connect().await?)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn http2(&self) -> Result<http2::SendRequest<Incoming>, Failure> {
        let socket = self.connect().await?;
        match &self.tls {
            Some(tls) if self.wire == Wire::H2Tls => {
                http2_over(tls.connector.connect(relay_tls::name(), socket).await?).await
            }
            _ => http2_over(socket).await,
        }
    }
}

async fn http2_over<I>(io: I) -> Result<http2::SendRequest<Incoming>, Failure>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(2048)
        .handshake(TokioIo::new(io))
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The body of an answer of HTTP/1, whose end gives the connection back.
struct Returning {
    body: Incoming,
    sender: Option<http1::SendRequest<Incoming>>,
    next: Arc<Next>,
}

impl Returning {
    fn new(body: Incoming, sender: http1::SendRequest<Incoming>, next: Arc<Next>) -> Self {
        let mut returning = Self {
            body,
            sender: Some(sender),
            next,
        };
        if http_body::Body::is_end_stream(&returning.body) {
            returning.give_back();
        }
        returning
    }

    fn give_back(&mut self) {
        if let Some(sender) = self.sender.take() {
            let mut idle = self.next.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(sender);
        }
    }
}

impl http_body::Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(std::pin::Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.give_back();
        }
        std::task::Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
