//! What is found in a file.

use std::fmt;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know; nothing is wrong.
    Note,
    /// It looks like a mistake, and the sidecar runs.
    Warning,
    /// The resource is not used, or the sidecar does not start.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    /// In characters, from 1; 0 for the file as a whole.
    pub column: usize,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of finding it is, by a name that stays the same from version to version.
    pub rule: &'static str,
    /// Where.
    pub place: Place,
    /// What was found, and what was expected.
    pub text: String,
    /// The name that was probably meant.
    pub nearest: Option<String>,
}

impl Finding {
    /// A finding about a file as a whole, as long as nobody gives it a place.
    pub fn new(severity: Severity, rule: &'static str, text: impl Into<String>) -> Self {
        Self {
            severity,
            rule,
            place: Place::default(),
            text: text.into(),
            nearest: None,
        }
    }

    /// The same at a place.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The same with the known name that is nearest to the one that was written, if one is near.
    #[must_use]
    pub fn near<'a>(self, written: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            nearest: nearest(written, known).map(ToOwned::to_owned),
            ..self
        }
    }
}

/// The known name to which a written one is nearest: with at most one change for every three characters.
fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name that long is no misspelt one, and distances cost as much as both lengths multiplied.
    if written.len() > 100 {
        return None;
    }
    let lower = written.to_lowercase();
    let near = known.into_iter().filter_map(|name| {
        if name == written || name.len() > 200 {
            return None;
        }
        let distance = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
        let most = written.chars().count().max(3) / 3;
        (distance <= most).then_some((distance, name))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_near() {
        let known = ["timeout", "retry", "circuitBreaker", "name"];
        for (written, wanted) in [
            ("timout", Some("timeout")),
            ("TIMEOUT", Some("timeout")),
            ("rety", Some("retry")),
            ("circutBraeker", Some("circuitBreaker")),
            ("nmae", Some("name")),
            ("retry", None),
            ("somethingElse", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, known), wanted, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
