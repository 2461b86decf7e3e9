//! Fields that cannot be read.

use thiserror::Error;

/// A field that cannot be read. Its text is what the log says.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text}")]
pub(crate) struct FieldError {
    /// The way to the field: keys, and positions in lists.
    pub(crate) path: Vec<String>,
    /// What is wrong, without saying where.
    pub(crate) reason: String,
    /// The name of a field that there is none of, and the names that there are.
    pub(crate) unknown: Option<(String, &'static [&'static str])>,
    text: String,
}

impl FieldError {
    /// `text` says the whole.
    pub(crate) fn new(path: Vec<String>, reason: String, text: String) -> Self {
        Self {
            path,
            reason,
            unknown: None,
            text,
        }
    }
}

impl From<figment::Error> for FieldError {
    fn from(error: figment::Error) -> Self {
        Self {
            path: error.path.clone(),
            reason: error.kind.to_string(),
            unknown: match &error.kind {
                figment::error::Kind::UnknownField(name, known) => Some((name.clone(), known)),
                _ => None,
            },
            text: error.to_string(),
        }
    }
}
