//! How calls are measured.

use std::sync::Arc;

use super::buckets::{Buckets, LATENCIES};
use super::rules::Rules;

/// How HTTP is measured (`spec.metrics.http`).
#[derive(Clone, Debug, Default)]
pub struct HttpMode {
    /// Whether every path has series of its own.
    pub is_increased: bool,
    /// Patterns of paths, as they are written.
    pub patterns: Vec<String>,
    /// Whether the label `method` is left empty.
    pub excludes_verbs: bool,
}

/// How calls are measured.
#[derive(Clone, Debug)]
pub struct MetricsSettings {
    /// The app of this sidecar.
    pub app_id: Arc<str>,
    /// HTTP.
    pub http: HttpMode,
    /// Bounds of latencies in milliseconds; empty for those of Dapr.
    pub latencies: Vec<u64>,
    /// Rules for the values of labels.
    pub rules: Rules,
    /// Whether error codes are counted.
    pub records_error_codes: bool,
    /// Whether there are families that Dapr does not have.
    pub has_own: bool,
    /// Whether histograms of latencies keep exemplars.
    pub has_exemplars: bool,
}

impl MetricsSettings {
    pub(super) fn latencies(&self) -> Buckets {
        let buckets = if self.latencies.is_empty() {
            Buckets::latencies(LATENCIES)
        } else {
            Buckets::latencies(self.latencies.iter().copied())
        };
        buckets.with_exemplars(self.has_exemplars)
    }
}
