//! A pool of HTTP/2 connections to many peers.

mod destination;
mod dial;
mod peer;
mod peers;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http2::client::{Call, Opened};
use http2::{Budget, RecvBody};
use lifecycle::Tasks;
use thiserror::Error;
use tokio::time::Instant;

pub use self::destination::Destination;
use self::dial::Dialler;
use self::peer::{Connection, MOST_CONNECTIONS, Peer, User};
use self::peers::Peers;
use super::error::{ClientError, ErrorKind};
use super::h1::most_connections;
use super::reuse::Reuse;
use crate::BoxError;
use crate::descriptors::Descriptors;
use crate::tls::ClientTls;

/// What the streams to all peers of a pool may hold together, in bytes.
const STREAMS: usize = 48 << 20;
/// How often a call that the peer certainly did nothing for is sent again.
const MOST_RESENT: u32 = 3;
/// The same for calls that a peer refuses which carries as many as it takes: some count calls for a moment that are
/// over. Each time the call waits for its turn.
const MOST_TURNS: u32 = 30;
/// The pause before a call goes out again that was refused twice; it grows fourfold.
const PAUSE: Duration = Duration::from_millis(10);

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
    /// How many connections to one peer share the work when there are many calls: the threads that there are to do it.
    pub max_spread: usize,
    /// A connection that carries as many calls as the peer takes, none of which ended for so long, is not waited for:
    /// they may go on for ever. Short calls are waited for, as the peer wants it.
    pub patience: Duration,
    /// How long a call waits until the peer takes one more stream.
    pub wait_timeout: Duration,
    /// How many peers are known at once; beyond, one without calls is let go. When all have calls no further one is
    /// called.
    pub max_peers: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a connection may be without a call; `None` if [`H2Pool::purge`] looks after that.
    pub idle_timeout: Option<Duration>,
    /// A ping after so long without traffic, and how long its answer may take.
    pub keep_alive: Option<(Duration, Duration)>,
    /// How many bytes of one stream may be on the way unread.
    pub stream_window: u32,
    /// How many bytes of all streams of a connection may be on the way to this side.
    pub connection_window: u32,
    /// What the streams of all connections of the pool may hold together.
    pub budget: Arc<Budget>,
    /// The longest header list that is accepted, in bytes.
    pub max_header_list: u32,
    /// How connections to peers that must prove an identity are secured.
    pub tls: Option<ClientTls>,
    /// For how long connections are used again.
    pub reuse: Reuse,
    /// How many connections there may be that are not used again for ever; further calls wait until one ends.
    pub max_bounded: usize,
}

impl Default for H2PoolConfig {
    fn default() -> Self {
        Self {
            max_users: 2048,
            max_spread: workers().min(MOST_CONNECTIONS),
            patience: Duration::from_secs(1),
            wait_timeout: Duration::from_secs(300),
            max_peers: 4096,
            connect_timeout: Duration::from_secs(20),
            idle_timeout: None,
            keep_alive: Some((Duration::from_secs(10), Duration::from_secs(5))),
            stream_window: 256 * 1024,
            connection_window: 16 * 1024 * 1024,
            budget: Budget::new(STREAMS),
            max_header_list: 4 * 1024 * 1024,
            tls: None,
            reuse: Reuse::default(),
            max_bounded: most_connections(Descriptors::of_process().limit()),
        }
    }
}

/// How many threads run this task and others.
fn workers() -> usize {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.map_or(1, |runtime| runtime.metrics().num_workers())
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
///
/// A further connection is made when all connections are full, or when streams on which nothing moves hold up the
/// others.
#[derive(Debug)]
pub struct H2Pool {
    dialler: Arc<Dialler>,
    peers: Arc<Peers>,
}

impl H2Pool {
    /// A pool without connections; calls make them. `tasks` owns the connections.
    pub fn new(config: H2PoolConfig, tasks: Tasks) -> Self {
        Self {
            peers: Arc::new(Peers::new(config.max_peers)),
            dialler: Arc::new(Dialler::new(config, tasks)),
        }
    }

    fn config(&self) -> &H2PoolConfig {
        &self.dialler.config
    }

    /// Sends a request and waits for the head of the answer. A URI that is not absolute is one of the peer's.
    ///
    /// A request that the peer certainly did nothing for (its connection had just ended, or the stream was refused)
    /// goes out again, as long as all that went out of its body is still there.
    pub fn send<B>(
        &self,
        key: &PeerKey,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<CountedBody>, ClientError>> + Send
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        self.send_on(self.peers.get(key), request)
    }

    /// The same for a peer that was looked up before.
    pub fn send_to<B>(
        &self,
        destination: &Destination,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<CountedBody>, ClientError>> + Send
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        self.send_on(destination.peer(), request)
    }

    async fn send_on<B>(
        &self,
        peer: Result<Arc<Peer>, ClientError>,
        request: Request<B>,
    ) -> Result<Response<CountedBody>, ClientError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let peer = peer?;
        let mut call = Call::new(request);
        let (mut resent, mut turns, mut is_stuck, mut waits_since) = (0, 0, false, None);
        loop {
            let (connection, user) = self.connection(&peer, is_stuck).await?;
            let opening = open(&connection, &mut call, &peer, self.config(), &mut waits_since);
            let Some(opened) = opening.await? else {
                is_stuck = true;
                continue;
            };
            let answered = match opened {
                Ok(opened) => opened.answer(&mut call).await,
                Err(error) => Err(error),
            };
            let error = match answered {
                Ok(answer) => {
                    return Ok(answer.map(|body| CountedBody {
                        body,
                        user: Some(user),
                    }));
                }
                Err(error) => error,
            };
            let is_refused = error.reset_reason().is_some();
            // A full peer that refuses what it had allowed says "wait": that is no failed attempt. The call keeps its place,
            // or those that come later would overtake it.
            if is_refused && connection.is_crowded() && call.is_unsent() && turns < MOST_TURNS {
                turns += 1;
                continue;
            }
            // A call that pauses, or goes to another connection, takes no place on this one.
            drop(user);
            let is_greeted = connection.sender.is_greeted();
            let error = ClientError::from_http2(error, call.is_unsent()).on_connection(is_greeted);
            // A peer that has sent no SETTINGS may not speak HTTP/2 at all. One more attempt is enough to find out.
            let is_over = resent == if is_greeted { MOST_RESENT } else { 1 };
            if is_over || error.kind() == ErrorKind::RequestBody || !call.is_unsent() {
                return Err(error);
            }
            resent += 1;
            // A connection that ended is no use to others. A peer that refused a stream may be short of something: it
            // gets more time with each attempt.
            if !is_refused {
                peer.forget(&connection);
            } else if resent > 1 {
                Box::pin(tokio::time::sleep(PAUSE * 4_u32.pow(resent - 2))).await;
            }
        }
    }

    /// Looks a peer up for all the calls that will go to it.
    pub fn destination(&self, key: PeerKey) -> Destination {
        Destination::new(Arc::clone(&self.peers), key)
    }

    /// Whether a destination is one of this pool.
    pub fn owns(&self, destination: &Destination) -> bool {
        destination.is_among(&self.peers)
    }

    /// Makes a connection if there is none, so that time limits of calls need not cover that.
    pub async fn connect(&self, key: &PeerKey) -> Result<(), ClientError> {
        let peer = self.peers.get(key)?;
        self.connection(&peer, false).await.map(drop)
    }

    /// Closes connections that had no call for `max_idle`.
    pub fn purge(&self, max_idle: Duration) -> Vec<Purged> {
        self.peers.purge(max_idle)
    }

    /// Lets go of the connections to a peer; calls on them go on.
    pub fn close(&self, key: &PeerKey) {
        self.peers.let_go(key);
    }

    /// A connection for one more call: one that is free, else one to wait for, else another. With `is_stuck` waiting
    /// was in vain.
    async fn connection(
        &self,
        peer: &Arc<Peer>,
        is_stuck: bool,
    ) -> Result<(Arc<Connection>, User), ClientError> {
        if let Some(found) = self.existing(peer, is_stuck) {
            if found.0.is_over() {
                // It ends with its calls.
                peer.forget(&found.0);
            }
            if self.config().max_spread > 1 && peer.is_crowded(&found.0, self.config().max_spread) {
                self.spread(peer);
            }
            return Ok(found);
        }
        // Rare, and large: a call must not carry room for it.
        match Box::pin(self.another(peer, is_stuck)).await {
            // A call that some connection can still carry does not fail because no further one could be made.
            Err(error) => peer.busy(self.config().max_users).ok_or(error),
            found => found,
        }
    }

    /// A connection that is there.
    fn existing(&self, peer: &Peer, is_stuck: bool) -> Option<(Arc<Connection>, User)> {
        let max_users = self.config().max_users;
        peer.free(max_users).or_else(|| {
            let waits = !is_stuck || !peer.may_have_more();
            waits.then(|| peer.busy(max_users))?
        })
    }

    /// Makes one more connection for the calls that come, beside those that there are.
    fn spread(&self, peer: &Arc<Peer>) {
        let Some(turn) = Peer::spread(peer) else {
            return;
        };
        let dialler = Arc::clone(&self.dialler);
        self.dialler.tasks.spawn(async move {
            let Ok(place) = dialler.place().await else {
                return;
            };
            match dialler.dial(&turn.peer(), place).await {
                Ok(connection) => turn.keep(connection),
                // It is not tried again at once.
                Err(_) => tokio::time::sleep(dialler.config.patience).await,
            }
        });
    }

    /// One more connection, which callers that wait for one share.
    async fn another(
        &self,
        peer: &Arc<Peer>,
        is_stuck: bool,
    ) -> Result<(Arc<Connection>, User), ClientError> {
        // Counted before the lock: a failure that came while this call waited for the lock is its failure, too. Otherwise
        // a thousand calls to a dead host would wait for its time-out one after the other.
        let failures = peer.failures();
        let place = self.dialler.place().await.map_err(ClientError::busy)?;
        if self.config().reuse.most_calls() == 1 {
            // Nobody else can use it, so nobody is to wait for it.
            let dialled = self.dialler.dial(peer, place).await;
            return dialled.map(Connection::first_user).map_err(ClientError::connect);
        }
        let mut last_failure = peer.dialling.lock().await;
        if let Some(found) = self.existing(peer, is_stuck) {
            return Ok(found);
        }
        if let Some(error) = last_failure.as_ref().and_then(|failure| failure.after(failures)) {
            return Err(ClientError::connect(error));
        }
        match self.dialler.dial(peer, place).await {
            Ok(connection) => {
                let found = connection.first_user();
                peer.keep(&found.0);
                Ok(found)
            }
            Err(error) => {
                peer.failed(&mut last_failure, &error);
                Err(ClientError::connect(error))
            }
        }
    }
}

impl Drop for H2Pool {
    /// Destinations may be kept for longer.
    fn drop(&mut self) {
        self.peers.let_all_go();
    }
}

/// Why a call does not go out.
#[derive(Clone, Copy, Debug, Error)]
enum Wait {
    #[error("{0} peers are called already")]
    TooManyPeers(usize),
    #[error("the peer took no further stream for {} s", .0.as_secs())]
    TooLong(Duration),
    #[error("no connection was free for {} s", .0.as_secs())]
    NoConnection(Duration),
}

/// Opens a call on a connection, when the peer takes one more; `None` when that may never be and there may be another
/// connection. It may have waited for others before.
async fn open<B>(
    connection: &Connection,
    call: &mut Call<B>,
    peer: &Peer,
    config: &H2PoolConfig,
    waits_since: &mut Option<Instant>,
) -> Result<Option<Result<Opened, http2::Error>>, ClientError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut opening = pin!(connection.sender.open(call));
    if let Poll::Ready(opened) = poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx))).await {
        return Ok(Some(opened));
    }
    // Those that wait are few, and a timer for each call would be dear.
    let patient = async {
        let begun = *waits_since.get_or_insert_with(Instant::now);
        let patience = config.patience.min(config.wait_timeout);
        loop {
            match tokio::time::timeout(patience, opening.as_mut()).await {
                Ok(opened) => return Ok(Some(opened)),
                Err(_) if begun.elapsed() >= config.wait_timeout => {
                    return Err(ClientError::busy(Wait::TooLong(config.wait_timeout)));
                }
                // Another connection may be made, or one that was full may have a place again.
                Err(_)
                    if connection.is_stuck(config.patience)
                        && (peer.may_have_more() || peer.has_place(config.max_users)) =>
                {
                    return Ok(None);
                }
                Err(_) => {}
            }
        }
    };
    Box::pin(patient).await
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
