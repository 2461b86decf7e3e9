//! HTTP/1.0, HTTP/1.1 and cleartext HTTP/2 on one listener.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{self, HeaderValue};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lifecycle::{Shutdown, Tasks};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::ended::Ended;
use super::framing::Watch;
use super::handshake::Handshaking;
use super::http1;
use super::upgrade::{self, Kept, WithFirstStream};
use super::vetting::{self, Verdict};
use super::{Answer, Drain, Handler, RequestBody, drive, preface, reason};
use crate::listen::Listener;

/// The limits of an HTTP server.
#[derive(Clone, Debug)]
pub struct HttpServerConfig {
    /// Request line and headers of HTTP/1 together, in bytes; beyond it the answer is 431.
    pub max_header_bytes: usize,
    /// How long a client may take for the head of a request.
    pub header_timeout: Duration,
    /// Cleartext HTTP/2, by prior knowledge and by `Upgrade: h2c`; `None` for HTTP/1 alone.
    pub h2c: Option<H2Config>,
}

/// The limits of an HTTP/2 server.
#[derive(Clone, Debug)]
pub struct H2Config {
    /// The longest header list, in bytes as RFC 9113, section 6.5.2 counts them.
    pub max_header_list: u32,
    /// How many streams a client may have open; `None` for any number.
    pub max_concurrent_streams: Option<u32>,
    /// The longest frame that is accepted, in bytes.
    pub max_frame: u32,
    /// How many bytes of one stream may be on the way unread.
    pub stream_window: u32,
    /// How many bytes of all streams together may be on the way unread.
    pub connection_window: u32,
    /// How many bytes the body of a request that asks for `Upgrade: h2c` may have.
    pub max_upgrade_body: usize,
}

/// Serves a listener until the drain is over. Every connection is owned: the future resolves when the last one
/// has ended, or when waiting is over.
pub async fn serve_http<H: Handler>(
    listener: Listener,
    config: HttpServerConfig,
    handler: H,
    shutdown: Shutdown,
) {
    let connections = Tasks::new();
    let server = Server::new(config, handler, shutdown.clone());
    loop {
        let socket = tokio::select! {
            biased;
            () = shutdown.draining() => break,
            socket = listener.accept() => socket,
        };
        let server = Arc::clone(&server);
        connections.spawn(async move { server.connection(socket).await });
    }
    drop(listener);
    tokio::select! {
        () = connections.wait() => {}
        () = shutdown.forced() => {
            connections.abort_all();
            connections.wait().await;
        }
    }
}

/// Serves one connection that is no socket.
#[cfg(feature = "fuzz")]
pub async fn serve_one<H: Handler, S>(socket: S, config: HttpServerConfig, handler: H, shutdown: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Server::new(config, handler, shutdown).connection(socket).await;
}

/// A server on one listener.
pub(super) struct Server<H> {
    pub(super) config: HttpServerConfig,
    handler: H,
    pub(super) shutdown: Shutdown,
    /// How many connections of HTTP/1 have buffers.
    pub(super) busy: AtomicUsize,
}

impl<H: Handler> Server<H> {
    fn new(config: HttpServerConfig, handler: H, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self {
            config,
            handler,
            shutdown,
            busy: AtomicUsize::new(0),
        })
    }

    async fn connection<S>(self: Arc<Self>, socket: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(h2c) = &self.config.h2c else {
            return self.http1(socket).await;
        };
        let detected = tokio::select! {
            biased;
            detected = preface::detect(socket, self.config.header_timeout) => detected,
            () = self.shutdown.draining() => return,
        };
        match detected {
            Ok((true, socket)) => {
                let connection = http2(h2c, socket, self.handler.clone(), None);
                // Most connections are none of HTTP/2 and need no room for it.
                Box::pin(drive(connection, self.shutdown.clone())).await;
            }
            Ok((false, socket)) => self.http1(socket).await,
            Err(error) => tracing::trace!(target: "dapr.runtime", "connection ended: {error}"),
        }
    }

    async fn http1<S>(self: Arc<Self>, socket: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some((kept, io)) = http1::serve(&self, socket).await else {
            return;
        };
        if let Some(h2c) = &self.config.h2c {
            let io = Handshaking::new(io, sleep(self.config.header_timeout));
            let io = WithFirstStream::new(io);
            // In a box, so that connections that are not upgraded have no room for it.
            let connection = http2(h2c, io, self.handler.clone(), Some(kept));
            Box::pin(drive(connection, self.shutdown.clone())).await;
        }
    }

    /// Answers a request of HTTP/1. One that asks for HTTP/2 is kept in the slot.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        watch: Arc<Watch>,
        upgrade: Arc<OnceLock<Kept>>,
    ) -> Answer<Either<Ended<Either<H::Body, Full<Bytes>>>, Full<Bytes>>> {
        let framing = watch.begin(request.body().size_hint().exact());
        let is_last = match vetting::judge(&request, framing) {
            Verdict::Answer(answer) => {
                return Ok(answer.map(|body| Either::Left(Ended::new(Either::Right(body), watch))));
            }
            Verdict::PassAndClose => true,
            Verdict::Pass => false,
        };
        if let Some(h2c) = &self.config.h2c
            && upgrade::is_asked_for(request.headers())
        {
            // No head of HTTP/1 follows, so nothing is to be watched.
            let answer = match Box::pin(upgrade::accept(request, h2c.max_upgrade_body)).await {
                Ok((answer, kept)) => {
                    let _ = upgrade.set(kept);
                    answer
                }
                Err(refusal) => refusal,
            };
            return Ok(answer.map(Either::Right));
        }
        let answer = self.handler.call(request.map(RequestBody::Http)).await;
        let mut answer = answer.map(|body| Either::Left(Ended::new(Either::Left(body), watch)));
        reason::put(&mut answer);
        if is_last {
            answer
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }
}

fn http2<H: Handler, S>(config: &H2Config, io: S, handler: H, kept: Option<Kept>) -> impl Drain
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        let request = match &kept {
            Some(kept) => kept.or(request),
            None => request.map(RequestBody::Http),
        };
        // In a box from the start: hyper moves it several times, and it is large.
        Box::pin(async move { Ok::<_, Infallible>(handler.call(request).await) })
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(config.max_header_list)
        .max_concurrent_streams(config.max_concurrent_streams)
        .max_frame_size(config.max_frame)
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window);
    builder.serve_connection(TokioIo::new(io), service)
}

impl<I, S, E, B> Drain for http2::Connection<I, S, E>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<crate::BoxError>,
    B: http_body::Body + 'static,
    B::Error: Into<crate::BoxError>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    type Error = hyper::Error;

    fn drain(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
