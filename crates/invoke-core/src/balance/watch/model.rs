//! A resolver that tells while calls pick and wait.

use schedules::explore;
use shuttle::future::block_on;
use shuttle::thread;

use super::tests::{endpoint, slots};
use super::*;

const SCHEDULES: usize = 1000;

/// Nobody sleeps through news, however close to it they begin to wait, and whoever picks has one of what was told.
#[test]
fn whoever_waits_hears_of_what_is_told() {
    explore(SCHEDULES, || {
        let (publisher, watch) = watched();
        let telling = thread::spawn(move || {
            publisher.publish([1, 2].map(endpoint));
            publisher.publish([2, 3].map(endpoint));
            publisher
        });
        let waiting = [0; 2].map(|_| {
            let watch = watch.clone();
            thread::spawn(move || {
                let is_new = |resolution: &Resolution| match resolution {
                    Resolution::Endpoints(endpoints) => endpoints.iter().any(|known| *known == endpoint(3)),
                    _ => false,
                };
                assert!(matches!(block_on(watch.first()), Resolution::Endpoints(_)));
                assert!(watch.pick(&[]).is_some());
                block_on(watch.wait_for(is_new));
                let picked = watch.pick(&[]).unwrap();
                assert!([2, 3].map(endpoint).contains(picked.endpoint()));
            })
        });
        for waiting in waiting {
            waiting.join().unwrap();
        }
        drop(telling.join().unwrap());
        assert!(!watch.is_alive());
    });
}

/// Those who wait when the resolver goes hear that; what it told for good stays.
#[test]
fn a_resolver_that_goes_leaves_nobody_waiting() {
    for is_final in [false, true] {
        explore(SCHEDULES, move || {
            let (publisher, watch) = watched();
            let going = thread::spawn(move || {
                if is_final {
                    publisher.publish_final([endpoint(1)]);
                }
            });
            let waiting = thread::spawn({
                let watch = watch.clone();
                move || matches!(block_on(watch.first()), Resolution::Endpoints(_))
            });
            assert_eq!(waiting.join().unwrap(), is_final);
            going.join().unwrap();
            assert_eq!(watch.is_alive(), is_final);
        });
    }
}

/// Two who publish at once lose no slot of an endpoint that both tell: its load and failures go on.
#[test]
fn what_is_known_of_an_endpoint_goes_on() {
    explore(SCHEDULES, || {
        let (publisher, watch) = watched();
        publisher.publish([endpoint(1)]);
        let picked = watch.pick(&[]).unwrap();
        let publisher = Arc::new(publisher);
        let publishing = [2, 3].map(|port| {
            let (publisher, watch) = (Arc::clone(&publisher), watch.clone());
            thread::spawn(move || {
                publisher.publish([1, port, 4].map(endpoint));
                // One of the two alone, so that it is seen when its slot gets lost.
                if port == 2 {
                    slots(&watch)[2].state().fail(false);
                }
            })
        });
        for publishing in publishing {
            publishing.join().unwrap();
        }
        let slots = slots(&watch);
        let known: Vec<_> = slots.iter().map(|slot| (slot.load(), slot.is_out())).collect();
        assert_eq!(known, [(1, false), (0, false), (0, true)]);
        drop(picked);
        assert!(slots.iter().all(|slot| slot.load() == 0));
    });
}
