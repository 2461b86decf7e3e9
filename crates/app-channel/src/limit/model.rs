//! Calls that come, wait, give up and leave, in many orders. A call that nobody lets in is a deadlock of the model.

use std::sync::atomic::{AtomicUsize, Ordering};

use schedules::explore;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};

use super::*;

const SCHEDULES: usize = 1000;

/// An app that counts the calls that it has at once.
#[derive(Clone)]
struct App {
    limit: ConcurrencyLimit,
    has: Arc<AtomicUsize>,
}

impl App {
    fn new(places: usize) -> Self {
        Self {
            limit: ConcurrencyLimit::new(places),
            has: Arc::default(),
        }
    }

    /// A call that waits for as long as it must.
    fn call(&self) -> JoinHandle<Result<(), NoPlace>> {
        let app = self.clone();
        spawn(async move {
            let place = app.limit.enter().await?;
            app.serve().await;
            drop(place);
            Ok(())
        })
    }

    /// A call that gives up when it must wait, whatever happens until it gets to that.
    fn impatient_call(&self) -> JoinHandle<()> {
        let app = self.clone();
        spawn(async move {
            let mut entering = Box::pin(app.limit.enter());
            let first = poll_fn(|cx| Poll::Ready(entering.as_mut().poll(cx))).await;
            if let Poll::Ready(Ok(_place)) = first {
                app.serve().await;
            } else {
                yield_now().await;
            }
        })
    }

    async fn serve(&self) {
        let has = self.has.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(has <= self.limit.queue().places, "{has} calls at once");
        yield_now().await;
        self.has.fetch_sub(1, Ordering::SeqCst);
    }

    /// When all calls are over, all places are free.
    fn ends(&self) {
        let usage = self.limit.usage();
        assert_eq!((usage.taken, usage.waiting), (0, 0));
    }
}

#[test]
fn every_call_gets_a_place_whoever_gives_up() {
    for places in [1, 2] {
        explore(SCHEDULES, move || {
            let app = App::new(places);
            let calls = [app.call(), app.call(), app.call()];
            let impatient = [app.impatient_call(), app.impatient_call()];
            block_on(async {
                for call in calls {
                    assert_eq!(call.await.unwrap(), Ok(()));
                }
                for call in impatient {
                    call.await.unwrap();
                }
            });
            app.ends();
        });
    }
}

/// The order changes while calls wait: the newest is let in first from then on.
#[test]
fn every_call_gets_a_place_while_the_order_changes() {
    explore(SCHEDULES, || {
        let app = App::new(1);
        let calls = [app.call(), app.call(), app.call()];
        let impatient = app.impatient_call();
        let limit = app.limit.clone();
        let turned = spawn(async move { limit.queue().busy_since -= OVERLOADED * 2 });
        block_on(async {
            for call in calls {
                assert_eq!(call.await.unwrap(), Ok(()));
            }
            impatient.await.unwrap();
            turned.await.unwrap();
        });
        app.ends();
    });
}

/// Whoever is sent away from a full queue hears of it, and takes no place with it.
#[test]
fn a_full_queue_loses_no_place() {
    explore(SCHEDULES, || {
        let app = App::new(1);
        app.limit.queue().most_waiting = 1;
        let calls = [app.call(), app.call(), app.call()];
        let impatient = app.impatient_call();
        block_on(async {
            let mut served = 0;
            for call in calls {
                match call.await.unwrap() {
                    Ok(()) => served += 1,
                    Err(error) => assert_eq!(error, NoPlace::TooMany(1)),
                }
            }
            assert!(served > 0);
            impatient.await.unwrap();
        });
        app.ends();
    });
}
