//! One HTTP/2 connection to one origin: apps that speak HTTP/2 in clear text.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use lifecycle::Tasks;

use super::error::ClientError;
use super::h2::{CountedBody, Destination, H2Pool, H2PoolConfig, PeerKey};
use super::reuse::Reuse;
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
        Self::reusing(address, None, Reuse::default(), tasks)
    }

    /// The same with connections that are used again for as long as `reuse` says, and over TLS if it is said how. The
    /// origin must agree to HTTP/2.
    pub fn reusing(address: &str, tls: Option<&OriginTls>, reuse: Reuse, tasks: Tasks) -> Self {
        // No pings: an app need not answer them.
        let config = H2PoolConfig {
            keep_alive: None,
            idle_timeout: Some(IDLE),
            reuse,
            ..H2PoolConfig::default()
        };
        let Some(tls) = tls else {
            return Self::of(config, PeerKey::new(address), tasks);
        };
        let of_tls = Arc::clone(tls.config());
        let config = H2PoolConfig {
            tls: Some(ClientTls::new(move |_| Arc::clone(&of_tls))),
            ..config
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
