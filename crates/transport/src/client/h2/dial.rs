//! How a connection to a peer is made.

use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http2::{Config, KeepAlive};
use lifecycle::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::peer::{Connection, Peer};
use super::{H2PoolConfig, Wait};
use crate::Socket;
use crate::client::connect::{ConnectError, connect, connect_tls};
use crate::client::reuse::Reuse;
use crate::tls::Withdrawals;

/// Makes connections, and owns them.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) config: H2PoolConfig,
    pub(super) tasks: Tasks,
    /// Of connections that are not used again for ever.
    places: Arc<Semaphore>,
}

/// The place of a connection, if it needs one: of those that are used again for ever there are few.
pub(super) type Place = Option<OwnedSemaphorePermit>;

impl Dialler {
    pub(super) fn new(config: H2PoolConfig, tasks: Tasks) -> Self {
        let places = Arc::new(Semaphore::new(config.max_bounded));
        Self {
            config,
            tasks,
            places,
        }
    }

    /// A place for one more connection, which it has to its end.
    pub(super) async fn place(&self) -> Result<Place, Wait> {
        if !self.config.reuse.is_bounded() {
            return Ok(None);
        }
        let patience = self.config.wait_timeout;
        let entered = timeout(patience, Arc::clone(&self.places).acquire_owned()).await;
        // They are never closed.
        entered
            .ok()
            .and_then(Result::ok)
            .map(Some)
            .ok_or(Wait::NoConnection(patience))
    }

    /// Connects, and begins to speak HTTP/2. Whether the peer does is seen when it answers.
    pub(super) async fn dial(&self, peer: &Arc<Peer>, place: Place) -> Result<Connection, ConnectError> {
        let (key, limit) = (&peer.key, self.config.connect_timeout);
        let Some(identity) = &key.identity else {
            let socket = connect(&key.address, limit).await?;
            return Ok(self.begin(peer, place, Scheme::HTTP, socket, None));
        };
        let tls = self.config.tls.as_ref();
        // Counted before the handshake: what is withdrawn meanwhile concerns it, too.
        let trust = tls.map(|tls| (tls.withdrawals().count(), tls.withdrawals().clone()));
        let socket = connect_tls(&key.address, identity, tls, limit).await?;
        Ok(self.begin(peer, place, Scheme::HTTPS, socket, trust))
    }

    fn begin(
        &self,
        peer: &Arc<Peer>,
        place: Place,
        scheme: Scheme,
        socket: Socket,
        trust: Option<(u64, Withdrawals)>,
    ) -> Connection {
        let config = Config {
            // What was dialled has the form of an authority, but for odd names of hosts.
            origin: Authority::try_from(&*peer.key.address)
                .ok()
                .map(|authority| (scheme, authority)),
            stream_window: self.config.stream_window,
            connection_window: self.config.connection_window,
            budget: Arc::clone(&self.config.budget),
            max_header_list: self.config.max_header_list,
            keep_alive: self.config.keep_alive.map(|(interval, patience)| KeepAlive {
                interval,
                patience,
                // Otherwise the next call would be the one to find out that the peer has vanished.
                while_idle: true,
            }),
            ..Config::default()
        };
        let (sender, connection) = http2::client::connect(socket, config);
        let (peer, max_idle) = (Arc::downgrade(peer), self.config.idle_timeout);
        let reuse = self.config.reuse.clone();
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                biased;
                ended = connection => ended,
                () = purge_now_and_then(peer, max_idle, reuse) => Ok(()),
            };
            if let Err(error) = ended {
                tracing::trace!("connection ended: {error}");
            }
            drop(place);
        });
        Connection::new(sender, trust, self.config.reuse.clone())
    }
}

/// Lets connections without a call go, although nobody calls. Those end by themselves then.
async fn purge_now_and_then(peer: Weak<Peer>, max_idle: Option<Duration>, reuse: Reuse) {
    let Some(max_idle) = max_idle else {
        return pending().await;
    };
    loop {
        let pause = max_idle / 8;
        sleep(reuse.max_age().map_or(pause, |age| pause.min(age))).await;
        match peer.upgrade() {
            Some(peer) => peer.purge(max_idle),
            None => return pending().await,
        };
    }
}
