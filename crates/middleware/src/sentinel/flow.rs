//! Rules of flow: how many calls of a resource pass in a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::Moment;
use super::fields::{Fields, RulesError};
use super::machine::Machine;
use super::ring::Ring;
use super::warm_up::WarmUp;

/// A bucket of the windows that Sentinel shares, in milliseconds, and how many of them it has.
const SHARED: (u32, usize) = (500, 20);
/// The interval of a rule that has none, in milliseconds.
const INTERVAL: u32 = 1000;

/// A rule of flow as it is written.
#[derive(Debug)]
pub(super) struct FlowRule {
    pub(super) resource: String,
    /// Whose calls count.
    pub(super) counted: String,
    pub(super) rule: Flow,
}

/// A rule at work.
#[derive(Debug)]
pub(super) struct Flow {
    allowed: Allowed,
    behavior: Behavior,
    window: Arc<Window>,
    /// Whether those whose calls count are those that are judged.
    is_own: bool,
}

/// How many may pass in an interval.
#[derive(Debug)]
enum Allowed {
    Direct(f64),
    WarmUp(WarmUp),
    Memory(Memory),
}

/// What becomes of further ones.
#[derive(Debug)]
enum Behavior {
    Reject,
    Throttle(Throttle),
}

/// What a rule says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Pass,
    /// After so long.
    Wait(Duration),
    Block,
}

/// The calls that passed in an interval.
#[derive(Debug)]
pub(super) struct Window {
    ring: Ring,
    /// As many buckets are the interval.
    count: u64,
    seconds: f64,
}

impl Window {
    /// Intervals that the shared window of Sentinel can show are cut as that is; others are one bucket, or as many of half
    /// a second as they have.
    fn new(interval: u32) -> Self {
        let (length, most) = SHARED;
        let interval = if interval == 0 { INTERVAL } else { interval };
        let total = length * most as u32;
        let count = if (length..=total).contains(&interval) && interval.is_multiple_of(length) {
            interval / length
        } else {
            1
        };
        let is_shared = total.is_multiple_of(interval) && (interval / count).is_multiple_of(length);
        let buckets = if is_shared { most } else { count as usize };
        Self {
            ring: Ring::new(buckets, u64::from(interval / count), 0),
            count: u64::from(count),
            seconds: f64::from(interval) / 1000.0,
        }
    }

    pub(super) fn count(&self, at: Moment) {
        self.ring.count(at);
    }

    /// How many passed in a second, one bucket ago.
    fn before(&self, at: Moment) -> f64 {
        self.ring.sum(self.ring.before(at), self.count) as f64 / self.seconds
    }
}

/// More passes while this process takes little memory.
#[derive(Debug)]
struct Memory {
    /// Up to so many bytes so many pass.
    low: (f64, f64),
    /// From so many on, so many.
    high: (f64, f64),
    machine: Arc<Machine>,
}

impl Memory {
    fn allowed(&self, now: Moment) -> f64 {
        let Some(used) = self.machine.memory(now) else {
            return self.low.1;
        };
        let ((from, most), (to, least)) = (self.low, self.high);
        if used <= from {
            most
        } else if used >= to {
            least
        } else {
            (least - most) / (to - from) * (used - from) + most
        }
    }
}

/// Calls pass at even distances, and wait for that.
#[derive(Debug)]
struct Throttle {
    /// Nanoseconds.
    interval: f64,
    longest: u64,
    last: AtomicU64,
}

impl Throttle {
    fn judge(&self, now: Moment, allowed: f64) -> Judgement {
        if allowed.is_nan() || allowed < 1.0 {
            return Judgement::Block;
        }
        let distance = (self.interval / allowed).ceil() as u64;
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let next = last.saturating_add(distance).max(now.0);
            let wait = next - now.0;
            if wait > self.longest {
                return Judgement::Block;
            }
            let changed = self
                .last
                .compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed);
            match changed {
                Ok(_) if wait == 0 => return Judgement::Pass,
                Ok(_) => return Judgement::Wait(Duration::from_nanos(wait)),
                Err(other) => last = other,
            }
        }
    }
}

impl FlowRule {
    /// Reads a rule. In it is why one is no rule, as Sentinel says it, for those that are passed over.
    pub(super) fn read(fields: &Fields, machine: &Arc<Machine>) -> Result<Result<Self, String>, RulesError> {
        let resource = fields.text("resource")?;
        let threshold = fields.number("threshold")?;
        let (strategy, behavior) = (
            fields.whole("tokenCalculateStrategy")?,
            fields.whole("controlBehavior")?,
        );
        let (relation, other) = (fields.whole("relationStrategy")?, fields.text("refResource")?);
        let longest = fields.small("maxQueueingTimeMs")?;
        let (period, factor) = (
            fields.small("warmUpPeriodSec")?,
            fields.small("warmUpColdFactor")?,
        );
        let interval = fields.small("statIntervalInMs")?;
        let memory = Memory {
            low: (
                fields.whole("memLowWaterMarkBytes")? as f64,
                fields.whole("lowMemUsageThreshold")? as f64,
            ),
            high: (
                fields.whole("memHighWaterMarkBytes")? as f64,
                fields.whole("highMemUsageThreshold")? as f64,
            ),
            machine: Arc::clone(machine),
        };
        let wrong = match (strategy, behavior, relation) {
            _ if resource.is_empty() => Some("empty Resource"),
            _ if threshold < 0.0 => Some("negative Threshold"),
            (_, _, ..=-1 | 2..) => Some("invalid RelationStrategy"),
            (_, _, 1) if other.is_empty() => {
                Some("RefResource must be non empty when RelationStrategy is AssociatedResource")
            }
            (1, ..) if period == 0 => Some("WarmUpPeriodSec must be great than 0"),
            (1, ..) if factor == 1 => Some("WarmUpColdFactor must be great than 1"),
            (2, ..) if !memory.is_sound() => Some("invalid memory thresholds"),
            (..=-1 | 3.., ..) | (_, ..=-1 | 2.., _) => Some("unsupported flow control strategy"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Ok(Err(wrong.to_owned()));
        }
        let counted = if relation == 1 { other } else { resource.clone() };
        let rule = Flow {
            allowed: match strategy {
                0 => Allowed::Direct(threshold),
                1 => Allowed::WarmUp(WarmUp::new(threshold, period, factor)),
                _ => Allowed::Memory(memory),
            },
            behavior: if behavior == 0 {
                Behavior::Reject
            } else {
                Behavior::Throttle(Throttle {
                    interval: f64::from(if interval == 0 { INTERVAL } else { interval }) * 1e6,
                    longest: u64::from(longest) * 1_000_000,
                    last: AtomicU64::new(0),
                })
            },
            window: Arc::new(Window::new(interval)),
            is_own: counted == resource,
        };
        Ok(Ok(Self {
            resource,
            counted,
            rule,
        }))
    }
}

impl Memory {
    fn is_sound(&self) -> bool {
        let ((from, most), (to, least)) = (self.low, self.high);
        let total = self.machine.total_memory();
        least > 0.0 && least < most && from > 0.0 && from < to && total.is_none_or(|total| to <= total)
    }
}

impl Flow {
    /// What must be told of each call that passed, by whoever counts them; none if the rule counts itself.
    pub(super) fn counts(&self) -> Option<Arc<Window>> {
        let needs = match (&self.behavior, &self.allowed) {
            (Behavior::Reject, _) => !self.is_own,
            (Behavior::Throttle(_), Allowed::WarmUp(_)) => true,
            (Behavior::Throttle(_), _) => false,
        };
        needs.then(|| Arc::clone(&self.window))
    }

    pub(super) fn judge(&self, now: Moment) -> Judgement {
        let allowed = match &self.allowed {
            Allowed::Direct(allowed) => *allowed,
            Allowed::WarmUp(warm_up) => warm_up.allowed(now, || self.window.before(now)),
            Allowed::Memory(memory) => memory.allowed(now),
        };
        let window = &self.window;
        let passes = match &self.behavior {
            Behavior::Throttle(throttle) => return throttle.judge(now, allowed),
            Behavior::Reject if self.is_own => window.ring.take(now, window.count, allowed),
            Behavior::Reject => window.ring.sum(now, window.count) as f64 + 1.0 <= allowed,
        };
        if passes { Judgement::Pass } else { Judgement::Block }
    }

    /// A call that passed at that moment was stopped by another rule.
    pub(super) fn give_back(&self, at: Moment) {
        if self.is_own && matches!(self.behavior, Behavior::Reject) {
            self.window.ring.give_back(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;

    fn read(text: &str) -> Result<FlowRule, String> {
        let rules = fields::read(&format!("[{text}]")).unwrap();
        FlowRule::read(&rules[0], &Arc::new(Machine::new())).unwrap()
    }

    #[test]
    fn what_is_no_rule() {
        for (text, wanted) in [
            (r#"{"threshold": 1}"#, "empty Resource"),
            (r#"{"resource": "a", "threshold": -1}"#, "negative Threshold"),
            (
                r#"{"resource": "a", "relationStrategy": 2}"#,
                "invalid RelationStrategy",
            ),
            (r#"{"resource": "a", "relationStrategy": 1}"#, "RefResource"),
            (
                r#"{"resource": "a", "tokenCalculateStrategy": 1}"#,
                "WarmUpPeriodSec",
            ),
            (
                r#"{"resource": "a", "tokenCalculateStrategy": 1, "warmUpPeriodSec": 1, "warmUpColdFactor": 1}"#,
                "WarmUpColdFactor",
            ),
            (r#"{"resource": "a", "tokenCalculateStrategy": 2}"#, "memory"),
            (r#"{"resource": "a", "tokenCalculateStrategy": 3}"#, "unsupported"),
            (r#"{"resource": "a", "controlBehavior": 2}"#, "unsupported"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }

    #[test]
    fn windows() {
        for (interval, count, buckets, length) in [
            (0, 2, 20, 500),
            (1000, 2, 20, 500),
            (500, 1, 20, 500),
            (10_000, 20, 20, 500),
            (1500, 3, 3, 500),
            (700, 1, 1, 700),
            (100, 1, 1, 100),
            (12_000, 1, 1, 12_000),
        ] {
            let window = Window::new(interval);
            assert_eq!(window.count, count, "{interval}");
            let same = Ring::new(buckets, length, 0);
            assert_eq!(format!("{:?}", window.ring), format!("{same:?}"), "{interval}");
        }
    }

    #[test]
    fn less_memory_more_calls() {
        let rule = r#"{"resource": "a", "tokenCalculateStrategy": 2, "lowMemUsageThreshold": 100,
            "highMemUsageThreshold": 10, "memLowWaterMarkBytes": 1000, "memHighWaterMarkBytes": 2000}"#;
        let rule = read(rule).unwrap().rule;
        let Allowed::Memory(memory) = &rule.allowed else {
            panic!("{rule:?}");
        };
        for (used, wanted) in [
            (0, 100.0),
            (1000, 100.0),
            (1500, 55.0),
            (2000, 10.0),
            (9000, 10.0),
        ] {
            memory.machine.pretend_memory(used);
            let allowed = memory.allowed(Moment(0));
            assert!((allowed - wanted).abs() < 1e-9, "{used}: {allowed}");
        }
    }
}
