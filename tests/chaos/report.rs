//! What callers saw.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::calls::Made;

/// A call is as before when it takes at most so many times the slowest hundredth of the calm, and a little.
const NORMAL: u32 = 2;
const A_LITTLE: Duration = Duration::from_millis(5);

/// The calls of a scene.
pub(crate) struct Report {
    /// In the order in which they began.
    pub(crate) made: Vec<Made>,
    /// When it happened.
    pub(crate) trouble: Duration,
    /// When it was undone, if that is one moment.
    pub(crate) relief: Option<Duration>,
}

impl Report {
    pub(crate) const HEAD: &'static str = "\
scene            binary        calls  failed  slowest   p99 before     after  normal again after";

    pub(crate) fn of(mut made: Vec<Made>, trouble: Duration, relief: Option<Duration>) -> Self {
        made.sort_by_key(|made| made.at);
        Self {
            made,
            trouble,
            relief,
        }
    }

    pub(crate) fn failed(&self) -> usize {
        self.made.iter().filter(|made| made.failure.is_some()).count()
    }

    /// One line of the table.
    pub(crate) fn line(&self, scene: &str, binary: &str) -> String {
        let (before, after): (Vec<&Made>, Vec<&Made>) =
            self.made.iter().partition(|made| made.at < self.trouble);
        let normal = quantile(&before, 0.99);
        let slowest = after.iter().map(|made| made.took).max().unwrap_or_default();
        let mut line = format!(
            "{scene:<16} {binary:<12} {:>6} {:>7} {:>8} {:>12} {:>9}  {:>18}",
            self.made.len(),
            self.failed(),
            millis(slowest),
            millis(normal),
            millis(quantile(&after, 0.99)),
            millis(self.until_normal(&after, normal * NORMAL + A_LITTLE)),
        );
        let mut reasons = BTreeMap::<&str, usize>::new();
        for failure in self.made.iter().filter_map(|made| made.failure.as_deref()) {
            *reasons.entry(failure).or_default() += 1;
        }
        for (reason, count) in reasons {
            let _ = write!(line, "  {count} × {reason}");
        }
        line
    }

    /// How long after the trouble the last second began in which more than a hundredth of the calls was slow or failed.
    fn until_normal(&self, after: &[&Made], limit: Duration) -> Duration {
        const SLICE: Duration = Duration::from_millis(250);
        let mut slices = BTreeMap::<u128, (usize, usize)>::new();
        for made in after {
            let slice = made.at.saturating_sub(self.trouble).as_millis() / SLICE.as_millis();
            let (all, bad) = slices.entry(slice).or_default();
            *all += 1;
            *bad += usize::from(made.failure.is_some() || made.took > limit);
        }
        let is_bad = |(_, (all, bad)): &(&u128, &(usize, usize))| bad * 100 > *all;
        let last = slices.iter().rfind(is_bad);
        last.map_or(Duration::ZERO, |(slice, _)| {
            SLICE * u32::try_from(slice + 1).unwrap_or(u32::MAX)
        })
    }
}

/// How long so large a share of these took at most.
pub(crate) fn quantile(made: &[&Made], share: f64) -> Duration {
    let mut took: Vec<Duration> = made.iter().map(|made| made.took).collect();
    took.sort();
    let at = (took.len() as f64 * share) as usize;
    took.get(at.min(took.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
