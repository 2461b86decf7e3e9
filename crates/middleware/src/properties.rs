//! The metadata of a component.

use std::fmt;

use thiserror::Error;

/// The metadata of a component: names and values, in the order of the manifest. Names are compared without regard to
/// case, as Dapr does. Its `Debug` shows no values: some are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

/// Two names that differ in case only.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("failed to resolve aliases: key {0} is duplicate in the metadata")]
pub(crate) struct Duplicate(String);

/// A name that a component does not know.
#[cfg(feature = "own")]
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0} is no metadata of this component")]
pub(crate) struct Unknown(String);

impl Properties {
    /// Of names and values. Of two equal names the later counts.
    pub fn new(items: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut properties: Vec<(String, String)> = Vec::new();
        for (name, value) in items {
            match properties.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => properties.push((name, value)),
            }
        }
        Self(properties)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of exactly this name.
    pub(crate) fn exactly(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// The value of a name in any case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Whether there are no other names than these. Dapr's components pass over what they do not know; those that Dapr
    /// does not have need not.
    #[cfg(feature = "own")]
    pub(crate) fn only(&self, names: &[&str]) -> Result<(), Unknown> {
        let is_known = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        match self.iter().find(|(name, _)| !is_known(name)) {
            Some((name, _)) => Err(Unknown(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether no name is given twice.
    pub(crate) fn check(&self) -> Result<(), Duplicate> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            let name = name.to_lowercase();
            if self.0[..at].iter().any(|(other, _)| other.to_lowercase() == name) {
                return Err(Duplicate(name));
            }
        }
        Ok(())
    }
}

/// The items of a list with commas between them.
#[cfg(any(feature = "headers", feature = "cors", feature = "ipfilter"))]
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(items: &[(&str, &str)]) -> Properties {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Properties::new(items.iter().map(owned))
    }

    #[test]
    fn names_are_found_in_any_case() {
        let properties = of(&[("Rule", "a"), ("other", "b"), ("other", "c")]);
        assert_eq!(properties.get("rULE"), Some("a"));
        assert_eq!(properties.exactly("rule"), None);
        assert_eq!(properties.get("other"), Some("c"));
        assert_eq!(properties.get("none"), None);
        assert_eq!(properties.check(), Ok(()));
        let twice = of(&[("Rule", "a"), ("rule", "b")]);
        assert_eq!(
            twice.check().unwrap_err().to_string(),
            "failed to resolve aliases: key rule is duplicate in the metadata"
        );
    }

    #[test]
    fn values_are_not_shown() {
        let shown = format!("{:?}", of(&[("clientSecret", "hidden")]));
        assert!(
            shown.contains("clientSecret") && !shown.contains("hidden"),
            "{shown}"
        );
    }
}
