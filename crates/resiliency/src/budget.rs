//! How many of the calls to a target may be made once more.
//!
//! Retries help when few calls fail. When all of them do, they multiply the load of a target that has too much of it
//! already. A budget lets retries be a share of the calls of the last seconds, and a few in any case, so that a target
//! that is called seldom has some.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// In so many pieces the window goes by.
const PIECES: usize = 8;

/// How a budget is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// How many retries there may be for a hundred calls.
    pub(crate) percent: u32,
    /// How many there may be in a window in any case.
    pub(crate) minimum: u32,
    /// The time that counts; never nothing.
    pub(crate) window: Duration,
}

/// What was counted for one target in the last window. Of a fixed size, and without a lock.
#[derive(Debug)]
pub(crate) struct Budget {
    settings: Settings,
    begun: Instant,
    pieces: [AtomicU64; PIECES],
}

/// A piece of the window as one number: which piece it is since the beginning (24 bits, which is enough to know old
/// ones), calls, and retries (20 bits each, which stop at their most).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Piece {
    tick: u32,
    calls: u32,
    retries: u32,
}

const MOST: u32 = (1 << 20) - 1;
const TICKS: u32 = (1 << 24) - 1;

impl Piece {
    fn unpack(number: u64) -> Self {
        Self {
            tick: (number >> 40) as u32,
            calls: (number >> 20) as u32 & MOST,
            retries: number as u32 & MOST,
        }
    }

    fn pack(self) -> u64 {
        let [tick, calls, retries] = [self.tick, self.calls.min(MOST), self.retries.min(MOST)].map(u64::from);
        tick << 40 | calls << 20 | retries
    }
}

impl Budget {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            begun: Instant::now(),
            pieces: Default::default(),
        }
    }

    /// A call begins.
    pub(crate) fn call(&self) {
        self.add(self.tick(), |piece| piece.calls += 1);
    }

    /// Whether a call may be made once more. Whoever makes it says so with [`Self::spend`]: a retry that comes to nothing,
    /// since its body is gone or its caller would not wait so long, takes nothing away from others.
    pub(crate) fn allows(&self) -> bool {
        let tick = self.tick();
        let (mut calls, mut retries) = (0, 0);
        for piece in &self.pieces {
            let piece = Piece::unpack(piece.load(Ordering::Relaxed));
            if (tick.wrapping_sub(piece.tick) & TICKS) < PIECES as u32 {
                calls += u64::from(piece.calls);
                retries += u64::from(piece.retries);
            }
        }
        let most = u64::from(self.settings.minimum) + calls * u64::from(self.settings.percent) / 100;
        retries < most
    }

    /// A call is made once more.
    pub(crate) fn spend(&self) {
        self.add(self.tick(), |piece| piece.retries += 1);
    }

    /// Both: whether a call may be made once more; if so, that counts. Calls that ask at the same moment may go beyond
    /// the budget together, by no more than there are threads.
    pub(crate) fn take(&self) -> bool {
        let may = self.allows();
        if may {
            self.spend();
        }
        may
    }

    /// Which piece of a window it is now.
    fn tick(&self) -> u32 {
        let piece = (self.settings.window / PIECES as u32).as_nanos().max(1);
        // It goes round, as the pieces do.
        (self.begun.elapsed().as_nanos() / piece) as u32 & TICKS
    }

    fn add(&self, tick: u32, change: impl Fn(&mut Piece)) {
        let place = &self.pieces[tick as usize % PIECES];
        let changed = |number| {
            let mut piece = Piece::unpack(number);
            if piece.tick != tick {
                piece = Piece {
                    tick,
                    ..Piece::default()
                };
            }
            change(&mut piece);
            Some(piece.pack())
        };
        // It always changes something.
        let _ = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: u32, minimum: u32) -> Budget {
        Budget::new(Settings {
            percent,
            minimum,
            window: Duration::from_secs(8),
        })
    }

    fn taken(budget: &Budget) -> usize {
        (0..1000).take_while(|_| budget.take()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_the_calls_and_a_few_in_any_case() {
        for (percent, minimum, calls, wanted) in [
            (20, 0, 0, 0),
            (20, 3, 0, 3),
            (20, 0, 100, 20),
            (20, 3, 100, 23),
            (0, 2, 100, 2),
            (100, 0, 7, 7),
        ] {
            let budget = budget(percent, minimum);
            (0..calls).for_each(|_| budget.call());
            assert_eq!(taken(&budget), wanted, "{percent} {minimum} {calls}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_window_does_not_count() {
        let budget = budget(50, 1);
        (0..10).for_each(|_| budget.call());
        assert_eq!(taken(&budget), 6);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(taken(&budget), 0);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(taken(&budget), 1, "the calls are over, too");
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(taken(&budget), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn counts_stop_at_their_most() {
        let full = Piece {
            tick: TICKS,
            calls: MOST,
            retries: MOST,
        };
        let mut more = full;
        more.calls += 1;
        assert_eq!(Piece::unpack(more.pack()), full);
    }

    #[test]
    fn threads_go_beyond_it_by_no_more_than_there_are() {
        let budget = budget(0, 100);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| taken(&budget))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!((100..=104).contains(&taken), "{taken}");
    }
}
