//! `spec.metric` and `spec.metrics` of a configuration.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lenient;

/// What is measured. As JSON it is what Dapr logs of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metric {
    /// Whether anything is; on by default.
    #[serde(
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "Option::is_none"
    )]
    pub enabled: Option<bool>,
    /// Whether error codes are counted.
    #[serde(
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "Option::is_none"
    )]
    pub record_error_codes: Option<bool>,
    /// How HTTP is measured.
    #[serde(
        deserialize_with = "lenient::optional_section",
        skip_serializing_if = "Option::is_none"
    )]
    pub http: Option<MetricHttp>,
    /// Bounds of latencies in milliseconds.
    #[serde(
        deserialize_with = "lenient::optional_integers",
        skip_serializing_if = "Option::is_none"
    )]
    pub latency_distribution_buckets: Option<Vec<i64>>,
    /// How workflows are measured, as it is written: this sidecar has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Value>,
    /// Rewriting of labels.
    #[serde(deserialize_with = "lenient::sections", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<MetricRule>,
}

/// How HTTP is measured.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MetricHttp {
    /// Whether every path has series of its own.
    #[serde(
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "Option::is_none"
    )]
    pub increased_cardinality: Option<bool>,
    /// Patterns that stand in place of paths.
    #[serde(deserialize_with = "lenient::texts", skip_serializing_if = "Vec::is_empty")]
    pub path_matching: Vec<String>,
    /// Whether the verb is left out.
    #[serde(
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "Option::is_none"
    )]
    pub exclude_verbs: Option<bool>,
}

/// How the labels of a family are rewritten.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct MetricRule {
    /// The family.
    #[serde(deserialize_with = "lenient::text", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its labels.
    #[serde(deserialize_with = "lenient::sections", skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<MetricLabel>,
}

/// How a label is rewritten.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct MetricLabel {
    /// The label.
    #[serde(deserialize_with = "lenient::text", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Regular expressions by what stands in place of what they match.
    #[serde(
        deserialize_with = "lenient::texts_by_name",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub regex: BTreeMap<String, String>,
}

impl Metric {
    /// This laid over another one, field by field.
    pub(crate) fn over(&self, below: &Self) -> Self {
        let above = self.clone();
        Self {
            enabled: above.enabled.or(below.enabled).or(Some(true)),
            record_error_codes: above.record_error_codes.or(below.record_error_codes),
            http: above.http.or_else(|| below.http.clone()),
            latency_distribution_buckets: above
                .latency_distribution_buckets
                .or_else(|| below.latency_distribution_buckets.clone()),
            workflow: above.workflow.or_else(|| below.workflow.clone()),
            rules: if above.rules.is_empty() {
                below.rules.clone()
            } else {
                above.rules
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(text: &str) -> Metric {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_logged_of_it() {
        for (below, above, wanted) in [
            ("{}", "{}", r#"{"enabled":true}"#),
            (
                r#"{"enabled":false,"http":{"excludeVerbs":true},"latencyDistributionBuckets":[5]}"#,
                r#"{"http":{"increasedCardinality":false,"pathMatching":["/a"]},"recordErrorCodes":true}"#,
                r#"{"enabled":false,"recordErrorCodes":true,"http":{"increasedCardinality":false,"pathMatching":["/a"]},"latencyDistributionBuckets":[5]}"#,
            ),
            (
                r#"{"rules":[{"name":"a","labels":[{"name":"l","regex":{"x":"y"}}]}]}"#,
                r#"{"rules":[]}"#,
                r#"{"enabled":true,"rules":[{"name":"a","labels":[{"name":"l","regex":{"x":"y"}}]}]}"#,
            ),
        ] {
            let merged = metric(above).over(&metric(below));
            assert_eq!(serde_json::to_string(&merged).unwrap(), wanted);
        }
    }
}
