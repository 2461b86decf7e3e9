//! Rules of hot parameters. Dapr shows Sentinel no parameters of a call, so that none of these rules ever counts: they are
//! read, so that what is written wrong is told, and that is all.

use super::fields::{Fields, RulesError};

/// A rule that is read.
#[derive(Debug)]
pub(super) struct HotSpotRule {
    pub(super) resource: String,
}

impl HotSpotRule {
    /// Reads a rule. In it is why one is no rule, as Sentinel says it, for those that are passed over.
    pub(super) fn read(fields: &Fields) -> Result<Result<Self, String>, RulesError> {
        let resource = fields.text("resource")?;
        let (metric, behavior) = (fields.whole("metricType")?, fields.whole("controlBehavior")?);
        let threshold = fields.whole("threshold")?;
        let duration = fields.whole("durationInSec")?;
        let (burst, queueing) = (fields.whole("burstCount")?, fields.whole("maxQueueingTimeMs")?);
        for name in ["paramIndex", "paramsMaxCapacity"] {
            fields.whole(name)?;
        }
        let wrong = match () {
            () if resource.is_empty() => "empty resource name",
            () if threshold < 0 => "negative threshold",
            () if metric < 0 => "invalid metric type",
            () if behavior < 0 => "invalid control strategy",
            () if metric == 1 && duration <= 0 => "invalid duration",
            () if behavior == 0 && burst < 0 => "invalid BurstCount",
            () if behavior == 1 && queueing < 0 => "invalid MaxQueueingTimeMs",
            () => return Ok(Ok(Self { resource })),
        };
        Ok(Err(wrong.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;

    #[test]
    fn rules() {
        for (text, wanted) in [
            (r#"{"resource": "a", "threshold": 1}"#, None),
            (
                r#"{"resource": "a", "metricType": 1, "durationInSec": 1, "specificItems": []}"#,
                None,
            ),
            ("{}", Some("empty resource name")),
            (
                r#"{"resource": "a", "threshold": -1}"#,
                Some("negative threshold"),
            ),
            (r#"{"resource": "a", "metricType": 1}"#, Some("invalid duration")),
            (
                r#"{"resource": "a", "burstCount": -1}"#,
                Some("invalid BurstCount"),
            ),
            (
                r#"{"resource": "a", "controlBehavior": 1, "maxQueueingTimeMs": -1}"#,
                Some("invalid MaxQueueingTimeMs"),
            ),
        ] {
            let rules = fields::read(&format!("[{text}]")).unwrap();
            let read = HotSpotRule::read(&rules[0]).unwrap();
            assert_eq!(read.err().as_deref(), wanted, "{text}");
        }
        let rules = fields::read(r#"[{"resource": "a", "paramIndex": "0"}]"#).unwrap();
        assert!(HotSpotRule::read(&rules[0]).is_err());
    }
}
