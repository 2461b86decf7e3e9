//! `spec.daprd` of a configuration: what Dapr's `daprd` does not have, and does not look at.
//!
//! Fields that are not known are mistakes here, because nobody else can have meant them.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::lenient;
use crate::template::{self, Template};
use crate::tracing::OtelHeader;

/// What this sidecar has beyond Dapr.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Extensions {
    /// Families of metrics of our own.
    #[serde(deserialize_with = "lenient::section")]
    pub metrics: OwnMetrics,
    /// A line of the log for each call.
    #[serde(deserialize_with = "lenient::section")]
    pub access_log: AccessLogging,
    /// How the app is called.
    #[serde(deserialize_with = "lenient::section")]
    pub app: AppExtensions,
}

/// How the app is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AppExtensions {
    /// For how long connections to it are used again.
    #[serde(deserialize_with = "lenient::section")]
    pub connections: AppConnections,
}

/// For how long connections to the app are used again; unless it is said, for as long as they are of use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AppConnections {
    /// How many calls a connection serves; 1 for a connection of its own for each call.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(deserialize_with = "most_calls")]
    pub most_calls: Option<NonZeroU32>,
    /// The age after which a connection takes no more calls, as it is written.
    #[serde(deserialize_with = "lenient::text")]
    pub max_age: String,
}

/// So many calls at most may be asked for.
const MOST_CALLS: u64 = 1_000_000;

fn most_calls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let count = value.as_u64().filter(|count| (1..=MOST_CALLS).contains(count));
    let count = count.and_then(|count| NonZeroU32::new(u32::try_from(count).ok()?));
    if count.is_none() && !value.is_null() {
        let text = format!("expected a whole number from 1 to {MOST_CALLS}, found {value}");
        return Err(D::Error::custom(text));
    }
    Ok(count)
}

/// A line of the log for each call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessLogging {
    /// Whether there is one; unless this says so, there is if it has a template.
    #[serde(deserialize_with = "lenient::boolean")]
    pub enabled: Option<bool>,
    /// What the line says; `None` for all that can be said.
    #[serde(deserialize_with = "template::optional")]
    #[schemars(with = "String")]
    pub template: Option<Template>,
}

/// Families of metrics of our own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OwnMetrics {
    /// Whether there are any; on by default.
    #[serde(deserialize_with = "lenient::boolean")]
    pub enabled: Option<bool>,
    /// Whether each instance of an app that is called has series of its own; off by default.
    #[serde(deserialize_with = "lenient::boolean")]
    pub endpoints: Option<bool>,
    /// Whether latencies have exemplars, and scrapers that ask for it `OpenMetrics`; off by default.
    #[serde(deserialize_with = "lenient::boolean")]
    pub exemplars: Option<bool>,
    /// A collector that all metrics are pushed to, those of Dapr included.
    #[serde(deserialize_with = "lenient::section")]
    pub otlp: OtlpMetrics,
}

/// A collector that metrics are pushed to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OtlpMetrics {
    /// Whether metrics are pushed; unless this says so, they are if there is an address.
    #[serde(deserialize_with = "lenient::boolean")]
    pub enabled: Option<bool>,
    /// `host:port`, or a URL.
    #[serde(deserialize_with = "lenient::text")]
    pub endpoint_address: String,
    /// `grpc` or `http`.
    #[serde(deserialize_with = "lenient::text")]
    pub protocol: String,
    /// Whether the connection is secured; it is, unless this says no.
    #[serde(deserialize_with = "lenient::boolean")]
    pub is_secure: Option<bool>,
    /// What goes along with each export.
    #[serde(deserialize_with = "lenient::or_default")]
    pub headers: Vec<OtelHeader>,
    /// How long an export may take, as it is written.
    #[serde(deserialize_with = "lenient::text")]
    pub timeout: String,
    /// How often metrics go out, as it is written.
    #[serde(deserialize_with = "lenient::text")]
    pub interval: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::load;

    #[test]
    fn what_is_written() {
        for (text, enabled, endpoints) in [
            ("", None, None),
            ("spec: {daprd: }\n", None, None),
            ("spec: {daprd: {metrics: {enabled: no}}}\n", Some(false), None),
            (
                "spec: {daprd: {metrics: {enabled: true, endpoints: on, exemplars: on}}}\n",
                Some(true),
                Some(true),
            ),
        ] {
            let wanted = OwnMetrics {
                enabled,
                endpoints,
                exemplars: endpoints,
                ..OwnMetrics::default()
            };
            assert_eq!(load(&[text]).unwrap().daprd.metrics, wanted, "{text:?}");
        }
        for (text, calls, age) in [
            ("spec: {daprd: {app: }}\n", None, ""),
            (
                "spec: {daprd: {app: {connections: {mostCalls: , maxAge: 30s}}}}\n",
                None,
                "30s",
            ),
            (
                "spec: {daprd: {app: {connections: {mostCalls: 1}}}}\n",
                NonZeroU32::new(1),
                "",
            ),
        ] {
            let connections = load(&[text]).unwrap().daprd.app.connections;
            let wanted = AppConnections {
                most_calls: calls,
                max_age: age.to_owned(),
            };
            assert_eq!(connections, wanted, "{text:?}");
        }
        let layers = [
            "spec: {daprd: {metrics: {enabled: false, endpoints: true}}}\n",
            "spec: {daprd: {metrics: {enabled: true}}}\n",
        ];
        let metrics = load(&layers).unwrap().daprd.metrics;
        assert_eq!((metrics.enabled, metrics.endpoints), (Some(true), Some(true)));
    }

    #[test]
    fn mistakes_name_file_and_field() {
        for (text, field) in [
            ("spec: {daprd: on}\n", "spec.daprd"),
            ("spec: {daprd: {metrics: true}}\n", "spec.daprd.metrics"),
            (
                "spec: {daprd: {metrics: {enabled: 7}}}\n",
                "spec.daprd.metrics.enabled",
            ),
            ("spec: {daprd: {metrics: {endpoint: true}}}\n", "endpoint"),
            ("spec: {daprd: {metric: {}}}\n", "metric"),
            (
                "spec: {daprd: {metrics: {otlp: {endpoint: x}}}}\n",
                "endpointAddress",
            ),
            (
                "spec: {daprd: {metrics: {otlp: {isSecure: maybe}}}}\n",
                "spec.daprd.metrics.otlp.isSecure",
            ),
            (
                "spec: {daprd: {accessLog: {template: '{verb} {token}'}}}\n",
                "there is no field {token}",
            ),
            (
                "spec: {daprd: {accessLog: {template: 'a}'}}}\n",
                "spec.daprd.accessLog.template",
            ),
            ("spec: {daprd: {accessLog: {template: []}}}\n", "template"),
            (
                "spec: {daprd: {app: {connections: never}}}\n",
                "spec.daprd.app.connections",
            ),
            (
                "spec: {daprd: {app: {connections: {reuse: never}}}}\n",
                "mostCalls",
            ),
            (
                "spec: {daprd: {app: {connections: {mostCalls: 0}}}}\n",
                "from 1 to 1000000, found 0 for key \"spec.daprd.app.connections.mostCalls\"",
            ),
            (
                "spec: {daprd: {app: {connections: {mostCalls: '1'}}}}\n",
                "found \"1\"",
            ),
        ] {
            let error = load(&[text]).unwrap_err();
            assert!(
                error.contains("FILE") && error.contains(field),
                "{text:?}: {error}"
            );
        }
    }
}
