//! HTTP/1.0, HTTP/1.1 and cleartext HTTP/2 on one listener.

use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{self, HeaderValue};
use http_body::Body as _;
use http_body_util::{Either, Full};
use http2::RawQuery;
use hyper::body::Incoming;
use lifecycle::{Shutdown, Tasks};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::ended::Ended;
use super::handshake::Handshaking;
use super::preface::Spoken;
use super::unread::Http1Body;
use super::upgrade::{self, UpgradeRequest};
use super::vetting::{self, Verdict};
use super::watch::Watch;
use super::{Answer, H2Config, Handler, RequestBody, drive, h2c, http1, preface, reason};
use crate::Descriptors;
use crate::descriptors::Member;
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
    /// What the connections of the process may take.
    pub descriptors: Descriptors,
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
            socket = listener.accept(&server.config.descriptors) => socket,
        };
        let member = server.config.descriptors.join();
        let server = Arc::clone(&server);
        let peer = socket.tcp().and_then(|tcp| tcp.peer_addr().ok());
        connections.spawn(async move { server.connection(socket, peer, member).await });
    }
    // From here on the system refuses connections. In the queue of the listener they would wait for nobody.
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
    let member = config.descriptors.join();
    Server::new(config, handler, shutdown)
        .connection(socket, None, member)
        .await;
}

/// The answer to a request of HTTP/1.
pub(super) type Answered<H> = Answer<Either<Ended<Either<<H as Handler>::Body, Full<Bytes>>>, Full<Bytes>>>;

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

    async fn connection<S>(self: Arc<Self>, socket: S, peer: Option<SocketAddr>, mut member: Member)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(h2c) = &self.config.h2c else {
            return self.http1(socket, peer, member).await;
        };
        // A client that has said nothing yet is among the first to go when descriptors are scarce.
        member.set_idle(true);
        let detected = tokio::select! {
            biased;
            detected = preface::detect(socket, self.config.header_timeout) => detected,
            () = self.shutdown.draining() => return,
            () = poll_fn(|cx| member.poll_unwanted(cx)) => return,
        };
        member.set_idle(false);
        match detected {
            // In a box: most connections are none of HTTP/2 and need no room for it.
            Ok((Spoken::Http2, socket)) => Box::pin(self.http2(h2c, socket, peer, None, member)).await,
            Ok((Spoken::Http1, socket)) => self.http1(socket, peer, member).await,
            Ok((Spoken::Other, _)) => {}
            Err(error) => tracing::trace!("connection ended: {error}"),
        }
    }

    async fn http1<S>(self: Arc<Self>, socket: S, peer: Option<SocketAddr>, mut member: Member)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some((kept, io)) = http1::serve(&self, socket, peer, &mut member).await else {
            return;
        };
        if let Some(h2c) = &self.config.h2c {
            // The client has asked for HTTP/2, and has not shown yet that it speaks it.
            let io = Handshaking::new(io, sleep(self.config.header_timeout));
            Box::pin(self.http2(h2c, io, peer, Some(kept), member)).await;
        }
    }

    async fn http2<S>(
        &self,
        config: &H2Config,
        io: S,
        peer: Option<SocketAddr>,
        kept: Option<UpgradeRequest>,
        member: Member,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handler = self.handler.clone();
        let bounds = h2c::bounds(config);
        let connection = ::http2::server::serve(io, bounds, move |request| {
            h2c::answer(handler.clone(), request, peer)
        });
        let connection = match kept {
            None => Ok(connection),
            Some(UpgradeRequest { settings, request }) => connection.upgraded(&settings, request),
        };
        match connection {
            Ok(connection) => drive(connection, member, self.shutdown.clone(), pending()).await,
            Err(error) => tracing::trace!("connection ended: {error}"),
        }
    }

    /// Answers a request of HTTP/1. One that asks for HTTP/2 is kept in the slot.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Option<SocketAddr>,
        watch: Arc<Watch>,
        upgrade: Arc<OnceLock<UpgradeRequest>>,
    ) -> Answered<H> {
        let framing = watch.begin(request.body().size_hint().exact());
        let mut request = request.map(|body| Http1Body::new(body, &watch));
        if let Some(query) = watch.take_raw_query() {
            request.extensions_mut().insert(RawQuery(query));
        }
        let says_close = vetting::says_close(request.headers());
        let is_expected = request.headers().contains_key(header::EXPECT);
        let mut is_last = self.shutdown.is_draining() || says_close;
        let mut answer = match vetting::judge(&request, framing) {
            Verdict::Answer(answer) => {
                // What is left of the body must be with the connection before `ends_connection` looks at it.
                drop(request);
                answer.map(Either::Right)
            }
            verdict => {
                is_last |= matches!(verdict, Verdict::PassAndClose);
                if let Some(h2c) = &self.config.h2c
                    && upgrade::is_asked_for(request.headers())
                    && self.handler.takes_upgrade(request.headers())
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
                let answer = self.handler.call_of(request.map(RequestBody::Http1), peer).await;
                answer.map(Either::Left)
            }
        };
        reason::put(&mut answer);
        if is_last {
            // No request follows, so nothing is gained by reading the rest of this one.
            watch.unread.give_up(&watch);
        }
        if is_last || watch.unread.ends_connection(&watch, is_expected).await {
            answer
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer.map(|body| Either::Left(Ended::new(body, watch))))
    }
}
