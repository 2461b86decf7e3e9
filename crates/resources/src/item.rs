//! Named values of a manifest: given as they are, or by reference to a secret or a variable.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::lenient;

/// A named value. Its `Debug` does not show the value, which may be a secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Item {
    /// Its name.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// The value, if it is given here. What is no text is its JSON.
    #[serde(deserialize_with = "value")]
    #[schemars(with = "Value")]
    pub value: Option<String>,
    /// The secret that has it.
    #[serde(deserialize_with = "lenient::section", rename = "secretkeyref")]
    #[schemars(rename = "secretKeyRef")]
    pub secret: SecretRef,
    /// The environment variable that has it; empty for none.
    #[serde(deserialize_with = "lenient::text", rename = "envref")]
    #[schemars(rename = "envRef")]
    pub variable: String,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("name", &self.name)
            .field("has_value", &self.value.is_some())
            .field("secret", &self.secret)
            .field("variable", &self.variable)
            .finish()
    }
}

/// Where a value is in a secret store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SecretRef {
    /// The name of the secret; empty for no reference.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// The key in the secret; empty for one of the same name.
    #[serde(deserialize_with = "lenient::text")]
    pub key: String,
}

/// A value that may be anything.
pub(crate) fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// Variables that a manifest may not read: those of the sidecar itself.
fn is_refused(name: &str, allowed: &str) -> bool {
    let upper = name.to_uppercase();
    upper.is_empty()
        || upper == "APP_API_TOKEN"
        || upper.starts_with("DAPR_")
        || upper.contains(' ')
        || (!allowed.is_empty() && !allowed.split(' ').any(|known| known == upper))
}

impl Item {
    /// Whether a secret or a variable is named.
    pub(crate) fn is_reference(&self) -> bool {
        !self.variable.is_empty() || !self.secret.name.is_empty()
    }

    /// The value, where a variable may have it. `allowed` is what `DAPR_ENV_KEYS` says; an error names a variable
    /// that may not be read.
    pub fn resolved(&self, allowed: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        if let Some(value) = &self.value {
            return Ok(value.clone());
        }
        if self.variable.is_empty() {
            return Ok(String::new());
        }
        if is_refused(&self.variable, allowed) {
            return Err(self.variable.clone());
        }
        Ok(lookup(&self.variable).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let item = |variable: &str| Item {
            variable: variable.to_owned(),
            ..Item::default()
        };
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        assert_eq!(item("A").resolved("", lookup), Ok("1".to_owned()));
        assert_eq!(item("B").resolved("", lookup), Ok(String::new()));
        assert_eq!(item("").resolved("", lookup), Ok(String::new()));
        for refused in ["APP_API_TOKEN", "dapr_api_token", "DAPR_X", "A B"] {
            assert_eq!(item(refused).resolved("", lookup), Err(refused.to_owned()));
        }
        assert_eq!(item("A").resolved("A B", lookup), Ok("1".to_owned()));
        assert_eq!(item("A").resolved("AB C", lookup), Err("A".to_owned()));
        let given = Item {
            value: Some("x".to_owned()),
            ..item("A")
        };
        assert_eq!(given.resolved("", lookup), Ok("x".to_owned()));
    }
}
