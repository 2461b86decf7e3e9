//! A peer that is looked up once.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::PeerKey;
use super::peer::Peer;
use super::peers::Peers;
use crate::client::error::ClientError;

/// A peer of a pool, and the connections that the pool has to it. Whoever calls the same peer again and again keeps one
/// and spares each call the search.
///
/// It does not count as a use: the pool lets the connections go as if there were none, and the next call finds the
/// peer anew.
#[derive(Debug)]
pub struct Destination {
    peers: Arc<Peers>,
    peer: ArcSwap<Peer>,
}

impl Destination {
    /// The search is left to the first call.
    pub(super) fn new(peers: Arc<Peers>, key: PeerKey) -> Self {
        Self {
            peers,
            peer: ArcSwap::from_pointee(Peer::unlisted(key)),
        }
    }

    /// The peer as the pool knows it now.
    pub(super) fn peer(&self) -> Result<Arc<Peer>, ClientError> {
        let peer = self.peer.load();
        if peer.is_listed() {
            return Ok(Arc::clone(&peer));
        }
        let peer = self.peers.get(&peer.key)?;
        self.peer.store(Arc::clone(&peer));
        Ok(peer)
    }

    pub(super) fn is_among(&self, peers: &Arc<Peers>) -> bool {
        Arc::ptr_eq(&self.peers, peers)
    }
}
