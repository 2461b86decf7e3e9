//! Endpoints of apps and the one balancer that picks from them, whatever resolver found them.
//!
//! A resolver gives whole sets to a [`Publisher`], which makes the next immutable set from them and puts it in place
//! with one store; calls [pick](EndpointWatch) from the set that is there. What is known of an endpoint (its load, its
//! failures) belongs to its address and goes on in the next set.

mod affinity;
mod ejections;
mod learnt;
mod pace;
mod pick;
mod preferences;
mod slots;
mod trouble;
mod watch;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use learnt::Learnt;

pub use affinity::Affinity;
pub use ejections::EjectionCounts;
pub use preferences::Preferences;
pub use slots::{EndpointState, InFlight, Picked, Tried};
pub use watch::{EndpointWatch, Endpoints, Publisher, Resolution, watched};

/// The internal gRPC address of one sidecar, with what its resolver knows of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    address: Arc<str>,
    weight: NonZeroU32,
    zone: Option<Arc<str>>,
    learnt: Learnt,
}

impl Endpoint {
    /// An endpoint at `host:port`, of weight 1 and in no zone; an IPv6 address stands in brackets.
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        Self {
            address: address.into(),
            weight: NonZeroU32::MIN,
            zone: None,
            learnt: Learnt::default(),
        }
    }

    /// Gives it a share of the calls that is so many times that of an endpoint of weight 1.
    #[must_use]
    pub fn with_weight(mut self, weight: NonZeroU32) -> Self {
        self.weight = weight;
        self
    }

    /// Names the zone that it is in.
    #[must_use]
    pub fn in_zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// The address, `host:port`.
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Its share of the calls.
    pub fn weight(&self) -> NonZeroU32 {
        self.weight
    }

    /// The zone that it is in, if the resolver knows of zones.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The longest message of a stream that the sidecar there takes, in bytes, as its last answer told; `None` while
    /// there was no answer.
    pub fn longest_message(&self) -> Option<usize> {
        self.learnt.longest_message()
    }

    /// Keeps what an answer told about messages; `None` for a sidecar that turned out not to know streams.
    pub fn set_longest_message(&self, bytes: Option<usize>) {
        self.learnt.set_longest_message(bytes);
    }

    /// What the client that calls the sidecar there keeps for all its calls, such as the connections to it; `make` makes
    /// it for the first one. It lives as long as a copy of the endpoint, whatever the resolver says of it anew. `None`
    /// when something of another type is kept: then two clients share the endpoint, and one must do without.
    pub fn kept<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.learnt.kept(make)
    }

    /// The same address, of which the resolver says something new: what was learnt about it goes on.
    fn renewed(&self, endpoint: Self) -> Self {
        Self {
            learnt: self.learnt.clone(),
            ..endpoint
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}
