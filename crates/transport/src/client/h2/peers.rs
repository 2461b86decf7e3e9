//! The peers that a pool knows.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::peer::Peer;
use super::{PeerKey, Purged, Wait};
use crate::client::error::ClientError;
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

type Known = HashMap<PeerKey, Arc<Peer>>;

/// A bounded number of peers by their keys.
#[derive(Debug)]
pub(super) struct Peers {
    known: RwLock<Known>,
    most: usize,
}

impl Peers {
    pub(super) fn new(most: usize) -> Self {
        Self {
            known: RwLock::default(),
            most,
        }
    }

    /// The peer of this key. One that is not known takes the place of one without calls when there is no other.
    pub(super) fn get(&self, key: &PeerKey) -> Result<Arc<Peer>, ClientError> {
        if let Some(peer) = self.read().get(key) {
            return Ok(Arc::clone(peer));
        }
        let mut known = self.write();
        // Another call may have added it between the two locks.
        if let Some(peer) = known.get(key) {
            return Ok(Arc::clone(peer));
        }
        // To let an idle peer go costs its next caller a handshake. To refuse this caller would be worse.
        if known.len() >= self.most {
            let mut peers = known.iter();
            let idle = peers.find(|(_, peer)| peer.is_idle()).map(|(key, _)| key.clone());
            match idle {
                Some(idle) => remove(&mut known, &idle),
                None => return Err(ClientError::busy(Wait::TooManyPeers(self.most))),
            }
        }
        let peer = Arc::new(Peer::listed(key.clone()));
        known.insert(key.clone(), Arc::clone(&peer));
        Ok(peer)
    }

    /// Lets connections go that had no call for `max_idle`, and peers that have none left.
    pub(super) fn purge(&self, max_idle: Duration) -> Vec<Purged> {
        let purged = |peer: &Arc<Peer>| {
            let count = peer.purge(max_idle);
            (count > 0).then(|| Purged {
                address: Arc::clone(&peer.key.address),
                count,
            })
        };
        // Calls look peers up under the same lock. Closing connections takes longest, so it is done while they can.
        let purged = self.read().values().filter_map(purged).collect();
        // Looked at once more under the lock that adds peers: a call may have found one in between.
        self.write().retain(|_, peer| {
            let is_in_use = peer.is_in_use();
            if !is_in_use {
                peer.let_go();
            }
            is_in_use
        });
        purged
    }

    /// Forgets a peer and its connections; calls on them go on.
    pub(super) fn let_go(&self, key: &PeerKey) {
        remove(&mut self.write(), key);
    }

    pub(super) fn let_all_go(&self) {
        for (_, peer) in self.write().drain() {
            peer.let_go();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.read().len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(known: &mut Known, key: &PeerKey) {
    if let Some(peer) = known.remove(key) {
        peer.let_go();
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;
