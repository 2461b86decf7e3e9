//! For how long connections to the app are used again.

use std::num::NonZeroU32;
use std::time::Duration;

use resources::AppConnections;
use thiserror::Error;
use transport::client::Reuse;

/// The shortest and the longest age that may be asked for: shorter ones are a connection for each call, which has a
/// setting of its own, and longer ones are none.
const AGES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// A section that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReuseError {
    /// An age that cannot be.
    #[error("{field}: a duration from 1s to 24h is wanted, not {text:?}")]
    Age {
        /// The field of the configuration, or the variable.
        field: &'static str,
        /// What it says.
        text: String,
    },
    /// A number of calls that cannot be.
    #[error("DAPRD_APP_MOST_CALLS: a whole number from 1 to 1000000 is wanted, not {0:?}")]
    Calls(String),
}

/// So many calls at most may be asked for, as in the configuration.
const MOST_CALLS: u32 = 1_000_000;

/// The bounds that a configuration has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReuseBounds {
    most_calls: Option<NonZeroU32>,
    max_age: Option<Duration>,
}

impl ReuseBounds {
    /// Reads the section.
    pub fn of(connections: &AppConnections) -> Result<Self, ReuseError> {
        Ok(Self {
            most_calls: connections.most_calls,
            max_age: age("spec.daprd.app.connections.maxAge", &connections.max_age)?,
        })
    }

    /// Reads the variables. In a cluster the definition of the configuration has no room for the section.
    pub(super) fn of_variables(
        (calls, max_age): &(Option<String>, Option<String>),
    ) -> Result<Self, ReuseError> {
        let read = |text: &String| {
            let count = text
                .parse()
                .ok()
                .filter(|count: &NonZeroU32| count.get() <= MOST_CALLS);
            count.ok_or_else(|| ReuseError::Calls(text.clone()))
        };
        let calls = calls.as_ref().filter(|text| !text.is_empty());
        Ok(Self {
            most_calls: calls.map(read).transpose()?,
            max_age: age("DAPRD_APP_MAX_AGE", max_age.as_deref().unwrap_or_default())?,
        })
    }

    /// The bounds, or those others where there are none at all.
    pub(super) fn or(self, others: Self) -> Self {
        if self == Self::default() { others } else { self }
    }

    /// Holds connections to the bounds from now on.
    pub(super) fn put_into(self, reuse: &Reuse) {
        reuse.set(self.most_calls, self.max_age);
    }
}

fn age(field: &'static str, text: &str) -> Result<Option<Duration>, ReuseError> {
    if text.is_empty() {
        return Ok(None);
    }
    let age = go_text::parse_duration(text).ok().and_then(go_text::positive);
    let age = age.filter(|age| (AGES.0..=AGES.1).contains(age));
    let wrong = || ReuseError::Age {
        field,
        text: text.to_owned(),
    };
    age.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let of = |text: &str| {
            let connections = AppConnections {
                most_calls: NonZeroU32::new(7),
                max_age: text.to_owned(),
            };
            ReuseBounds::of(&connections)
        };
        for (text, age) in [
            ("", None),
            ("1s", Some(1)),
            ("1m30s", Some(90)),
            ("24h", Some(24 * 3600)),
        ] {
            let wanted = ReuseBounds {
                most_calls: NonZeroU32::new(7),
                max_age: age.map(Duration::from_secs),
            };
            assert_eq!(of(text), Ok(wanted), "{text:?}");
        }
        for text in ["0s", "999ms", "24h0m1s", "-1s", "30", "soon"] {
            let error = of(text).unwrap_err().to_string();
            let wanted = format!(
                "spec.daprd.app.connections.maxAge: a duration from 1s to 24h is wanted, not {text:?}"
            );
            assert_eq!(error, wanted);
        }
    }

    #[test]
    fn variables() {
        let of = |calls: &str, age: &str| {
            let texts = [calls, age].map(|text| Some(text.to_owned()));
            ReuseBounds::of_variables(&texts.into())
        };
        let none = ReuseBounds::default();
        assert_eq!(ReuseBounds::of_variables(&(None, None)), Ok(none));
        assert_eq!(of("", ""), Ok(none));
        let some = of("1", "30s").unwrap();
        assert_eq!(
            (some.most_calls, some.max_age),
            (NonZeroU32::new(1), Some(Duration::from_secs(30)))
        );
        assert_eq!((none.or(some), some.or(none)), (some, some));
        for (calls, age, variable) in [
            ("0", "", "DAPRD_APP_MOST_CALLS"),
            ("1000001", "", "DAPRD_APP_MOST_CALLS"),
            ("one", "", "DAPRD_APP_MOST_CALLS"),
            ("", "30", "DAPRD_APP_MAX_AGE"),
        ] {
            let error = of(calls, age).unwrap_err().to_string();
            assert!(error.starts_with(variable), "{error}");
        }
    }
}
