//! Connections that come, are told to close and go, in many orders. One that is not woken is a deadlock of the model.

use schedules::explore;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};

use super::*;

const SCHEDULES: usize = 300;

/// A connection without a call, until it is told to close.
fn idle(descriptors: &Descriptors) -> JoinHandle<()> {
    let mut member = descriptors.join();
    member.set_idle(true);
    spawn(async move { std::future::poll_fn(|cx| member.poll_unwanted(cx)).await })
}

/// A connection that has calls now and then. Whoever has one is not told to close.
fn busy(descriptors: &Descriptors) -> JoinHandle<()> {
    let mut member = descriptors.join();
    spawn(async move {
        for _ in 0..3 {
            member.set_idle(true);
            yield_now().await;
            member.set_idle(false);
            for _ in 0..2 {
                yield_now().await;
                let cx = Context::from_waker(Waker::noop());
                assert!(
                    member.poll_unwanted(&cx).is_pending(),
                    "told to close during a call"
                );
            }
        }
    })
}

/// Tells connections to close, as often as it takes until there are so few.
fn dismisses(descriptors: &Descriptors, few: usize) -> JoinHandle<()> {
    let descriptors = descriptors.clone();
    spawn(async move {
        while descriptors.members().all.len() > few {
            descriptors.dismiss();
            yield_now().await;
        }
    })
}

fn ends(descriptors: &Descriptors) {
    let members = descriptors.members();
    for (at, place) in members.all.iter().enumerate() {
        assert_eq!(place.index.load(Ordering::SeqCst), at, "the ring is broken");
    }
}

#[test]
fn whoever_is_told_to_close_hears_of_it() {
    explore(SCHEDULES, || {
        let descriptors = Descriptors::default();
        let connections = [idle(&descriptors), idle(&descriptors), idle(&descriptors)];
        let servers = [dismisses(&descriptors, 0), dismisses(&descriptors, 1)];
        block_on(async {
            for task in connections.into_iter().chain(servers) {
                task.await.unwrap();
            }
        });
        ends(&descriptors);
    });
}

#[test]
fn whoever_has_a_call_is_not_told_to_close() {
    explore(SCHEDULES, || {
        let descriptors = Descriptors::default();
        let connections = [busy(&descriptors), idle(&descriptors), busy(&descriptors)];
        let server = dismisses(&descriptors, 0);
        block_on(async {
            for task in connections {
                task.await.unwrap();
            }
            server.await.unwrap();
        });
        ends(&descriptors);
    });
}
