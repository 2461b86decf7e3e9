//! Error codes of Dapr in answers (`spec.metrics.recordErrorCodes`).

use std::sync::Arc;

use super::buckets::Counter;
use super::family::{Family, Kind};
use super::labels::{Column, NO_CODE, Part, Table, TableSettings};
use super::settings::MetricsSettings;

static ERRORS: [Column<Counter>; 1] = [Column {
    name: "dapr_error_code_total",
    help: "Total number of times an error with a specific error code was encountered.",
    kind: Kind::Counter,
    labels: &[
        ("app_id", Part::App),
        ("category", Part::First),
        ("error_code", Part::Second),
    ],
    value: Counter::value,
}];

/// How codes begin, and the part of Dapr that they belong to; all others are common to all parts.
const CATEGORIES: &[(&str, &str)] = &[
    ("ERR_DIRECT_INVOKE", "service-invocation"),
    ("ERR_HEALTH_", "health"),
    ("ERR_OUTBOUND_HEALTH_", "health"),
    ("ERR_ACTOR_", "actor"),
    ("ERR_STATE_", "state"),
    ("ERR_NOT_SUPPORTED_STATE_", "state"),
    ("ERR_PUBSUB_", "pubsub"),
    ("ERR_TOPIC_", "pubsub"),
    ("ERR_SECRET_", "secret"),
    ("ERR_CONFIGURATION_", "configuration"),
    ("ERR_CRYPTO", "crypto"),
    ("ERR_LOCK_", "lock"),
    ("ERR_TRY_LOCK", "lock"),
    ("ERR_UNLOCK", "lock"),
    ("ERR_CONVERSATION_", "conversation"),
    ("ERR_INVOKE_OUTPUT_BINDING", "binding"),
    ("DAPR_SCHEDULER_", "job"),
];

fn category(code: &str) -> &'static str {
    let found = CATEGORIES
        .iter()
        .find(|(beginning, _)| code.starts_with(beginning));
    found.map_or("common", |(_, category)| category)
}

/// How often each code was answered.
pub(super) struct ErrorCodes(Table<Counter>);

impl ErrorCodes {
    pub(super) fn new(settings: &MetricsSettings) -> Self {
        let table = TableSettings {
            columns: &ERRORS[..],
            make: Box::new(Counter::default),
            fold: |names| names,
            what: "error codes",
        };
        Self(Table::new(
            Arc::clone(&settings.app_id),
            settings.rules.clone(),
            table,
        ))
    }

    pub(super) fn count(&self, code: &str) {
        self.0.count([category(code), code], NO_CODE, Counter::add_one);
    }

    pub(super) fn families(&self) -> Vec<Family> {
        self.0.families()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories() {
        for (code, wanted) in [
            ("ERR_DIRECT_INVOKE", "service-invocation"),
            ("ERR_OUTBOUND_HEALTH_NOT_READY", "health"),
            ("ERR_HEALTH_NOT_READY", "health"),
            ("ERR_MALFORMED_REQUEST", "common"),
            ("ERR_ACTOR_NO_PLACEMENT", "actor"),
        ] {
            assert_eq!(category(code), wanted);
        }
    }
}
