//! What a set of endpoints takes in memory, and a pick and a change in time.

use std::time::{Duration, Instant};

use invoke_core::balance::{Endpoint, EndpointWatch, Publisher, watched};

/// The figures of a set of one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) endpoints: usize,
    /// All that the view of the app holds.
    pub(crate) bytes: i64,
    pick: Duration,
    change: Duration,
}

const PICKS: u32 = 1_000_000;
const CHANGES: u32 = 20;

fn endpoints(from: usize, count: usize) -> impl Iterator<Item = Endpoint> {
    (from..from + count)
        .map(|id| Endpoint::new(format!("10.{}.{}.{}:50002", id >> 16, id >> 8 & 255, id & 255)))
}

fn view(count: usize) -> (Publisher, EndpointWatch) {
    let (publisher, watch) = watched();
    publisher.publish(endpoints(0, count));
    (publisher, watch)
}

/// How many bytes one view of so many endpoints holds.
pub(crate) fn bytes(count: usize) -> i64 {
    let mut held = None;
    allocation_counter::measure(|| held = Some(view(count))).bytes_current
}

impl Sizes {
    pub(crate) const HEAD: &'static str = "endpoints  bytes of each  MB in all  a pick, ns  a change, µs";

    pub(crate) fn of(count: usize) -> Self {
        let (publisher, watch) = view(count);
        let begun = Instant::now();
        for _ in 0..PICKS {
            std::hint::black_box(watch.pick(&[]));
        }
        let pick = begun.elapsed() / PICKS;
        let begun = Instant::now();
        for change in 0..CHANGES {
            publisher.publish(endpoints(change as usize + 1, count));
        }
        Self {
            endpoints: count,
            bytes: bytes(count),
            pick,
            change: begun.elapsed() / CHANGES,
        }
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "{:>9} {:>14} {:>10.2} {:>11} {:>13}",
            self.endpoints,
            self.bytes / self.endpoints as i64,
            self.bytes as f64 / 1e6,
            self.pick.as_nanos(),
            self.change.as_micros()
        )
    }
}
