//! Circuit breakers: a resource whose calls are slow or fail is left alone for a while.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::clock::Moment;
use super::fields::{Fields, RulesError};
use super::ring::Ring;

/// As many buckets the window of a rule may have.
const BUCKETS: u32 = 1000;
/// Ratios that are so close are the same.
const CLOSE: f64 = 1e-8;

const CLOSED: u8 = 0;
const HALF_OPEN: u8 = 1;
const OPEN: u8 = 2;

/// A rule as it is written.
#[derive(Debug)]
pub(super) struct BreakerRule {
    pub(super) resource: String,
    pub(super) breaker: Breaker,
}

/// When a breaker opens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trip {
    /// So large a part of the calls took longer than that, in milliseconds.
    Slow(f64, u64),
    /// So large a part of them failed.
    Failed(f64),
    /// So many failed.
    Failures(u64),
}

/// A breaker at work.
#[derive(Debug)]
pub(super) struct Breaker {
    trip: Trip,
    /// How long it stays open, in milliseconds.
    retry: u64,
    /// With fewer calls in the window it does not open.
    least: u64,
    /// As many calls must go well when it is half open; one, if none.
    probes: u64,
    buckets: u64,
    all: Ring,
    bad: Ring,
    state: AtomicU8,
    /// When it is tried again, in milliseconds since 1970.
    retry_at: AtomicU64,
    probed: AtomicU64,
}

/// What a breaker says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Pass,
    /// It is the call that tries whether the resource is well again.
    Probe,
    Block,
}

impl BreakerRule {
    /// Reads a rule. In it is why one is no rule, as Sentinel says it, for those that are passed over.
    pub(super) fn read(fields: &Fields) -> Result<Result<Self, String>, RulesError> {
        let resource = fields.text("resource")?;
        let threshold = fields.number("threshold")?;
        let longest = fields.count("maxAllowedRtMs")?;
        let (retry, interval) = (fields.small("retryTimeoutMs")?, fields.small("statIntervalMs")?);
        let (least, probes) = (fields.count("minRequestAmount")?, fields.count("probeNum")?);
        let buckets = fields.small("statSlidingWindowBucketCount")?;
        let trip = match fields.small("strategy")? {
            0 => Ok(Trip::Slow(threshold, longest)),
            1 => Ok(Trip::Failed(threshold)),
            2 => Ok(Trip::Failures(threshold as u64)),
            _ => Err("unsupported strategy"),
        };
        let wrong = match trip {
            _ if resource.is_empty() => "empty resource name",
            _ if interval == 0 => "invalid StatIntervalMs",
            _ if retry == 0 => "invalid RetryTimeoutMs",
            _ if threshold < 0.0 => "invalid Threshold",
            Ok(Trip::Slow(..)) if threshold > 1.0 => {
                "invalid slow request ratio threshold (valid range: [0.0, 1.0])"
            }
            Ok(Trip::Failed(_)) if threshold > 1.0 => {
                "invalid error ratio threshold (valid range: [0.0, 1.0])"
            }
            Err(wrong) => wrong,
            Ok(trip) => {
                let buckets = if buckets == 0 || !interval.is_multiple_of(buckets) {
                    1
                } else {
                    buckets
                };
                if buckets > BUCKETS {
                    return Err(RulesError::TooMuch {
                        rule: fields.rule,
                        name: "statSlidingWindowBucketCount",
                        found: buckets.into(),
                        most: BUCKETS.into(),
                    });
                }
                let ring = || Ring::new(buckets as usize, u64::from(interval / buckets), 0);
                let breaker = Breaker {
                    trip,
                    retry: retry.into(),
                    least,
                    probes,
                    buckets: buckets.into(),
                    all: ring(),
                    bad: ring(),
                    state: AtomicU8::new(CLOSED),
                    retry_at: AtomicU64::new(0),
                    probed: AtomicU64::new(0),
                };
                return Ok(Ok(Self { resource, breaker }));
            }
        };
        Ok(Err(wrong.to_owned()))
    }
}

impl Breaker {
    pub(super) fn admit(&self, now: Moment) -> Admission {
        match self.state.load(Ordering::Acquire) {
            CLOSED => Admission::Pass,
            HALF_OPEN if self.probes > 0 => Admission::Pass,
            OPEN if now.millis() >= self.retry_at.load(Ordering::Acquire) && self.change(OPEN, HALF_OPEN) => {
                Admission::Probe
            }
            _ => Admission::Block,
        }
    }

    /// The call that was to try it was stopped by another rule.
    pub(super) fn not_probed(&self) {
        self.change(HALF_OPEN, OPEN);
    }

    /// A call is over that took so long, in milliseconds.
    pub(super) fn completed(&self, now: Moment, took: u64, has_failed: bool) {
        let is_bad = match self.trip {
            Trip::Slow(_, longest) => took > longest,
            Trip::Failed(_) | Trip::Failures(_) => has_failed,
        };
        if is_bad {
            self.bad.count(now);
        }
        self.all.count(now);
        match self.state.load(Ordering::Acquire) {
            OPEN => {}
            HALF_OPEN if is_bad => self.open(HALF_OPEN, now),
            HALF_OPEN => {
                let probed = self.probed.fetch_add(1, Ordering::AcqRel) + 1;
                if probed >= self.probes {
                    if self.change(HALF_OPEN, CLOSED) {
                        self.probed.store(0, Ordering::Release);
                    }
                    self.all.clear();
                    self.bad.clear();
                }
            }
            _ if self.is_tripped(now) => self.open(CLOSED, now),
            _ => {}
        }
    }

    fn is_tripped(&self, now: Moment) -> bool {
        let all = self.all.sum(now, self.buckets);
        let bad = self.bad.sum(now, self.buckets);
        let reaches = |threshold: f64| bad as f64 / all as f64 > threshold - CLOSE;
        all >= self.least
            && match self.trip {
                Trip::Slow(threshold, _) | Trip::Failed(threshold) => reaches(threshold),
                Trip::Failures(most) => bad >= most,
            }
    }

    fn open(&self, from: u8, now: Moment) {
        // Whoever sees that it is open must see until when.
        let before = self.retry_at.swap(now.millis() + self.retry, Ordering::AcqRel);
        if self.change(from, OPEN) {
            self.probed.store(0, Ordering::Release);
        } else {
            self.retry_at.store(before, Ordering::Release);
        }
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;

    fn read(text: &str) -> Result<Result<BreakerRule, String>, RulesError> {
        BreakerRule::read(&fields::read(&format!("[{text}]")).unwrap()[0])
    }

    #[test]
    fn what_is_no_rule() {
        let some = r#""resource": "a", "statIntervalMs": 1000"#;
        let most = format!(r#"{some}, "retryTimeoutMs": 1"#);
        for (text, wanted) in [
            ("{}".to_owned(), "empty resource name"),
            (r#"{"resource": "a"}"#.to_owned(), "invalid StatIntervalMs"),
            (format!("{{{some}}}"), "invalid RetryTimeoutMs"),
            (format!(r#"{{{most}, "threshold": -1}}"#), "invalid Threshold"),
            (
                format!(r#"{{{most}, "threshold": 2}}"#),
                "invalid slow request ratio threshold (valid range: [0.0, 1.0])",
            ),
            (
                format!(r#"{{{most}, "threshold": 2, "strategy": 1}}"#),
                "invalid error ratio threshold (valid range: [0.0, 1.0])",
            ),
            (format!(r#"{{{most}, "strategy": 3}}"#), "unsupported strategy"),
        ] {
            assert_eq!(read(&text).unwrap().unwrap_err(), wanted, "{text}");
        }
        let many = r#"{"resource": "a", "retryTimeoutMs": 1, "statIntervalMs": 2000000000,
            "statSlidingWindowBucketCount": 2000000000}"#;
        assert_eq!(
            read(many).unwrap_err().to_string(),
            "rule 1: statSlidingWindowBucketCount is 2000000000, and may be 1000 at most"
        );
    }

    fn at(millis: u64) -> Moment {
        Moment(1_700_000_000_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn a_breaker_opens_is_tried_and_closes() {
        let text = r#"{"resource": "a", "strategy": 2, "threshold": 2, "retryTimeoutMs": 500, "statIntervalMs": 1000,
            "probeNum": 2}"#;
        let breaker = read(text).unwrap().unwrap().breaker;
        for _ in 0..2 {
            assert_eq!(breaker.admit(at(0)), Admission::Pass);
            breaker.completed(at(0), 1, true);
        }
        assert_eq!(breaker.admit(at(499)), Admission::Block);
        assert_eq!(breaker.admit(at(500)), Admission::Probe);
        breaker.not_probed();
        assert_eq!(breaker.admit(at(500)), Admission::Probe);
        breaker.completed(at(510), 1, true);
        assert_eq!(breaker.admit(at(1009)), Admission::Block);
        assert_eq!(breaker.admit(at(1010)), Admission::Probe);
        breaker.completed(at(1020), 1, false);
        assert_eq!(breaker.admit(at(1020)), Admission::Pass, "one more is to go well");
        breaker.completed(at(1030), 1, false);
        breaker.completed(at(1040), 1, true);
        assert_eq!(breaker.admit(at(1050)), Admission::Pass, "it has begun anew");
    }
}
