//! `spec.tracing` of a configuration.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::lenient;

/// Where spans go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Tracing {
    /// How many calls are sampled, as it is written.
    #[serde(deserialize_with = "lenient::text")]
    pub sampling_rate: String,
    /// Whether spans are logged.
    #[serde(deserialize_with = "lenient::boolean")]
    pub stdout: Option<bool>,
    /// The Zipkin collector.
    #[serde(deserialize_with = "lenient::section")]
    pub zipkin: Zipkin,
    /// The OpenTelemetry collector.
    #[serde(deserialize_with = "lenient::section")]
    pub otel: Otel,
}

/// A Zipkin collector.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Zipkin {
    /// Its URL.
    #[serde(deserialize_with = "lenient::text")]
    pub endpoint_address: String,
}

/// An OpenTelemetry collector.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Otel {
    /// `http` or `grpc`.
    #[serde(deserialize_with = "lenient::text")]
    pub protocol: String,
    /// `host:port`.
    #[serde(deserialize_with = "lenient::text")]
    pub endpoint_address: String,
    /// Whether the connection is secured; it is, unless this says no.
    #[serde(deserialize_with = "lenient::boolean")]
    pub is_secure: Option<bool>,
    /// What goes along with each export.
    #[serde(deserialize_with = "lenient::or_default")]
    pub headers: Vec<OtelHeader>,
    /// How long an export may take, as it is written.
    #[serde(deserialize_with = "lenient::text")]
    pub timeout: String,
}

/// A header for a collector: `name=value` in files, name and value from the operator, which has put secrets in their
/// place. Its `Debug` does not show the value, which may be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OtelHeader {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl fmt::Debug for OtelHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelHeader")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for OtelHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = |value: Option<Value>| match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::default()),
            // Without `=` it is no header.
            Value::String(pair) => {
                Ok(pair
                    .split_once('=')
                    .map_or_else(Self::default, |(name, value)| Self {
                        name: name.to_owned(),
                        value: value.to_owned(),
                    }))
            }
            Value::Object(mut header) => Ok(Self {
                name: text(header.remove("name")),
                value: text(header.remove("value")),
            }),
            // The value is not shown: it may be a secret that stands in the wrong place.
            _ => Err(D::Error::custom("expected a header, written name=value")),
        }
    }
}

/// In files and from the operator it looks different.
impl JsonSchema for OtelHeader {
    fn schema_name() -> Cow<'static, str> {
        "OtelHeader".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A header, written name=value.",
            "type": "string",
            "pattern": "=",
        })
    }
}
