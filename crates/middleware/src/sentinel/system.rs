//! Rules of the system: calls pass while all of them together are not too many, too slow, or too much for the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::clock::Moment;
use super::fields::{Fields, RulesError};
use super::machine::Machine;
use super::ring::Ring;

/// Two buckets of half a second are what counts.
const BUCKETS: u64 = 2;
const LENGTH: u64 = 500;
/// An answer counts as so long at most, in milliseconds, where the shortest is looked for.
const LONGEST: u32 = 60_000;
/// A rule that looks at what the machine carried before it stops calls, as TCP's BBR does.
const ADAPTIVE: i64 = 1;

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Load,
    AverageTime,
    Concurrency,
    Calls,
    Processor,
}

/// A rule of the system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SystemRule {
    metric: Metric,
    threshold: f64,
    is_adaptive: bool,
}

impl SystemRule {
    /// Reads a rule. In it is why one is no rule, as Sentinel says it, for those that are passed over.
    pub(super) fn read(fields: &Fields) -> Result<Result<Self, String>, RulesError> {
        let threshold = fields.number("triggerCount")?;
        let metric = match fields.small("metricType")? {
            0 => Metric::Load,
            1 => Metric::AverageTime,
            2 => Metric::Concurrency,
            3 => Metric::Calls,
            4 => Metric::Processor,
            _ => return Ok(Err("invalid metric type".to_owned())),
        };
        let is_adaptive = fields.whole("strategy")? == ADAPTIVE;
        Ok(if threshold < 0.0 {
            Err("negative threshold".to_owned())
        } else if metric == Metric::Processor && threshold > 1.0 {
            Err("invalid CPU usage, valid range is [0.0, 1.0]".to_owned())
        } else {
            Ok(Self {
                metric,
                threshold,
                is_adaptive,
            })
        })
    }

    /// What the machine does not say, if the rule needs it.
    pub(super) fn unknown(&self, machine: &Machine, now: Moment) -> Option<&'static str> {
        match self.metric {
            Metric::Load if machine.load(now).is_none() => Some("load"),
            Metric::Processor if machine.processor(now).is_none() => Some("cpuUsage"),
            _ => None,
        }
    }
}

/// The calls of all resources together.
#[derive(Debug)]
pub(super) struct System {
    rules: Box<[SystemRule]>,
    machine: Arc<Machine>,
    running: AtomicU32,
    passed: Ring,
    completed: Ring,
    /// How long they took, together and at least, in milliseconds.
    times: Ring,
    shortest: Ring,
}

impl System {
    /// `None` without a rule: then nothing need be counted.
    pub(super) fn new(rules: Vec<SystemRule>, machine: Arc<Machine>) -> Option<Self> {
        let ring = |empty| Ring::new(BUCKETS as usize, LENGTH, empty);
        (!rules.is_empty()).then(|| Self {
            rules: rules.into(),
            machine,
            running: AtomicU32::new(0),
            passed: ring(0),
            completed: ring(0),
            times: ring(0),
            shortest: ring(LONGEST),
        })
    }

    /// Whether all rules let a call pass.
    pub(super) fn lets_pass(&self, now: Moment) -> bool {
        self.rules.iter().all(|rule| {
            let threshold = rule.threshold;
            let is_too_much = |value: Option<f64>| {
                value.is_some_and(|value| value > threshold) && !(rule.is_adaptive && self.carries_more(now))
            };
            match rule.metric {
                Metric::Calls => (self.passed.sum(now, BUCKETS) as f64) < threshold,
                Metric::Concurrency => f64::from(self.running()) < threshold,
                Metric::AverageTime => (self.average(now) as f64) < threshold,
                Metric::Load => !is_too_much(self.machine.load(now)),
                Metric::Processor => !is_too_much(self.machine.processor(now)),
            }
        })
    }

    fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    fn average(&self, now: Moment) -> u64 {
        let times = self.times.sum(now, BUCKETS);
        times.checked_div(self.completed.sum(now, BUCKETS)).unwrap_or(0)
    }

    /// Whether no more calls go on than were answered at best in the time that the shortest took.
    fn carries_more(&self, now: Moment) -> bool {
        let running = self.running();
        let most = self.completed.values(now, BUCKETS).max().unwrap_or(0);
        let a_second = f64::from(most) * 1000.0 / LENGTH as f64;
        let shortest = self.shortest.values(now, BUCKETS).min().unwrap_or(LONGEST);
        running <= 1 || f64::from(running) <= a_second * f64::from(shortest.max(1)) / 1000.0
    }

    pub(super) fn begin(&self, now: Moment) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.passed.count(now);
    }

    /// A call is over that took so long, in milliseconds.
    pub(super) fn end(&self, now: Moment, took: u64) {
        let took = u32::try_from(took).unwrap_or(u32::MAX);
        self.times.update(now, |times| times.saturating_add(took));
        self.shortest.update(now, |shortest| shortest.min(took));
        self.completed.count(now);
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;

    fn read(text: &str) -> Result<SystemRule, String> {
        SystemRule::read(&fields::read(&format!("[{text}]")).unwrap()[0]).unwrap()
    }

    #[test]
    fn what_is_no_rule() {
        for (text, wanted) in [
            (r#"{"metricType": 5}"#, "invalid metric type"),
            (r#"{"triggerCount": -1}"#, "negative threshold"),
            (
                r#"{"metricType": 4, "triggerCount": 1.5}"#,
                "invalid CPU usage, valid range is [0.0, 1.0]",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), wanted);
        }
    }

    fn at(millis: u64) -> Moment {
        Moment(1_700_000_000_000_000_000 + millis * 1_000_000)
    }

    fn system(rule: &str) -> System {
        System::new(vec![read(rule).unwrap()], Arc::new(Machine::new())).unwrap()
    }

    #[test]
    fn load_and_processors() {
        for (rule, load, processor, wanted) in [
            (r#"{"metricType": 0, "triggerCount": 2}"#, 2.0, 9.0, true),
            (r#"{"metricType": 0, "triggerCount": 2}"#, 2.1, 0.0, false),
            (r#"{"metricType": 4, "triggerCount": 0.5}"#, 9.0, 0.5, true),
            (r#"{"metricType": 4, "triggerCount": 0.5}"#, 0.0, 0.6, false),
            (r#"{"metricType": 4, "triggerCount": 0.5}"#, 0.0, f64::NAN, true),
        ] {
            let system = system(rule);
            system.machine.pretend_load_and_processor(load, processor);
            assert_eq!(system.lets_pass(at(0)), wanted, "{rule} {load} {processor}");
        }
    }

    #[test]
    fn a_rule_that_adapts_looks_at_what_went_well() {
        let system = system(r#"{"metricType": 0, "triggerCount": 1, "strategy": 1}"#);
        system.machine.pretend_load_and_processor(2.0, 0.0);
        system.begin(at(0));
        assert!(system.lets_pass(at(0)), "one alone goes on");
        for _ in 0..3 {
            system.begin(at(0));
            system.end(at(0), 400);
        }
        // Six a second, each of 0.4 s: two at a time.
        system.begin(at(10));
        assert!(system.lets_pass(at(10)));
        system.begin(at(10));
        assert!(!system.lets_pass(at(10)));
    }
}
