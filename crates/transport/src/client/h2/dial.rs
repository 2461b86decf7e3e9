//! How a connection to a peer is made.

use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http2::client::Sender;
use http2::{Config, KeepAlive};
use lifecycle::Tasks;
use tokio::time::sleep;

use super::H2PoolConfig;
use super::peer::{Connection, Peer};
use crate::Socket;
use crate::client::connect::{ConnectError, connect, connect_tls};

/// Makes connections, and owns them.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) config: H2PoolConfig,
    pub(super) tasks: Tasks,
}

impl Dialler {
    /// Connects, and begins to speak HTTP/2. Whether the peer does is seen when it answers.
    pub(super) async fn dial(&self, peer: &Arc<Peer>) -> Result<Connection, ConnectError> {
        let (key, limit) = (&peer.key, self.config.connect_timeout);
        let Some(identity) = &key.identity else {
            let socket = connect(&key.address, limit).await?;
            return Ok(Connection::new(self.begin(peer, Scheme::HTTP, socket), None));
        };
        let tls = self.config.tls.as_ref();
        // Counted before the handshake: what is withdrawn meanwhile concerns it, too.
        let trust = tls.map(|tls| (tls.withdrawals().count(), tls.withdrawals().clone()));
        let socket = connect_tls(&key.address, identity, tls, limit).await?;
        Ok(Connection::new(self.begin(peer, Scheme::HTTPS, socket), trust))
    }

    fn begin(&self, peer: &Arc<Peer>, scheme: Scheme, socket: Socket) -> Sender {
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
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                biased;
                ended = connection => ended,
                () = purge_now_and_then(peer, max_idle) => Ok(()),
            };
            if let Err(error) = ended {
                tracing::trace!("connection ended: {error}");
            }
        });
        sender
    }
}

/// Lets connections without a call go, although nobody calls. Those end by themselves then.
async fn purge_now_and_then(peer: Weak<Peer>, max_idle: Option<Duration>) {
    let Some(max_idle) = max_idle else {
        return pending().await;
    };
    loop {
        sleep(max_idle / 8).await;
        match peer.upgrade() {
            Some(peer) => peer.purge(max_idle),
            None => return pending().await,
        };
    }
}
