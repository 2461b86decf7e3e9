//! Rules of isolation: how many calls of a resource go on at a time.

use std::sync::atomic::{AtomicU32, Ordering};

use super::fields::{Fields, RulesError};

/// A rule of isolation as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IsolationRule {
    pub(super) resource: String,
    pub(super) threshold: u32,
}

impl IsolationRule {
    /// Reads a rule. In it is why one is no rule, as Sentinel says it, for those that are passed over.
    pub(super) fn read(fields: &Fields) -> Result<Result<Self, String>, RulesError> {
        let resource = fields.text("resource")?;
        let metric = fields.whole("metricType")?;
        let threshold = fields.small("threshold")?;
        Ok(if resource.is_empty() {
            Err("empty resource of isolation rule".to_owned())
        } else if metric != 0 {
            Err(format!("unsupported metric type: {metric}"))
        } else if threshold == 0 {
            Err("zero threshold".to_owned())
        } else {
            Ok(Self { resource, threshold })
        })
    }
}

/// The calls of a resource that go on.
#[derive(Debug)]
pub(super) struct Isolation {
    most: u32,
    running: AtomicU32,
}

impl Isolation {
    /// For as many as the strictest of the rules says.
    pub(super) fn new(rules: impl Iterator<Item = u32>) -> Option<Self> {
        rules.min().map(|most| Self {
            most,
            running: AtomicU32::new(0),
        })
    }

    /// Whether one more may go on. If so, it does.
    pub(super) fn begin(&self) -> bool {
        let more = |running| (running < self.most).then(|| running + 1);
        self.running
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    pub(super) fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;

    #[test]
    fn what_is_no_rule() {
        for (text, wanted) in [
            (r#"{"threshold": 1}"#, "empty resource of isolation rule"),
            (
                r#"{"resource": "a", "metricType": 1}"#,
                "unsupported metric type: 1",
            ),
            (r#"{"resource": "a", "maxConcurrency": 10}"#, "zero threshold"),
        ] {
            let rules = fields::read(&format!("[{text}]")).unwrap();
            assert_eq!(IsolationRule::read(&rules[0]).unwrap().unwrap_err(), wanted);
        }
    }

    #[test]
    fn the_strictest_counts() {
        assert!(Isolation::new([].into_iter()).is_none());
        let isolation = Isolation::new([3, 2].into_iter()).unwrap();
        assert!(isolation.begin() && isolation.begin() && !isolation.begin());
        isolation.end();
        assert!(isolation.begin() && !isolation.begin());
    }
}
