//! Endpoints of apps and the one balancer that picks from them, whatever resolver found them.

mod directory;
mod slots;

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

pub use directory::{Directory, DirectorySettings, Picked};
pub use slots::InFlight;

use crate::error::ResolveError;

/// The internal gRPC address of one sidecar.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    address: Arc<str>,
}

impl Endpoint {
    /// An endpoint at `host:port`; an IPv6 address stands in brackets.
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Self {
            address: address.into(),
        }
    }

    /// The address, `host:port`.
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// What a resolver knows of an app at the moment.
#[derive(Clone, Debug, Default)]
pub enum Resolution {
    /// Nothing yet.
    #[default]
    Pending,
    /// The endpoints; never an empty list.
    Endpoints(Arc<[Endpoint]>),
    /// The app was not found, or nobody could tell. The next call asks anew.
    Failed(ResolveError),
}

/// A resolver's view of one app, kept up to date.
pub type EndpointWatch = watch::Receiver<Resolution>;

/// Tells who watches an app which endpoints it has. Nobody is woken when these are known already.
pub fn publish(watcher: &watch::Sender<Resolution>, endpoints: Arc<[Endpoint]>) {
    watcher.send_if_modified(|resolution| {
        let is_known = matches!(resolution, Resolution::Endpoints(known) if *known == endpoints);
        if !is_known {
            *resolution = Resolution::Endpoints(endpoints);
        }
        !is_known
    });
}
