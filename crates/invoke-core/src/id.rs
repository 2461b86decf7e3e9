//! App ids, namespaces, and the target that a caller names.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

macro_rules! shared_str {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is; ids are compared byte by byte.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

shared_str! {
    /// The id of an app, as given by `--app-id` or by a caller. Cloning shares the text.
    AppId
}

shared_str! {
    /// The namespace of an app. Cloning shares the text.
    Namespace
}

/// An app in a namespace: what a resolver is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppRef {
    /// The id without its namespace.
    pub id: AppId,
    /// The namespace; the caller's own one when the target named none.
    pub namespace: Namespace,
}

impl AppRef {
    /// Puts the two parts together.
    pub fn new(id: impl Into<AppId>, namespace: impl Into<Namespace>) -> Self {
        Self {
            id: id.into(),
            namespace: namespace.into(),
        }
    }
}

impl fmt::Display for AppRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.id)
    }
}

/// What the caller's text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `app` or `app.namespace`. Either half of the dotted form may be empty.
    App {
        /// The part before the dot.
        id: &'a str,
        /// The part after the dot, if there is one.
        namespace: Option<&'a str>,
    },
    /// A whole `http://…` or `https://…` address (the scheme is compared case-sensitively).
    Url(&'a str),
}

/// A target that names nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    /// The text is empty.
    #[error("app id is empty")]
    Empty,
    /// The text has two dots or more.
    #[error("invalid app id {0}")]
    TooManyParts(String),
}

impl<'a> Target<'a> {
    /// Reads the target that a caller wrote.
    pub fn parse(text: &'a str) -> Result<Self, TargetError> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Url(text));
        }
        match text.split_once('.') {
            None => Ok(Self::App {
                id: text,
                namespace: None,
            }),
            Some((_, rest)) if rest.contains('.') => Err(TargetError::TooManyParts(text.to_owned())),
            Some((id, namespace)) => Ok(Self::App {
                id,
                namespace: Some(namespace),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let app = |id, namespace| Ok(Target::App { id, namespace });
        let cases = [
            ("", Err(TargetError::Empty)),
            ("app", app("app", None)),
            ("app/", app("app/", None)),
            ("app.ns", app("app", Some("ns"))),
            (".ns", app("", Some("ns"))),
            ("app.", app("app", Some(""))),
            ("a.b.c", Err(TargetError::TooManyParts("a.b.c".into()))),
            ("http://h:1", Ok(Target::Url("http://h:1"))),
            (
                "https://h.example.org/x",
                Ok(Target::Url("https://h.example.org/x")),
            ),
            ("HTTP://h", app("HTTP://h", None)),
        ];
        for (text, wanted) in cases {
            assert_eq!(Target::parse(text), wanted, "{text:?}");
        }
    }
}
