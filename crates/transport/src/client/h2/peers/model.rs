//! Calls that look for peers while others are let go, in many orders. Threads, since nothing here waits but for locks.

use std::sync::Arc;

use http2::client;
use schedules::explore;
use shuttle::thread;

use super::super::peer::{Connection, User};
use super::*;
use crate::client::reuse::Reuse;

const SCHEDULES: usize = 1000;

fn key(address: &str) -> PeerKey {
    PeerKey::new(address.to_owned())
}

/// A connection, and its task, which never runs: without it the connection would be over.
fn connection() -> (Arc<Connection>, impl Sized) {
    let (io, other) = tokio::io::duplex(64);
    let (sender, task) = client::connect(io, http2::Config::default());
    (
        Arc::new(Connection::new(sender, None, Reuse::default())),
        (task, other),
    )
}

/// A call to a peer: it finds it, makes a connection to it, and is over at once.
fn calls(peers: &Arc<Peers>, address: &'static str) -> thread::JoinHandle<Option<Arc<Peer>>> {
    let peers = Arc::clone(peers);
    thread::spawn(move || {
        let peer = peers.get(&key(address)).ok()?;
        let (connection, _task) = connection();
        peer.keep(&connection);
        if let Some((connection, user)) = peer.free(1) {
            assert!(
                User::enter(&connection.usage, 1).is_none(),
                "two calls have one place"
            );
            drop(user);
        }
        Some(peer)
    })
}

/// A peer that the pool let go keeps no connection, whoever made one to it meanwhile: nobody would close it. Of peers that the
/// pool knows there are never too many, and each is known once.
#[test]
fn a_peer_that_was_let_go_keeps_no_connection() {
    explore(SCHEDULES, || {
        let peers = Arc::new(Peers::new(1));
        let callers = ["a", "b", "a"].map(|address| calls(&peers, address));
        let purging = thread::spawn({
            let peers = Arc::clone(&peers);
            move || {
                peers.purge(Duration::ZERO);
                peers.let_go(&key("b"));
                assert!(peers.len() <= 1);
            }
        });
        let found = callers.map(|caller| caller.join().unwrap());
        purging.join().unwrap();
        for peer in found.into_iter().flatten() {
            let known = peers.read().get(&peer.key).cloned();
            let is_known = known.is_some_and(|known| Arc::ptr_eq(&known, &peer));
            assert_eq!(peer.is_listed(), is_known);
            let connections = peer.connections.read().unwrap().len();
            assert!(is_known || connections == 0, "{connections} connections are lost");
        }
    });
}

/// All who call a peer at the same time share it, and with it its connections.
#[test]
fn callers_of_a_peer_share_it() {
    explore(SCHEDULES, || {
        let peers = Arc::new(Peers::new(2));
        let callers = ["a", "b", "a"].map(|address| {
            let peers = Arc::clone(&peers);
            thread::spawn(move || peers.get(&key(address)).ok())
        });
        let found = callers.map(|caller| caller.join().unwrap().unwrap());
        assert!(Arc::ptr_eq(&found[0], &found[2]));
        assert_eq!(peers.len(), 2);
    });
}

/// One call at a time makes a further connection, and the turn comes back.
#[test]
fn one_makes_a_further_connection() {
    explore(SCHEDULES, || {
        let peer = Arc::new(Peer::listed(key("a")));
        let at_it = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let callers = [0; 3].map(|_| {
            let (peer, at_it) = (Arc::clone(&peer), Arc::clone(&at_it));
            thread::spawn(move || {
                use std::sync::atomic::Ordering::SeqCst;
                let Some(turn) = Peer::spread(&peer) else { return };
                assert_eq!(at_it.fetch_add(1, SeqCst), 0, "two make one");
                thread::yield_now();
                at_it.fetch_sub(1, SeqCst);
                drop(turn);
            })
        });
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert!(Peer::spread(&peer).is_some());
    });
}
