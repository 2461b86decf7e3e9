//! What came of a scene, and whether it is as it has to be.

use crate::callers::{BUDGET, WINDOW};
use crate::scene::{Played, Scale, Scene, capacity};
use crate::tally::Tally;

/// An instance that is well again has its share after so many seconds: the longest that a failed one is left out.
pub(crate) const BACK_WITHIN: u64 = 31;
/// Whoever is to have so many calls and has less than half of them starves.
const ENOUGH: f64 = 100.0;

/// The figures of a scene. The same seed gives the same ones, whenever and wherever.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) scene: Scene,
    pub(crate) scale: Scale,
    /// Calls in a second of each caller.
    pub(crate) rate: f64,
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    /// Calls that never ended.
    pub(crate) lost: u64,
    pub(crate) sent_per_call: f64,
    pub(crate) tries_per_call: f64,
    pub(crate) dials: u64,
    pub(crate) sets: u64,
    pub(crate) lookups: u64,
    pub(crate) most_lookups: u32,
    /// Milliseconds, during the trouble and after it.
    pub(crate) median: u32,
    pub(crate) p99: u32,
    pub(crate) p99_after: u32,
    /// The smallest and the largest share that an instance had of what is even, once it had been well for some time.
    pub(crate) spread: (f64, f64),
    /// The share, of what is even, of those that were in trouble: during it, and in each second.
    pub(crate) troubled: Option<f64>,
    pub(crate) shares: Vec<f64>,
    /// How many seconds after their trouble they had four fifths of their share, and the largest that they ever had.
    pub(crate) back_after: Option<u64>,
    pub(crate) most: f64,
    /// The share of calls that failed or were slow, in each second, and how long there were more than one in a hundred.
    pub(crate) bad: Vec<f64>,
    pub(crate) calm_after: u64,
    pub(crate) trace: u64,
    pub(crate) problems: Vec<String>,
}

impl Report {
    pub(crate) const HEAD: &'static str = "\
scene        callers x inst.    calls  failed  sent/call tries/call   p50   p99 after  least  most  troubled  back peak  \
calm  conns     sets  look-ups(most/s)";

    pub(crate) fn of(scene: Scene, played: &Played) -> Self {
        let Played {
            plan,
            tally,
            well_since,
        } = played;
        let (begin, end) = (plan.trouble.0 as usize, plan.trouble.1 as usize);
        let last = plan.end as usize;
        let calm = tally.quantile(last.saturating_sub(10)..last, 0.99);
        let by_second = tally.by_second(calm * 2 + 5);
        let mut bad: Vec<f64> = by_second
            .iter()
            .map(|[all, failed, slow]| f64::from(failed + slow) / f64::from(*all).max(1.0))
            .collect();
        bad.truncate(last);
        let last_bad = bad.iter().rposition(|share| *share > 0.01);
        let failed = tally.made.iter().filter(|made| !made.is_good).count() as u64;
        let shares = shares(scene, tally, last);
        let after = || shares.iter().enumerate().skip(end);
        let has_share = !shares.is_empty();
        let in_trouble = if scene == Scene::Slow {
            begin + 20..end
        } else {
            begin..end
        };
        let mut report = Self {
            scene,
            scale: plan.scale,
            rate: plan.load.rate,
            calls: tally.calls,
            failed,
            lost: tally.calls - tally.made.len() as u64,
            sent_per_call: tally.sent as f64 / tally.calls.max(1) as f64,
            tries_per_call: tally.tries as f64 / tally.calls.max(1) as f64,
            dials: tally.dials,
            sets: tally.sets,
            lookups: tally.lookups.iter().map(|count| u64::from(*count)).sum(),
            most_lookups: tally.lookups.iter().skip(10).copied().max().unwrap_or(0),
            median: tally.quantile(in_trouble.clone(), 0.5),
            p99: tally.quantile(if end == 0 { 20..last } else { in_trouble.clone() }, 0.99),
            p99_after: calm,
            spread: spread(tally, well_since, last),
            troubled: has_share.then(|| mean(&shares[in_trouble.start..in_trouble.end])),
            back_after: after()
                .find(|(_, share)| **share >= 0.8)
                .map(|(second, _)| (second - end) as u64),
            most: after().map(|(_, share)| *share).fold(0.0, f64::max),
            shares,
            calm_after: last_bad.map_or(0, |second| (second + 1).saturating_sub(begin) as u64),
            bad,
            trace: tally.trace,
            problems: Vec::new(),
        };
        report.problems = report.judge(tally, plan.end);
        report
    }

    /// What has to hold, and does not.
    fn judge(&self, tally: &Tally, end: u64) -> Vec<String> {
        let mut problems = Vec::new();
        let mut wants = |holds: bool, what: String| {
            if !holds {
                problems.push(what);
            }
        };
        wants(self.lost == 0, format!("{} calls never ended", self.lost));
        let most_failed = match self.scene {
            // Whoever calls before anybody listens cannot be helped for ever, and neither can too many.
            Scene::Start | Scene::StartAsking | Scene::Overload => 1.0,
            Scene::Partition => 0.25,
            // Those that an instance had when it died may not all be made once more.
            Scene::Churn => 0.001,
            Scene::Rolling | Scene::Part | Scene::Equal | Scene::Slow | Scene::Refusing => 0.0,
        };
        let failed = self.failed as f64 / self.calls.max(1) as f64;
        wants(
            failed <= most_failed,
            format!("{} of {} calls failed", self.failed, self.calls),
        );
        let (percent, minimum) = BUDGET;
        let retries = self.calls * percent / 100 + minimum * self.scale.callers as u64 * (end / WINDOW + 1);
        wants(
            tally.sent <= self.calls + retries,
            format!("{} calls became {}: a storm of retries", self.calls, tally.sent),
        );
        // As long as nobody listens each call asks as many as it may, in each of its attempts.
        let is_start = matches!(self.scene, Scene::Start | Scene::StartAsking);
        wants(
            self.tries_per_call <= if is_start { 32.0 } else { 3.0 },
            format!("{:.1} endpoints were tried for each call", self.tries_per_call),
        );
        let (least, most) = self.spread;
        wants(
            least >= 0.5,
            format!("an instance that is well has {least:.2} of its share"),
        );
        wants(most <= 2.0, format!("an instance has {most:.2} of its share"));
        if self.scene == Scene::Equal {
            wants(
                least >= 0.9 && most <= 1.1,
                format!("shares of {least:.2} to {most:.2}"),
            );
        }
        if let Some(troubled) = self.troubled {
            let enough = if self.scene == Scene::Partition { 0.5 } else { 0.2 };
            wants(
                troubled <= enough,
                format!("who is in trouble gets {troubled:.2} of its share"),
            );
            let is_back = self.back_after.is_some_and(|after| after <= BACK_WITHIN);
            wants(
                is_back,
                format!("who was in trouble is back after {:?} s", self.back_after),
            );
            // The less loaded of two is drawn twice as often as others at most.
            wants(
                self.most <= 2.2,
                format!("who is back gets {:.2} of its share", self.most),
            );
        }
        if self.scene == Scene::StartAsking {
            // Each looks up once in five seconds, and those that missed instances together do not go on together.
            let most = self.scale.callers as f64 * 0.4 + 3.0;
            wants(
                f64::from(self.most_lookups) <= most,
                format!("{} look-ups in one second", self.most_lookups),
            );
        }
        if self.scene == Scene::Slow && self.rate >= 10.0 {
            wants(
                f64::from(self.p99) <= 1.5 * f64::from(self.p99_after),
                format!(
                    "p99 is {} ms with a slow one, and {} ms without",
                    self.p99, self.p99_after
                ),
            );
        }
        if self.scene == Scene::Overload {
            let good = tally.made.iter().filter(|made| made.is_good);
            let good = good.filter(|made| (25_000..40_000).contains(&made.at)).count() as f64 / 15.0;
            let can = capacity(self.scale.instances);
            wants(
                good >= can * 0.7,
                format!("{good:.0} good calls/s, {can:.0} could be done"),
            );
            wants(
                self.calm_after <= 50,
                format!("calm {} s after the overload began", self.calm_after),
            );
        }
        problems
    }

    /// One line of the table.
    pub(crate) fn line(&self) -> String {
        let troubled = self
            .troubled
            .map_or("-".to_owned(), |share| format!("{share:.3}"));
        let back = self.back_after.filter(|_| self.troubled.is_some());
        let back = back.map_or("-".to_owned(), |after| after.to_string());
        format!(
            "{:<12} {:>15} {:>8} {:>7} {:>10.3} {:>10.3} {:>5} {:>5} {:>5} {:>6.2} {:>5.2} {:>9} {:>5} {:>4.1} {:>5} {:>6} {:>8} {:>9} ({})",
            self.scene.name(),
            self.scale.to_string(),
            self.calls,
            self.failed,
            self.sent_per_call,
            self.tries_per_call,
            self.median,
            self.p99,
            self.p99_after,
            self.spread.0,
            self.spread.1,
            troubled,
            back,
            self.most,
            self.calm_after,
            self.dials,
            self.sets,
            self.lookups,
            self.most_lookups,
        )
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The share of the instances in trouble, of what is even, in each second.
fn shares(scene: Scene, tally: &Tally, last: usize) -> Vec<f64> {
    let all = |second: usize| tally.served(second..second + 1, |_| true).max(1) as f64;
    match scene.troubled() {
        Some(troubled) => (0..last)
            .map(|second| tally.served(second..second + 1, |id| id == troubled) as f64 * 3.0 / all(second))
            .collect(),
        None if scene == Scene::Partition => {
            // A third of the callers calls two thirds of the instances across the cut, and the other way round.
            let even = 4.0 / 9.0;
            let crossed = |second: usize| tally.crossed.get(second).copied().unwrap_or(0);
            (0..last)
                .map(|second| f64::from(crossed(second)) / all(second) / even)
                .collect()
        }
        None => Vec::new(),
    }
}

/// The least and the most that an instance had of its even share, from when it had been well for so long as it may need.
fn spread(tally: &Tally, well_since: &[Option<u64>], last: usize) -> (f64, f64) {
    let well = |id: usize| well_since.get(id).copied().flatten();
    let count = well_since.iter().flatten().count().max(1) as f64;
    let mut sums = vec![(0.0, 0.0); well_since.len()];
    for second in 0..last {
        let even = tally.served(second..second + 1, |id| well(id).is_some()) as f64 / count;
        for (id, (own, wanted)) in sums.iter_mut().enumerate() {
            let begin = match well(id) {
                Some(0) => 0,
                Some(since) => since / 1000 + BACK_WITHIN,
                None => continue,
            };
            if second as u64 >= begin {
                let served = tally.served.get(second).and_then(|served| served.get(id));
                *own += f64::from(served.copied().unwrap_or(0));
                *wanted += even;
            }
        }
    }
    let ratios = sums.iter().filter(|(_, wanted)| *wanted >= ENOUGH);
    let ratios = ratios.map(|(own, wanted)| own / wanted);
    let (least, most) = ratios.fold((f64::MAX, 0.0_f64), |(least, most), ratio| {
        (least.min(ratio), most.max(ratio))
    });
    if most == 0.0 { (1.0, 1.0) } else { (least, most) }
}
