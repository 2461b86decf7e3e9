//! The `configuration` of a resolver, as Dapr's components decode theirs.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

/// Settings that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum SettingsError {
    /// There is no map.
    #[error("input object cannot be cast to map[string]string: {0}")]
    NoMap(&'static str),
    /// Two keys are the same but for their case.
    #[error("failed to resolve aliases: key {0} is duplicate in the metadata")]
    Duplicate(String),
    /// A value is no duration, or too long to be meant.
    #[error("invalid value for '{name}': {text:?} is no duration of up to a hundred years")]
    Duration {
        /// The key.
        name: &'static str,
        /// The value.
        text: String,
    },
}

/// Keys without regard to case, values as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    pub(crate) fn of(configuration: &Value) -> Result<Self, SettingsError> {
        let parsed;
        let map = match configuration {
            Value::Object(map) => map,
            Value::String(text) => {
                parsed =
                    serde_json::from_str::<Value>(text).map_err(|_| SettingsError::NoMap("not a map"))?;
                parsed.as_object().ok_or(SettingsError::NoMap("not a map"))?
            }
            _ => return Err(SettingsError::NoMap("not a map")),
        };
        let mut settings: Vec<(String, String)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let lower = key.to_lowercase();
            if settings.iter().any(|(known, _)| *known == lower) {
                return Err(SettingsError::Duplicate(lower));
            }
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            settings.push((lower, text));
        }
        Ok(Self(settings))
    }

    /// The value of the first of these names that is there.
    pub(crate) fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| {
            let name = name.to_lowercase();
            self.0
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.as_str())
        })
    }

    /// A boolean: everything but a plain yes is no.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(&[name]).is_some_and(go_text::is_truthy)
    }

    /// A duration: Go's syntax, or a whole number of seconds.
    pub(crate) fn duration(
        &self,
        name: &'static str,
        alias: &str,
        default: Duration,
    ) -> Result<Duration, SettingsError> {
        let Some(text) = self.text(&[name, alias]) else {
            return Ok(default);
        };
        if text.is_empty() {
            return Ok(Duration::ZERO);
        }
        let duration = match text.parse::<i64>() {
            Ok(seconds) => Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
            Err(_) => go_duration(text),
        };
        duration
            .filter(|duration| *duration <= LONGEST)
            .ok_or_else(|| SettingsError::Duration {
                name,
                text: text.to_owned(),
            })
    }
}

/// The longest duration that makes sense, a hundred years: a clock can be put forward by it.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// `1h30m`, `800ms`; negative ones count as none.
pub(crate) fn go_duration(text: &str) -> Option<Duration> {
    let nanos = go_text::parse_duration(text).ok()?;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings() {
        let settings = Settings::of(&json!({"Timeout": "1m30s", "count": 5, "on": "Yes"})).unwrap();
        assert_eq!(settings.text(&["COUNT"]), Some("5"));
        assert!(settings.flag("on") && !settings.flag("count"));
        let of = |name| settings.duration(name, "", Duration::MAX);
        assert_eq!(of("timeout"), Ok(Duration::from_secs(90)));
        assert_eq!(of("count"), Ok(Duration::from_secs(5)));
        assert_eq!(of("absent"), Ok(Duration::MAX));
        assert!(of("on").is_err());
        assert_eq!(
            Settings::of(&json!({"a": 1, "A": 2})).unwrap_err().to_string(),
            "failed to resolve aliases: key a is duplicate in the metadata"
        );
        assert!(Settings::of(&json!("{\"a\": 1}")).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_duration_is_judged(text in "\\PC{0,12}") {
            let _ = go_duration(&text);
        }
    }
}
