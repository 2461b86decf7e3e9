//! A pool of HTTP/1.1 connections to one origin.

mod sending;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lifecycle::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::sending::{Sending, Sent};
use super::connect::connect_origin;
use super::error::{ClientError, ErrorKind};
use crate::BoxError;
use crate::tls::OriginTls;

/// The bounds of a pool.
#[derive(Clone, Debug)]
pub struct H1Config {
    /// How many connections there may be; further requests wait for one.
    pub max_connections: usize,
    /// How many idle connections are kept for long.
    pub max_idle: usize,
    /// How long more than those are kept: calls that come in bursts need not connect anew each time.
    pub surplus_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// Status line and headers of an answer together, in bytes.
    pub max_header_bytes: usize,
    /// How connections are secured; `None` for clear text.
    pub tls: Option<OriginTls>,
}

impl Default for H1Config {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_idle: 64,
            surplus_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(30),
            max_header_bytes: 64 * 1024,
            tls: None,
        }
    }
}

/// HTTP/1.1 connections to one `host:port`. Cloning shares the pool.
///
/// A connection comes back when the body of its answer was read to the end; a body that is dropped before
/// closes its connection, which is how a call is cancelled, and so does an answer that is over before its
/// request. A request that failed on a *reused* connection before anything of it was written is sent again on
/// another one, and so is one without a body whose method is idempotent (RFC 9110, section 9.2.2) when the
/// connection ended without an answer: the app closed the idle connection just as it was used.
#[derive(Debug)]
pub struct H1Pool<B>(Arc<Pool<B>>);

impl<B> Clone for H1Pool<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Pool<B> {
    address: String,
    config: H1Config,
    tasks: Tasks,
    places: Arc<Semaphore>,
    /// Most recently used last.
    idle: Mutex<VecDeque<Idle<B>>>,
}

#[derive(Debug)]
struct Idle<B> {
    connection: Connection<B>,
    since: Instant,
}

#[derive(Debug)]
struct Connection<B> {
    sender: http1::SendRequest<Sending<B>>,
    task: AbortHandle,
}

/// A connection in use, with its place among the connections.
struct Lease<B> {
    pool: Arc<Pool<B>>,
    connection: Connection<B>,
    is_reused: bool,
    _place: OwnedSemaphorePermit,
}

impl<B> H1Pool<B>
where
    B: Body<Data = Bytes> + Default + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// A pool without connections; the first call makes one. `tasks` owns the connections.
    pub fn new(address: impl Into<String>, config: H1Config, tasks: Tasks) -> Self {
        let places = Arc::new(Semaphore::new(config.max_connections));
        Self(Arc::new(Pool {
            address: address.into(),
            config,
            tasks,
            places,
            idle: Mutex::default(),
        }))
    }

    /// The origin, `host:port`.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Sends a request and waits for the head of the answer. The URI is the request target (path and query),
    /// and a `Host` header must be there.
    pub async fn send(&self, request: Request<B>) -> Result<Response<PooledBody<B>>, ClientError> {
        let mut request = request;
        loop {
            let mut lease = self.lease().await?;
            let again = if lease.is_reused {
                copy_if_harmless(&request)
            } else {
                None
            };
            let (watched, sent) = Sending::watch(request);
            let mut error = match lease.connection.sender.try_send_request(watched).await {
                Ok(answer) => return Ok(answer.map(|body| PooledBody::new(body, lease, sent))),
                Err(error) => error,
            };
            let unsent = error
                .take_message()
                .map(|request| request.map(Sending::into_inner));
            let was_unsent = unsent.is_some();
            let error = ClientError::from_hyper(error.into_error(), was_unsent);
            match unsent {
                Some(unsent) if lease.is_reused => request = unsent,
                _ => match again {
                    Some(again) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Reset) => {
                        request = again;
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    async fn lease(&self) -> Result<Lease<B>, ClientError> {
        let pool = &self.0;
        #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
        let place = Arc::clone(&pool.places)
            .acquire_owned()
            .await
            .expect("never closed");
        while let Some(mut connection) = pool.take_idle() {
            if connection.sender.ready().await.is_ok() {
                return Ok(Lease {
                    pool: Arc::clone(pool),
                    connection,
                    is_reused: true,
                    _place: place,
                });
            }
        }
        Ok(Lease {
            pool: Arc::clone(pool),
            // Rare, and large: a call must not carry room for it.
            connection: Box::pin(pool.dial()).await?,
            is_reused: false,
            _place: place,
        })
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn dial(&self) -> Result<Connection<B>, ClientError> {
        let (tls, limit) = (self.config.tls.as_ref(), self.config.connect_timeout);
        let socket = connect_origin(&self.address, tls, limit)
            .await
            .map_err(ClientError::connect)?;
        let mut builder = http1::Builder::new();
        builder
            .title_case_headers(true)
            .max_header_size(self.config.max_header_bytes);
        let (sender, connection) = builder
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| ClientError::from_hyper(error, true))?;
        let task = self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(target: "dapr.runtime", "connection to the app ended: {error}");
            }
        });
        Ok(Connection { sender, task })
    }
}

/// A copy of a request that may be sent twice: nothing is lost and nothing is done twice.
fn copy_if_harmless<B: Body + Default>(request: &Request<B>) -> Option<Request<B>> {
    let is_idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    );
    if !is_idempotent || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(B::default());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

impl<B> Pool<B> {
    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle<B>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Connection<B>> {
        let mut idle = self.idle();
        while let Some(Idle { connection, since }) = idle.pop_back() {
            if since.elapsed() >= self.config.idle_timeout {
                // The others are older still.
                idle.clear();
                return None;
            }
            if !connection.sender.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn put_idle(&self, connection: Connection<B>) {
        let mut idle = self.idle();
        idle.push_back(Idle {
            connection,
            since: Instant::now(),
        });
        let surplus_timeout = self.config.surplus_timeout;
        while idle.len() > self.config.max_idle
            && idle
                .front()
                .is_some_and(|oldest| oldest.since.elapsed() >= surplus_timeout)
        {
            idle.pop_front();
        }
    }
}

impl<B> Lease<B> {
    fn give_back(self, sent: &Sent) {
        if !sent.is_over() {
            // Whoever came next would wait until the rest of the request is gone.
            self.connection.task.abort();
        } else if !self.connection.sender.is_closed() {
            self.pool.put_idle(self.connection);
        }
    }
}

/// The body of an answer; its end gives the connection back.
pub struct PooledBody<B> {
    body: Incoming,
    lease: Option<Lease<B>>,
    sent: Sent,
}

impl<B> PooledBody<B> {
    fn new(body: Incoming, lease: Lease<B>, sent: Sent) -> Self {
        let mut pooled = Self {
            body,
            lease: Some(lease),
            sent,
        };
        pooled.give_back_at_end();
        pooled
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back(&self.sent);
        }
    }
}

// Nothing here is pinned in place: `Incoming` moves freely.
impl<B> Unpin for PooledBody<B> {}

impl<B> Body for PooledBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.give_back(),
            Some(Ok(_)) => self.give_back_at_end(),
            Some(Err(_)) => self.lease = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
