//! Calls whose answers are read, not read, and given up while others wait, in many orders. A place that is lost is a call that
//! waits for ever: a deadlock of the model.

use schedules::explore;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};

use super::*;

const SCHEDULES: usize = 300;
/// Enough looks for an answer to be given up, and one more.
const LOOKS: u32 = STILL + 2;

/// A pool with calls on connections of their own.
#[derive(Clone)]
struct Pool {
    places: Arc<Places>,
}

/// How a call ended that was reading its answer.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// It has all of its answer, and the connection goes back with its place.
    Whole,
    GivenUp,
}

impl Pool {
    fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Places::new(places, 8, Duration::from_secs(1))),
        }
    }

    /// A connection, and the place of a call on it.
    fn lease(&self, permit: OwnedSemaphorePermit) -> Place {
        let watch = Watch::of_nothing();
        let task = tokio::spawn(std::future::pending::<()>());
        self.places.add(&watch, task.abort_handle());
        Place::new(permit, &watch)
    }

    /// A call that reads an answer of so many pieces.
    fn reader(&self, pieces: usize) -> JoinHandle<Ended> {
        let pool = self.clone();
        spawn(async move {
            let place = pool.lease(pool.places.enter().await.unwrap());
            let watch = place.watch.clone();
            for _ in 0..pieces {
                // As the body of an answer does it: it asks, it has some, its reader does something else.
                if !watch.reading().asks() {
                    drop(place);
                    return Ended::GivenUp;
                }
                watch.reading().has_some();
                yield_now().await;
            }
            if !watch.reading().asks() {
                return Ended::GivenUp;
            }
            // Nobody gives up an answer that is asked for.
            assert!(place.end().is_some(), "the place went to somebody else");
            Ended::Whole
        })
    }

    /// A call that reads a piece of its answer, and then goes away after a while, whatever was done with its answer.
    fn leaver(&self) -> JoinHandle<()> {
        let pool = self.clone();
        spawn(async move {
            let place = pool.lease(pool.places.enter().await.unwrap());
            place.watch.reading().has_some();
            for _ in 0..LOOKS {
                yield_now().await;
            }
        })
    }

    /// A call that never reads: it goes when its answer was given up.
    fn idler(&self) -> JoinHandle<()> {
        let pool = self.clone();
        spawn(async move {
            let place = pool.lease(pool.places.enter().await.unwrap());
            place.watch.reading().has_some();
            while place.watch.reading().0.load(Ordering::Acquire) != Reading::GIVEN_UP {
                yield_now().await;
            }
        })
    }

    /// What those do that wait, each time that their patience with others ends.
    fn looks(&self, times: u32) -> JoinHandle<()> {
        let pool = self.clone();
        spawn(async move {
            for _ in 0..times {
                pool.places.open().looked = None;
                pool.places.relieve();
                yield_now().await;
            }
        })
    }

    /// When all calls are over, all places are there, and not one more.
    fn ends(&self) {
        assert_eq!(self.places.waiting.load(Ordering::SeqCst), 0);
        assert_eq!(self.places.free.available_permits(), self.places.count);
    }
}

#[test]
fn a_place_is_passed_on_once_whoever_reads_or_leaves() {
    for places in [1, 2] {
        explore(SCHEDULES, move || {
            let pool = Pool::new(places);
            let readers = [pool.reader(2), pool.reader(3)];
            let leavers = [pool.leaver(), pool.leaver()];
            let looks = [pool.looks(LOOKS), pool.looks(LOOKS)];
            block_on(async {
                for reader in readers {
                    reader.await.unwrap();
                }
                for leaver in leavers {
                    leaver.await.unwrap();
                }
                for looks in looks {
                    looks.await.unwrap();
                }
            });
            pool.ends();
        });
    }
}

/// Somebody has the only place, and reads nothing. Whoever waits for it gets it.
#[test]
fn an_answer_that_nobody_reads_keeps_nobody_waiting() {
    explore(SCHEDULES, || {
        let pool = Pool::new(1);
        block_on(async {
            let idler = pool.idler();
            while pool.places.free.available_permits() > 0 {
                yield_now().await;
            }
            let readers = [pool.reader(1), pool.reader(2)];
            while pool.places.waiting.load(Ordering::SeqCst) < 2 {
                yield_now().await;
            }
            let looks = pool.looks(4 * LOOKS);
            idler.await.unwrap();
            for reader in readers {
                reader.await.unwrap();
            }
            looks.await.unwrap();
        });
        pool.ends();
    });
}

/// An answer that is asked for again and again is never given up, however often others look.
#[test]
fn whoever_reads_keeps_the_place() {
    explore(SCHEDULES, || {
        let watch = Watch::of_nothing();
        let looker = watch.clone();
        let looks = spawn(async move {
            let reading = looker.reading();
            for _ in 0..LOOKS {
                let seen = reading.seen();
                if reading.give_up() {
                    assert!(seen >= STILL, "given up after {seen} looks");
                    return true;
                }
            }
            false
        });
        let mut has_heard = false;
        for _ in 0..3 {
            let asks = watch.reading().asks();
            assert!(!asks || !has_heard, "an answer that was given up came back");
            if !asks {
                has_heard = true;
            } else {
                watch.reading().has_some();
            }
        }
        let is_given_up = block_on(looks).unwrap();
        assert_eq!(
            watch.reading().ends(),
            is_given_up,
            "the place is kept by one of the two"
        );
    });
}
