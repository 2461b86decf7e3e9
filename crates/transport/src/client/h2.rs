//! A pool of HTTP/2 connections to many peers.

mod peer;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http2::client::Call;
use http2::{Config, KeepAlive, RecvBody};
use lifecycle::Tasks;

use self::peer::{Connection, Peer, User};
use super::connect::{ConnectError, connect, connect_tls};
use super::error::{ClientError, ErrorKind};
use crate::tls::ClientTls;
use crate::{BoxError, Socket, reset_reason};

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
pub struct H2Pool {
    config: H2PoolConfig,
    tasks: Tasks,
    peers: RwLock<HashMap<PeerKey, Arc<Peer>>>,
}

impl H2Pool {
    /// A pool without connections; calls make them. `tasks` owns the connections.
    pub fn new(config: H2PoolConfig, tasks: Tasks) -> Self {
        Self {
            config,
            tasks,
            peers: RwLock::default(),
        }
    }

    /// Sends a request and waits for the head of the answer. A URI that is not absolute is one of the peer's.
    ///
    /// A request that comes back unsent because its connection had just ended goes out on a new one.
    pub async fn send<B>(
        &self,
        key: &PeerKey,
        request: Request<B>,
    ) -> Result<Response<CountedBody>, ClientError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let peer = self.peer(key);
        let mut call = Call::new(request);
        let mut is_retry = false;
        loop {
            let (connection, user) = self.connection(&peer, key).await?;
            let error = match connection.sender.send(&mut call).await {
                Ok(answer) => {
                    return Ok(answer.map(|body| CountedBody {
                        body,
                        user: Some(user),
                    }));
                }
                Err(error) => error,
            };
            let error = ClientError::from_http2(error, call.is_unsent())
                .on_connection(connection.sender.is_greeted());
            let is_over = error.kind() == ErrorKind::RequestBody || is_retry;
            if is_over || !call.is_unsent() {
                return Err(error);
            }
            peer.forget(&connection);
            is_retry = true;
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

    fn peer(&self, key: &PeerKey) -> Arc<Peer> {
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

    async fn connection(&self, peer: &Peer, key: &PeerKey) -> Result<(Arc<Connection>, User), ClientError> {
        match peer.free(self.config.max_users) {
            Some(found) => Ok(found),
            // Rare, and large: a call must not carry room for it.
            None => Box::pin(self.another(peer, key)).await,
        }
    }

    /// One more connection, which callers that wait for one share.
    async fn another(&self, peer: &Peer, key: &PeerKey) -> Result<(Arc<Connection>, User), ClientError> {
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
        let connection = Arc::new(self.begin(key, socket));
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

    /// Begins to speak HTTP/2. Whether the peer does is seen when it answers.
    fn begin(&self, key: &PeerKey, socket: Socket) -> Connection {
        let scheme = if key.identity.is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let config = Config {
            // What was dialled has the form of an authority, but for odd names of hosts.
            origin: Authority::try_from(&*key.address)
                .ok()
                .map(|authority| (scheme, authority)),
            stream_window: self.config.stream_window,
            connection_window: self.config.connection_window,
            max_header_list: self.config.max_header_list,
            streams_before_settings: self.config.max_users.min(STREAMS_BEFORE_SETTINGS) as u32,
            keep_alive: self.config.keep_alive.map(|(interval, patience)| KeepAlive {
                interval,
                patience,
                while_idle: true,
            }),
            reset_reason,
            ..Config::default()
        };
        let (sender, connection) = http2::client::connect(socket, config);
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(target: "dapr.runtime.grpc.manager", "connection ended: {error}");
            }
        });
        Connection::new(sender)
    }
}

/// The body of an answer; the call counts as one on its connection until it ends or is dropped.
#[derive(Debug)]
pub struct CountedBody {
    body: RecvBody,
    user: Option<User>,
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = http2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, http2::Error>>> {
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
