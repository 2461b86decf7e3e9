//! A pool of HTTP/2 connections to many peers.

mod greeting;
mod peer;

use std::collections::HashMap;
use std::pin::Pin;
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

use self::greeting::Greeting;
use self::peer::{Connection, Peer, User};
use super::connect::{ConnectError, connect, connect_tls};
use super::error::ClientError;
use crate::tls::ClientTls;
use crate::{BoxError, Socket};

/// How many calls go out on a connection before the peer has told how many it takes; the others wait for that.
/// Peers should take no fewer (RFC 9113, section 6.5.2), and refuse what goes beyond their limit.
const STREAMS_BEFORE_SETTINGS: usize = 100;

/// Which peer: its address, and the identity that it must prove on connections that prove one. Connections are
/// never shared between identities.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// `host:port`.
    pub address: Arc<str>,
    /// The identity expected of the peer. With one, the connection is secured by [`H2PoolConfig::tls`].
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
    /// How connections to peers that must prove an identity are secured.
    pub tls: Option<ClientTls>,
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
            tls: None,
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
            let error = ClientError::from_hyper(error.into_error(), was_unsent)
                .on_connection(connection.is_greeted());
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

    /// Makes a connection if there is none, so that time limits of calls need not cover that.
    pub async fn connect(&self, key: &PeerKey) -> Result<(), ClientError> {
        self.connection(&self.peer(key), key).await.map(drop)
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
        match peer.free(self.config.max_users) {
            Some(found) => Ok(found),
            // Rare, and large: a call must not carry room for it.
            None => Box::pin(self.another(peer, key)).await,
        }
    }

    /// One more connection, which callers that wait for one share.
    async fn another(
        &self,
        peer: &Peer<B>,
        key: &PeerKey,
    ) -> Result<(Arc<Connection<B>>, User), ClientError> {
        let failures = peer.failures();
        let mut last_failure = peer.dialling.lock().await;
        if let Some(found) = peer.free(self.config.max_users) {
            return Ok(found);
        }
        if let Some(error) = last_failure.as_ref().and_then(|failure| failure.after(failures)) {
            return Err(ClientError::connect(error));
        }
        let socket = match self.dial(key).await {
            Ok(socket) => socket,
            Err(error) => {
                peer.failed(&mut last_failure, &error);
                return Err(ClientError::connect(error));
            }
        };
        let connection = Arc::new(self.handshake(socket).await?);
        peer.keep(&connection);
        let user = User::enter(&connection.usage, usize::MAX);
        #[expect(clippy::expect_used, reason = "there is no limit to reach")]
        Ok((connection, user.expect("no limit")))
    }

    async fn dial(&self, key: &PeerKey) -> Result<Socket, ConnectError> {
        let limit = self.config.connect_timeout;
        match &key.identity {
            None => connect(&key.address, limit).await,
            Some(identity) => connect_tls(&key.address, identity, self.config.tls.as_ref(), limit).await,
        }
    }

    async fn handshake(&self, socket: Socket) -> Result<Connection<B>, ClientError> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(self.config.stream_window)
            .initial_connection_window_size(self.config.connection_window)
            .max_header_list_size(self.config.max_header_list)
            .max_frame_size(64 * 1024)
            .max_send_buf_size(128 * 1024)
            .initial_max_send_streams(self.config.max_users.min(STREAMS_BEFORE_SETTINGS));
        if let Some((interval, patience)) = self.config.keep_alive {
            builder
                .keep_alive_interval(interval)
                .keep_alive_timeout(patience)
                .keep_alive_while_idle(true);
        }
        let (socket, is_greeted) = Greeting::await_on(socket);
        let (sender, connection) = builder
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| ClientError::from_hyper(error, true))?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(target: "dapr.runtime.grpc.manager", "connection ended: {error}");
            }
        });
        Ok(Connection::new(sender, is_greeted))
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
