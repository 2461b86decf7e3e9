//! Clients that keep their connections.
//!
//! [`H2Pool`] speaks HTTP/2 to many peers, [`H1Pool`] HTTP/1.1 and [`H2Origin`] HTTP/2 to one origin. All of
//! them tell by [`ClientError::seen`] whether the other side may have begun to act on a call that failed.

mod connect;
mod error;
mod h1;
mod h2;
mod origin;
mod proxy;
mod race;
mod reuse;

#[cfg(feature = "fuzz")]
pub(crate) use h1::fuzz;

#[cfg(test)]
pub(crate) use connect::connect_origin;
pub use connect::{ConnectError, probe};
pub use error::{ClientError, Delivery, ErrorKind};
pub use h1::{AnswerError, H1Config, H1Pool, PooledBody, RawTarget};
pub use h2::{CountedBody, Destination, H2Pool, H2PoolConfig, PeerKey, Purged};
pub use origin::H2Origin;
pub use proxy::{Proxies, Proxy, ProxyError};
pub use reuse::Reuse;
