//! A pool of HTTP/2 connections to many peers.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lifecycle::Tasks;
use tokio::time::Instant;

use super::connect::connect;
use super::error::ClientError;
use crate::BoxError;

/// Which peer: its address, and the identity that it must prove on connections that prove one. Connections are
/// never shared between identities.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// `host:port`.
    pub address: Arc<str>,
    /// The identity expected of the peer.
    pub identity: Option<Arc<str>>,
}

impl PeerKey {
    /// A peer that proves nothing.
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Self {
            address: address.into(),
            identity: None,
        }
    }
}

/// The bounds of a pool.
#[derive(Clone, Debug)]
pub struct H2PoolConfig {
    /// How many calls one connection carries before a second one is made.
    pub max_users: usize,
    /// How many peers are known at once; beyond, one without calls is let go.
    pub max_peers: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// A ping after so long without traffic, and how long its answer may take.
    pub keep_alive: Option<(Duration, Duration)>,
    /// How many bytes of one stream may be on the way unread.
    pub stream_window: u32,
    /// How many bytes of all streams together may be on the way unread. Large, so that readers that lag do not
    /// stop their neighbours on the connection.
    pub connection_window: u32,
    /// The longest header list that is accepted, in bytes.
    pub max_header_list: u32,
}

impl Default for H2PoolConfig {
    fn default() -> Self {
        Self {
            max_users: 2048,
            max_peers: 4096,
            connect_timeout: Duration::from_secs(20),
            keep_alive: Some((Duration::from_secs(10), Duration::from_secs(5))),
            stream_window: 256 * 1024,
            connection_window: 64 * 1024 * 1024,
            max_header_list: 4 * 1024 * 1024,
        }
    }
}

/// Connections that a purge closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purged {
    /// The peer.
    pub address: Arc<str>,
    /// How many connections.
    pub count: usize,
}

/// HTTP/2 connections to many peers, one per peer as long as that is enough.
#[derive(Debug)]
pub struct H2Pool<B> {
    config: H2PoolConfig,
    tasks: Tasks,
    peers: RwLock<HashMap<PeerKey, Arc<Peer<B>>>>,
}

#[derive(Debug)]
struct Peer<B> {
    connections: RwLock<Vec<Arc<Connection<B>>>>,
    /// Held while a connection is made, so that concurrent callers share it.
    dialling: tokio::sync::Mutex<()>,
}

impl<B> Default for Peer<B> {
    fn default() -> Self {
        Self {
            connections: RwLock::default(),
            dialling: tokio::sync::Mutex::default(),
        }
    }
}

#[derive(Debug)]
struct Connection<B> {
    sender: http2::SendRequest<B>,
    usage: Arc<Usage>,
}

#[derive(Debug)]
struct Usage {
    epoch: Instant,
    users: AtomicUsize,
    /// Milliseconds after `epoch` at which the last user left.
    idle_since: AtomicU64,
}

/// One call on a connection.
#[derive(Debug)]
struct User(Arc<Usage>);

impl User {
    /// A place on the connection, if it has one left.
    fn enter(usage: &Arc<Usage>, limit: usize) -> Option<Self> {
        let entered = usage
            .users
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| {
                (n < limit).then_some(n + 1)
            });
        entered.is_ok().then(|| Self(Arc::clone(usage)))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0
            .idle_since
            .store(self.0.epoch.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<B> H2Pool<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// A pool without connections; calls make them. `tasks` owns the connections.
    pub fn new(config: H2PoolConfig, tasks: Tasks) -> Self {
        Self {
            config,
            tasks,
            peers: RwLock::default(),
        }
    }

    /// Sends a request and waits for the head of the answer. The URI must be absolute.
    ///
    /// A request that comes back unsent because its connection had just ended goes out on a new one.
    pub async fn send(
        &self,
        key: &PeerKey,
        request: Request<B>,
    ) -> Result<Response<CountedBody>, ClientError> {
        let peer = self.peer(key);
        let mut request = request;
        let mut is_retry = false;
        loop {
            let (connection, user) = self.connection(&peer, key).await?;
            let mut error = match connection.sender.clone().try_send_request(request).await {
                Ok(answer) => {
                    return Ok(answer.map(|body| CountedBody {
                        body,
                        user: Some(user),
                    }));
                }
                Err(error) => error,
            };
            let unsent = error.take_message();
            let was_unsent = unsent.is_some();
            let error = ClientError::from_hyper(error.into_error(), was_unsent);
            match unsent {
                Some(unsent) if !is_retry => {
                    peer.forget(&connection);
                    request = unsent;
                    is_retry = true;
                }
                _ => return Err(error),
            }
        }
    }

    /// Closes connections that had no call for `max_idle`.
    pub fn purge(&self, max_idle: Duration) -> Vec<Purged> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let purged = peers.iter().filter_map(|(key, peer)| {
            let count = peer.purge(max_idle);
            (count > 0).then(|| Purged {
                address: Arc::clone(&key.address),
                count,
            })
        });
        let purged = purged.collect();
        drop(peers);
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, peer| peer.is_in_use());
        purged
    }

    /// Lets go of the connections to a peer; calls on them go on.
    pub fn close(&self, key: &PeerKey) {
        self.peers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    fn peer(&self, key: &PeerKey) -> Arc<Peer<B>> {
        if let Some(peer) = self.peers.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Arc::clone(peer);
        }
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= self.config.max_peers {
            let idle = peers
                .iter()
                .find(|(_, peer)| !peer.has_calls())
                .map(|(key, _)| key.clone());
            if let Some(idle) = idle {
                peers.remove(&idle);
            }
        }
        Arc::clone(peers.entry(key.clone()).or_default())
    }

    async fn connection(
        &self,
        peer: &Peer<B>,
        key: &PeerKey,
    ) -> Result<(Arc<Connection<B>>, User), ClientError> {
        if let Some(found) = peer.free(self.config.max_users) {
            return Ok(found);
        }
        let _dialling = peer.dialling.lock().await;
        if let Some(found) = peer.free(self.config.max_users) {
            return Ok(found);
        }
        let connection = Arc::new(self.dial(&key.address).await?);
        peer.keep(&connection);
        let user = User::enter(&connection.usage, usize::MAX);
        #[expect(clippy::expect_used, reason = "there is no limit to reach")]
        Ok((connection, user.expect("no limit")))
    }

    async fn dial(&self, address: &str) -> Result<Connection<B>, ClientError> {
        let socket = connect(address, self.config.connect_timeout)
            .await
            .map_err(ClientError::connect)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(self.config.stream_window)
            .initial_connection_window_size(self.config.connection_window)
            .max_header_list_size(self.config.max_header_list)
            .max_frame_size(64 * 1024)
            .max_send_buf_size(128 * 1024)
            .initial_max_send_streams(self.config.max_users);
        if let Some((interval, patience)) = self.config.keep_alive {
            builder
                .keep_alive_interval(interval)
                .keep_alive_timeout(patience)
                .keep_alive_while_idle(true);
        }
        let (sender, connection) = builder
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| ClientError::from_hyper(error, true))?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(target: "dapr.runtime.grpc.manager", "connection ended: {error}");
            }
        });
        let usage = Usage {
            epoch: Instant::now(),
            users: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
        };
        Ok(Connection {
            sender,
            usage: Arc::new(usage),
        })
    }
}

impl<B> Peer<B> {
    /// A connection with a free place.
    fn free(&self, max_users: usize) -> Option<(Arc<Connection<B>>, User)> {
        let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
        connections
            .iter()
            .filter(|connection| !connection.sender.is_closed())
            .find_map(|connection| {
                User::enter(&connection.usage, max_users).map(|user| (Arc::clone(connection), user))
            })
    }

    fn keep(&self, connection: &Arc<Connection<B>>) {
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|known| !known.sender.is_closed());
        connections.push(Arc::clone(connection));
    }

    fn forget(&self, connection: &Arc<Connection<B>>) {
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|known| !Arc::ptr_eq(known, connection));
    }

    fn purge(&self, max_idle: Duration) -> usize {
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        let before = connections.len();
        connections.retain(|connection| {
            let usage = &connection.usage;
            let idle = usage.epoch.elapsed().as_millis() as u64 - usage.idle_since.load(Ordering::Relaxed);
            usage.users.load(Ordering::Acquire) > 0 || idle < max_idle.as_millis() as u64
        });
        before - connections.len()
    }

    fn has_calls(&self) -> bool {
        let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
        connections
            .iter()
            .any(|connection| connection.usage.users.load(Ordering::Relaxed) > 0)
    }

    fn is_in_use(&self) -> bool {
        !self
            .connections
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
            || self.dialling.try_lock().is_err()
    }
}

/// The body of an answer; the call counts as one on its connection until it ends or is dropped.
#[derive(Debug)]
pub struct CountedBody {
    body: Incoming,
    user: Option<User>,
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.user = None;
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
