//! HTTP/1.0, HTTP/1.1 and cleartext HTTP/2 on one listener.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lifecycle::{Shutdown, Tasks};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::ended::Ended;
use super::framing::{Watch, Watched};
use super::handshake::Handshaking;
use super::upgrade::{self, Kept, WithFirstStream};
use super::vetting::{self, Verdict};
use super::{Answer, Drain, Handler, drive, preface, reason};
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
    let server = Arc::new(Server {
        config,
        handler,
        connections: connections.clone(),
        shutdown: shutdown.clone(),
    });
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

struct Server<H> {
    config: HttpServerConfig,
    handler: H,
    connections: Tasks,
    shutdown: Shutdown,
}

impl<H: Handler> Server<H> {
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
        let watch = Watch::new();
        let io = Watched::new(socket, Arc::clone(&watch), self.config.header_timeout);
        let server = Arc::clone(&self);
        let service = service_fn(move |request: Request<Incoming>| {
            let server = Arc::clone(&server);
            let watch = Arc::clone(&watch);
            // In a box of its own: an idle connection must not keep room for it.
            Box::pin(async move { Answer::Ok(server.answer(request, watch).await) })
        });
        let mut builder = http1::Builder::new();
        builder
            .max_header_size(self.config.max_header_bytes)
            .max_buf_size(self.config.max_header_bytes.max(64 * 1024))
            .title_case_headers(true)
            .header_read_timeout(None)
            .half_close(false);
        let connection = builder
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        drive(connection, self.shutdown.clone()).await;
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        watch: Arc<Watch>,
    ) -> Response<Either<Ended<Either<H::Body, Full<Bytes>>>, Full<Bytes>>> {
        let framing = watch.begin(request.body().size_hint().exact());
        let verdict = vetting::judge(&request, framing);
        if let Verdict::Answer(answer) = verdict {
            return answer.map(|body| Either::Left(Ended::new(Either::Right(body), watch)));
        }
        if let Some(h2c) = &self.config.h2c
            && upgrade::is_asked_for(request.headers())
        {
            // No head of HTTP/1 follows, so nothing is to be watched.
            let upgrading = Box::pin(self.upgrade(request, h2c.clone()));
            return upgrading.await.map(Either::Right);
        }
        let answer = self.handler.call(request.map(Either::Left)).await;
        let mut answer = answer.map(|body| Either::Left(Ended::new(Either::Left(body), watch)));
        reason::put(&mut answer);
        if matches!(verdict, Verdict::PassAndClose) {
            answer
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn upgrade(&self, mut request: Request<Incoming>, h2c: H2Config) -> Response<Full<Bytes>> {
        let upgraded = hyper::upgrade::on(&mut request);
        let (answer, kept) = match upgrade::accept(request, h2c.max_upgrade_body).await {
            Ok(accepted) => accepted,
            Err(refusal) => return refusal,
        };
        let (handler, shutdown) = (self.handler.clone(), self.shutdown.clone());
        let limit = self.config.header_timeout;
        self.connections.spawn(async move {
            match upgraded.await {
                Ok(upgraded) => {
                    let io = Handshaking::new(TokioIo::new(upgraded), sleep(limit));
                    let io = WithFirstStream::new(io);
                    drive(http2(&h2c, io, handler, Some(kept)), shutdown).await;
                }
                Err(error) => tracing::trace!(target: "dapr.runtime", "upgrade failed: {error}"),
            }
        });
        answer
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
            None => request.map(Either::Left),
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

impl<I, S, B> Drain for http1::UpgradeableConnection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<crate::BoxError>,
    B: http_body::Body + 'static,
    B::Error: Into<crate::BoxError>,
{
    fn drain(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
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
    fn drain(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
