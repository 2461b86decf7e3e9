//! One HTTP/2 connection to one origin: apps that speak HTTP/2 in clear text.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use lifecycle::Tasks;

use super::error::ClientError;
use super::h2::{CountedBody, Destination, H2Pool, H2PoolConfig, PeerKey};
use crate::BoxError;
use crate::tls::{ClientTls, OriginTls};

/// How long connections without a call are kept, as clients for Go keep them.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// An HTTP/2 client of one `host:port`, by prior knowledge. Cloning shares the connection.
#[derive(Clone, Debug)]
pub struct H2Origin {
    pool: Arc<H2Pool>,
    origin: Arc<Destination>,
}

impl H2Origin {
    /// A client without a connection; the first call makes one. `tasks` owns it.
    pub fn new(address: &str, tasks: Tasks) -> Self {
        // No pings: an app need not answer them.
        let config = H2PoolConfig {
            keep_alive: None,
            idle_timeout: Some(IDLE),
            ..H2PoolConfig::default()
        };
        Self::of(config, PeerKey::new(address), tasks)
    }

    /// The same over TLS; the origin must agree to HTTP/2.
    pub fn with_tls(address: &str, tls: &OriginTls, tasks: Tasks) -> Self {
        let config = Arc::clone(tls.config());
        let config = H2PoolConfig {
            keep_alive: None,
            idle_timeout: Some(IDLE),
            tls: Some(ClientTls::new(move |_| Arc::clone(&config))),
            ..H2PoolConfig::default()
        };
        let key = PeerKey {
            identity: Some(Arc::from(address)),
            ..PeerKey::new(address)
        };
        Self::of(config, key, tasks)
    }

    fn of(config: H2PoolConfig, key: PeerKey, tasks: Tasks) -> Self {
        let pool = H2Pool::new(config, tasks);
        Self {
            origin: Arc::new(pool.destination(key)),
            pool: Arc::new(pool),
        }
    }

    /// Sends a request and waits for the head of the answer. A URI that is not absolute is one of
    /// the origin's.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<CountedBody>, ClientError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        self.pool.send_to(&self.origin, request).await
    }
}
