//! A pool of HTTP/1.1 connections to one origin.

mod body;
mod form;
mod framing;
mod idle;
mod keeping;
mod lease;
mod line;
mod places;
mod sending;
mod target;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lifecycle::Tasks;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

pub use self::body::{AnswerError, PooledBody};
use self::idle::Idle;
use self::keeping::Keeping;
use self::lease::Lease;
use self::line::Watch;
use self::places::Places;
use self::sending::{Sending, Sent};
pub use self::target::RawTarget;
use super::connect::{connect_origin, connect_unix};
use super::error::{ClientError, ErrorKind};
use super::proxy::Proxy;
use super::reuse::Reuse;
use crate::BoxError;
use crate::descriptors::Descriptors;
use crate::tls::OriginTls;

/// The bounds of a pool.
#[derive(Clone, Debug)]
pub struct H1Config {
    /// How many connections there may be; further requests wait for one.
    pub max_connections: usize,
    /// How many requests may wait at once.
    pub max_waiting: usize,
    /// How long a request may wait.
    pub wait_timeout: Duration,
    /// How many idle connections are kept for long.
    pub max_idle: usize,
    /// How long more than those are kept, and those that no call wanted in the end: calls that come in bursts need not
    /// connect anew each time.
    pub surplus_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// Status line and headers of an answer together, in bytes.
    pub max_header_bytes: usize,
    /// The Unix domain socket that connections are made to in place of the address, and without a proxy.
    pub unix: Option<PathBuf>,
    /// How connections are secured; `None` for clear text.
    pub tls: Option<OriginTls>,
    /// What connections go through; `None` for straight ones.
    pub proxy: Option<Proxy>,
    /// For how long connections are used again. The last request on one says so (`Connection: close`).
    pub reuse: Reuse,
}

impl Default for H1Config {
    fn default() -> Self {
        Self {
            max_connections: most_connections(Descriptors::of_process().limit()),
            max_waiting: 8192,
            wait_timeout: Duration::from_secs(300),
            max_idle: 64,
            surplus_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(30),
            max_header_bytes: 64 * 1024,
            unix: None,
            tls: None,
            proxy: None,
            reuse: Reuse::default(),
        }
    }
}

/// How many connections to one address a process may have that may open `descriptors` files. A caller that does not
/// read holds its connection, so thousands of them should leave others one without a wait.
pub(super) fn most_connections(descriptors: u64) -> usize {
    usize::try_from(descriptors / 4).map_or(4096, |share| share.clamp(1024, 4096))
}

/// HTTP/1.1 connections to one `host:port`. Cloning shares the pool.
///
/// A connection comes back when the body of its answer was read to the end. A body that is dropped before that closes
/// its connection: HTTP/1 has no other way to cancel a call. An answer that ends before its request closes it, too.
///
/// A request that finds no idle connection waits for a new one or for one that comes back, whichever is there first.
///
/// An app may close an idle connection at the moment when it is used again. A request that failed on a *reused*
/// connection before a byte of it was written is therefore sent again on another one. So is an idempotent request
/// without a body when the connection ended without an answer (RFC 9110, section 9.2.2). Any other request would be
/// lost: it gets a connection that the app will keep for a while yet, or a new one (`keeping`).
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
    /// Of connections in use.
    places: Places,
    /// Turns to make a connection.
    dials: Arc<Semaphore>,
    /// Told when a connection comes back.
    freed: Notify,
    /// Most recently used last.
    idle: Mutex<VecDeque<Idle<B>>>,
    keeping: Keeping,
}

#[derive(Debug)]
struct Connection<B> {
    sender: http1::SendRequest<Sending<B>>,
    task: AbortHandle,
    watch: Watch,
    made: Instant,
    /// How many requests it got.
    calls: u32,
    /// What was wrong with an answer that could not be read.
    wrong: oneshot::Receiver<String>,
}

impl<B> H1Pool<B>
where
    B: Body<Data = Bytes> + Default + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// A pool without connections; the first call makes one. `tasks` owns the connections.
    pub fn new(address: impl Into<String>, config: H1Config, tasks: Tasks) -> Self {
        let places = Places::new(config.max_connections, config.max_waiting, config.wait_timeout);
        let dials = Arc::new(Semaphore::new(config.max_connections));
        Self(Arc::new(Pool {
            address: address.into(),
            config,
            tasks,
            places,
            dials,
            freed: Notify::new(),
            idle: Mutex::default(),
            keeping: Keeping::new(),
        }))
    }

    /// The origin, `host:port`.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Sends a request and waits for the head of the answer. The URI is the request target (path and query),
    /// and a `Host` header must be there. A [`RawTarget`] among the extensions goes out in place of the URI.
    pub async fn send(&self, request: Request<B>) -> Result<Response<PooledBody<B>>, ClientError> {
        let mut request = self.0.through_proxy(request);
        let target = request.extensions_mut().remove::<RawTarget>();
        let is_repeatable = is_repeatable(&request);
        loop {
            let mut lease = self.lease(is_repeatable).await?;
            // A new connection cannot have been idle for too long, so no copy is made for it.
            let again = (is_repeatable && lease.idle.is_some()).then(|| copy(&request));
            let target = target.as_ref().and_then(|target| target.start_of(&request));
            lease.connection.watch.begin(target);
            lease.begin(request.headers_mut());
            let (watched, sent) = Sending::watch(request);
            let mut error = match lease.connection.sender.try_send_request(watched).await {
                Ok(answer) => return lease.accept(answer, sent),
                Err(error) => error,
            };
            let unsent = error
                .take_message()
                .map(|request| request.map(Sending::into_inner));
            let was_unsent = unsent.is_some();
            let error = ClientError::from_hyper(error.into_error(), was_unsent);
            let is_over = matches!(error.kind(), ErrorKind::Closed | ErrorKind::Reset);
            if let Some(idle) = lease.idle.filter(|_| is_over) {
                self.0.keeping.was_closed(idle);
            }
            // Each turn uses up an idle connection, so the turns end. A new connection gets one attempt: its failure
            // is the app's.
            match (unsent, again) {
                (Some(unsent), _) if lease.idle.is_some() => request = unsent,
                (None, Some(again)) if is_over => request = again,
                _ => return Err(lease.explain(error).await),
            }
        }
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn dial(self: &Arc<Self>) -> Result<Connection<B>, ClientError> {
        let (tls, limit) = (self.config.tls.as_ref(), self.config.connect_timeout);
        let socket = match &self.config.unix {
            Some(path) => connect_unix(path, &self.address, tls, limit).await,
            None => connect_origin(&self.address, tls, self.config.proxy.as_ref(), limit).await,
        };
        let socket = socket.map_err(ClientError::connect)?;
        let (line, watch) = line::share(socket);
        let mut builder = http1::Builder::new();
        builder
            // Go's client writes names like this, so apps behind Dapr know no others.
            .title_case_headers(true)
            .max_header_size(self.config.max_header_bytes)
            .max_buf_size(self.config.max_header_bytes.max(self.places.buffer()))
            // Go's client reads both forms, so apps get away with them. Neither is ambiguous in an answer: RFC 9112,
            // sections 5.1 and 5.2, tell a proxy how to mend them.
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true);
        let (sender, mut connection) = builder
            .handshake(TokioIo::new(line))
            .await
            .map_err(|error| ClientError::from_hyper(error, true))?;
        let (tell, wrong) = oneshot::channel();
        // Weak: a connection that is idle must not keep alive a pool that nobody uses.
        let (pool, idle) = (Arc::downgrade(self), watch.clone());
        // The task of each connection also closes idle ones that are too old. No call is needed for that.
        let pause = self.config.idle_timeout / 8;
        let soon = self.config.surplus_timeout;
        let task = self.tasks.spawn(async move {
            let mut look = pin!(sleep(soon));
            let ended = poll_fn(|cx| {
                while look.as_mut().poll(cx).is_ready() {
                    let mut pause = pause;
                    if let Some(pool) = pool.upgrade() {
                        pool.drop_unused(&idle);
                        pool.sweep();
                        pause = pool.config.reuse.max_age().map_or(pause, |age| pause.min(age));
                    }
                    look.as_mut().reset(Instant::now() + pause);
                }
                connection.poll_without_shutdown(cx)
            })
            .await;
            if let Err(error) = &ended {
                tracing::trace!("connection to the app ended: {error}");
            }
            if let Some(pool) = pool.upgrade() {
                pool.forget(&idle);
            }
            let parts = connection.into_parts();
            // hyper does not say what it could not read. The bytes that it left unread do.
            if let Some(what) = form::wrong(&parts.read_buf) {
                let _ = tell.send(what);
            } else if ended.is_ok() {
                let _ = parts.io.into_inner().shutdown().await;
            }
        });
        self.places.add(&watch, task.clone());
        Ok(Connection {
            sender,
            task,
            watch,
            made: Instant::now(),
            calls: 0,
            wrong,
        })
    }
}

/// Whether a request may be sent twice: nothing is lost and nothing is done twice. The methods are those that Go's client
/// repeats. PUT and DELETE are idempotent, too (RFC 9110, section 9.2.2), but apps behind Dapr never saw them repeated.
fn is_repeatable<B: Body>(request: &Request<B>) -> bool {
    let is_idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    );
    is_idempotent && request.body().is_end_stream()
}

/// A copy of a request without a body.
fn copy<B: Default>(request: &Request<B>) -> Request<B> {
    let mut copy = Request::new(B::default());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

impl<B> Pool<B> {
    /// The request as a proxy wants it that is asked for an address in clear text: with the whole address, and with who
    /// we are (RFC 9112, section 3.2.2; RFC 9110, section 11.7.2).
    fn through_proxy(&self, mut request: Request<B>) -> Request<B> {
        let Some(proxy) = &self.config.proxy else {
            return request;
        };
        if self.config.tls.is_some() || !proxy.takes_requests() {
            return request;
        }
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        let host = request.headers().get(http::header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or(&self.address);
        parts.authority = host.parse().ok();
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        if let Some(authorization) = proxy.authorization() {
            let headers = request.headers_mut();
            headers.insert(http::header::PROXY_AUTHORIZATION, authorization.clone());
        }
        request
    }
}

impl<B> Lease<B> {
    /// One more request goes out. An app that is told that it is the last one closes the connection by itself, and its
    /// end of it is the one that the system remembers for a while (`TIME_WAIT`).
    fn begin(&mut self, headers: &mut HeaderMap) {
        self.connection.calls = self.connection.calls.saturating_add(1);
        if self.is_last_call() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else if self.pool.config.reuse.is_bounded() {
            // The request may have been meant for another connection before.
            headers.remove(header::CONNECTION);
        }
    }

    fn is_last_call(&self) -> bool {
        self.pool.is_over(&self.connection)
    }

    /// Takes an answer, unless its framing is not what it says.
    fn accept(self, answer: Response<Incoming>, sent: Sent) -> Result<Response<PooledBody<B>>, ClientError> {
        if let Some(what) = framing::refused(&answer) {
            self.connection.task.abort();
            return Err(ClientError::malformed(what, None));
        }
        self.pool.keeping.hear(answer.headers());
        let is_last = framing::is_last(&answer);
        Ok(answer.map(|body| PooledBody::new(body, self, sent, is_last)))
    }

    /// Says what is wrong with an answer that could not be read.
    async fn explain(self, error: ClientError) -> ClientError {
        let is_wanted: fn(&str) -> bool = match error.kind() {
            ErrorKind::Malformed if !error.is_of_framing() => |_| true,
            ErrorKind::HeadTooLarge => |what| what == form::TOO_MANY,
            _ => return error,
        };
        // The connection ends with such an answer, so this does not take long.
        match self.connection.wrong.await {
            Ok(what) if is_wanted(&what) => ClientError::malformed(what, Some(error)),
            _ => error,
        }
    }

    fn give_back(self, sent: &Sent, is_last: bool) {
        let is_last = is_last || self.is_last_call();
        // Held to the end of this: were the place free before the connection is idle, the next call would make a new
        // one.
        let _place = self.place.end();
        if !sent.is_over() {
            // Whoever came next would wait until the rest of the request is gone.
            self.connection.task.abort();
        } else if !is_last && !self.connection.sender.is_closed() {
            self.pool.put_idle(self.connection);
        }
    }
}

/// Doors for the fuzz targets.
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz {
    pub(crate) use super::form::{mend, wrong};
    pub(crate) use super::keeping::timeout;
}

#[cfg(test)]
mod tests;
