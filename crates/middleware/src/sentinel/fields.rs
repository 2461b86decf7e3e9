//! Rules as they are written: a list of objects in JSON, read as Go's library reads them.
//!
//! Names are compared without regard to case, what is `null` or missing is nothing, and names that no rule has are passed
//! over. A value of another kind is an error that names its field.

use serde_json::{Map, Value};
use thiserror::Error;

/// As many rules of one kind there may be.
pub(super) const MOST: usize = 1000;

/// What is wrong with rules.
#[derive(Debug, Error)]
pub(crate) enum RulesError {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("a list of rules is expected")]
    NoList,
    #[error("there are more than {MOST} of them")]
    TooMany,
    #[error("rule {0} is no object")]
    NoObject(usize),
    #[error("rule {rule}: {name}: {wanted} is expected, not {found}")]
    Kind {
        rule: usize,
        name: &'static str,
        wanted: &'static str,
        found: String,
    },
    #[error("rule {rule}: {name} is {found}, and may be {most} at most")]
    TooMuch {
        rule: usize,
        name: &'static str,
        found: u64,
        most: u64,
    },
}

/// The fields of a rule.
#[derive(Debug)]
pub(super) struct Fields {
    /// Which rule it is, from 1 on.
    pub(super) rule: usize,
    fields: Map<String, Value>,
}

/// The rules of a text; those that are `null` are none.
pub(super) fn read(text: &str) -> Result<Vec<Fields>, RulesError> {
    let rules = match serde_json::from_str(text)? {
        Value::Null => return Ok(Vec::new()),
        Value::Array(rules) if rules.len() > MOST => return Err(RulesError::TooMany),
        Value::Array(rules) => rules,
        _ => return Err(RulesError::NoList),
    };
    let rules = rules
        .into_iter()
        .zip(1..)
        .filter_map(|(rule, number)| match rule {
            Value::Null => None,
            Value::Object(fields) => Some(Ok(Fields { rule: number, fields })),
            _ => Some(Err(RulesError::NoObject(number))),
        });
    rules.collect()
}

impl Fields {
    /// The value of a name; the last one, if it is there in several cases.
    fn value(&self, name: &str) -> Option<&Value> {
        let mut named = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = self
            .fields
            .get(name)
            .or_else(|| named.next_back().map(|(_, value)| value));
        value.filter(|value| !value.is_null())
    }

    fn typed<T: Default>(
        &self,
        name: &'static str,
        wanted: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, RulesError> {
        let Some(value) = self.value(name) else {
            return Ok(T::default());
        };
        read(value).ok_or_else(|| RulesError::Kind {
            rule: self.rule,
            name,
            wanted,
            found: shortened(&value.to_string()),
        })
    }

    pub(super) fn text(&self, name: &'static str) -> Result<String, RulesError> {
        self.typed(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn number(&self, name: &'static str) -> Result<f64, RulesError> {
        self.typed(name, "a number", Value::as_f64)
    }

    /// A whole number, from nothing on.
    pub(super) fn count(&self, name: &'static str) -> Result<u64, RulesError> {
        self.typed(name, "a whole number from 0 on", Value::as_u64)
    }

    /// The same, up to 4,294,967,295.
    pub(super) fn small(&self, name: &'static str) -> Result<u32, RulesError> {
        self.typed(name, "a whole number from 0 to 4294967295", |value| {
            value.as_u64()?.try_into().ok()
        })
    }

    /// One that may be negative.
    pub(super) fn whole(&self, name: &'static str) -> Result<i64, RulesError> {
        self.typed(name, "a whole number", Value::as_i64)
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_rules() {
        let rules = r#"[null, {"Resource": "GET:/a", "threshold": 2.5, "count": null, "other": []}]"#;
        let rules = read(rules).unwrap();
        let [rule] = &rules[..] else {
            panic!("{rules:?}");
        };
        assert_eq!(rule.text("resource").unwrap(), "GET:/a");
        assert!((rule.number("threshold").unwrap() - 2.5).abs() < f64::EPSILON);
        assert_eq!(rule.count("count").unwrap(), 0);
        assert_eq!(rule.whole("missing").unwrap(), 0);
        assert_eq!(
            rule.small("threshold").unwrap_err().to_string(),
            "rule 2: threshold: a whole number from 0 to 4294967295 is expected, not 2.5"
        );
        assert!(read("null").unwrap().is_empty() && read("[]").unwrap().is_empty());
    }

    #[test]
    fn what_are_no_rules() {
        let many = format!("[{}]", vec!["{}"; MOST + 1].join(","));
        let deep = "[".repeat(100_000);
        for (text, wanted) in [
            ("{}", "a list of rules is expected"),
            ("7", "a list of rules is expected"),
            ("[{}, 7]", "rule 2 is no object"),
            ("", "EOF"),
            ("[{]", "key must be a string"),
            (many.as_str(), "more than 1000"),
            (deep.as_str(), "recursion limit"),
        ] {
            let said = read(text).unwrap_err().to_string();
            assert!(said.contains(wanted), "{said}");
        }
    }
}
