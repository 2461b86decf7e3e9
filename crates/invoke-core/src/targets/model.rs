//! Calls that name targets while others are let go, the configuration changes and watches fail.

use std::sync::Mutex as StdMutex;

use schedules::explore;
use shuttle::future::block_on;
use shuttle::thread;

use super::*;
use crate::balance::{Endpoint, EndpointWatch, Publisher, watched};
use crate::error::ResolveError;
use crate::ports::Resolver;

const SCHEDULES: usize = 1000;

type Known = Targets<&'static str, u32>;

fn settings() -> TargetsSettings {
    TargetsSettings {
        capacity: 2,
        urls: 1,
        idle: Duration::ZERO,
    }
}

/// Looks for an app, and says which peer it is.
fn find(targets: &Known, text: &str, generation: u64) -> Arc<Peer> {
    let found = targets.find(text, generation, || {
        Ok(Bound {
            is_url: false,
            external: None,
            app: Some(App::Peer(targets.peer(&AppRef::new("a", "default")))),
            policy: None,
            meters: (),
            routed: None,
        })
    });
    let found = found.unwrap();
    assert_eq!(found.generation, generation, "found by another configuration");
    match &found.app {
        Some(App::Peer(peer)) => Arc::clone(peer),
        other => panic!("{other:?}"),
    }
}

/// All who call an app at the same time have the same peer, however they name it, and whatever is swept meanwhile: what is
/// known of its instances is known once.
#[test]
fn an_app_is_one_peer_and_the_map_keeps_its_bound() {
    explore(SCHEDULES, || {
        let targets = Arc::new(Known::new(settings()));
        let held = find(&targets, "a", 0);
        let callers = [("a", 0), ("a.default", 0), ("a", 1)].map(|(text, generation)| {
            let targets = Arc::clone(&targets);
            thread::spawn(move || find(&targets, text, generation))
        });
        let sweeper = thread::spawn({
            let targets = Arc::clone(&targets);
            move || {
                targets.sweep();
                targets.peers().len()
            }
        });
        for caller in callers {
            assert!(Arc::ptr_eq(&held, &caller.join().unwrap()));
        }
        assert_eq!(sweeper.join().unwrap(), 1);
        let known = targets.known.read().unwrap();
        assert!(known.by_text.len() <= 2 && known.peers.len() == 1);
    });
}

/// Peers that are let go and found anew at the same time are one at a time.
#[test]
fn a_peer_that_comes_back_is_known_once() {
    explore(SCHEDULES, || {
        let targets = Arc::new(Known::new(settings()));
        let callers = [0, 1].map(|_| {
            let targets = Arc::clone(&targets);
            thread::spawn(move || {
                let peer = targets.peer(&AppRef::new("a", "default"));
                let known = targets.peers();
                assert!(known.len() == 1 && Arc::ptr_eq(&known[0], &peer));
            })
        });
        for caller in callers {
            caller.join().unwrap();
        }
        assert!(targets.peers().is_empty());
    });
}

/// A resolver whose first watches fail.
#[derive(Default)]
struct Failing {
    failures: usize,
    /// The publishers of watches that are kept up to date.
    publishers: StdMutex<Vec<Publisher>>,
    asked: std::sync::atomic::AtomicUsize,
}

impl Resolver for Failing {
    fn watch(&self, _: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.failures {
            publisher.fail(ResolveError::new("not yet"));
        } else {
            publisher.publish([Endpoint::new("127.0.0.1:1")]);
        }
        self.publishers.lock().unwrap().push(publisher);
        watch
    }

    fn unreachable(&self, _: &AppRef, _: &Endpoint) {}
}

/// Calls that come at once share one answer. A failure is told to those who waited for it, and takes nothing away from
/// whoever asked anew.
#[test]
fn an_answer_is_shared_and_a_failure_forgets_no_other() {
    for failures in [0, 1] {
        explore(SCHEDULES, move || {
            let resolver = Arc::new(Failing {
                failures,
                ..Failing::default()
            });
            let peer = Arc::new(Peer::new(AppRef::new("a", "default")));
            let callers = [0; 3].map(|_| {
                let (resolver, peer) = (Arc::clone(&resolver), Arc::clone(&peer));
                thread::spawn(move || {
                    let calls = [0; 2].map(|_| block_on(peer.pick(&*resolver, None)).is_ok());
                    assert!(calls[0] || failures > 0);
                    assert!(calls[1], "the watch that failed was still asked");
                })
            });
            for caller in callers {
                caller.join().unwrap();
            }
            let asked = resolver.asked.load(Ordering::SeqCst);
            assert!(asked <= failures + 1, "asked {asked} times");
        });
    }
}
