//! A line with fields in braces.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::lenient;

/// A longer one is a mistake.
const LONGEST: usize = 4096;

/// What a line of the access log can say of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessField {
    /// When it began.
    Time,
    /// The app of this sidecar.
    AppId,
    /// Where it came in.
    Api,
    /// The app that calls.
    Caller,
    /// The app that is called.
    Target,
    /// The HTTP method.
    Verb,
    /// The path, or the full method of gRPC.
    Path,
    /// The status of the answer.
    Status,
    /// How many bytes the body of the answer had.
    Bytes,
    /// How long it took.
    DurationMs,
    /// How often it was tried.
    Attempts,
    /// The address of the sidecar that had it last.
    Endpoint,
    /// The trace that it belongs to.
    TraceId,
    /// How its answer ended.
    End,
}

/// All of them by their names.
const FIELDS: [(&str, AccessField); 14] = [
    ("time", AccessField::Time),
    ("app_id", AccessField::AppId),
    ("api", AccessField::Api),
    ("caller", AccessField::Caller),
    ("target", AccessField::Target),
    ("verb", AccessField::Verb),
    ("path", AccessField::Path),
    ("status", AccessField::Status),
    ("bytes", AccessField::Bytes),
    ("duration_ms", AccessField::DurationMs),
    ("attempts", AccessField::Attempts),
    ("endpoint", AccessField::Endpoint),
    ("trace_id", AccessField::TraceId),
    ("end", AccessField::End),
];

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is written.
    Text(Box<str>),
    /// What the call says.
    Field(AccessField),
}

/// A line with fields in braces, like `{verb} {path}`; `{{` and `}}` are the braces themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// A template that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// There is no such field.
    #[error("there is no field {{{0}}}; there are {known}", known = names())]
    Unknown(String),
    /// A brace is alone.
    #[error("the brace at byte {0} has no counterpart; a brace as text is written twice")]
    Brace(usize),
    /// It is too long.
    #[error("it has {0} bytes, and may have {LONGEST}")]
    TooLong(usize),
    /// It says nothing.
    #[error("it is empty")]
    Empty,
}

fn names() -> String {
    FIELDS.map(|(name, _)| name).join(", ")
}

impl Template {
    /// The pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }
}

impl Default for Template {
    /// All that can be said but the time and the own app, which every line of the log has.
    fn default() -> Self {
        let mut pieces = Vec::new();
        for (name, field) in &FIELDS[2..] {
            let blank = if pieces.is_empty() { "" } else { " " };
            pieces.push(Piece::Text(format!("{blank}{name}=").into()));
            pieces.push(Piece::Field(*field));
        }
        Self(pieces)
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.len() > LONGEST {
            return Err(TemplateError::TooLong(text.len()));
        }
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        let (mut pieces, mut literal, mut at) = (Vec::new(), String::new(), 0);
        while let Some(found) = text[at..].find(['{', '}']) {
            let brace = at + found;
            literal.push_str(&text[at..brace]);
            let rest = &text[brace..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push_str(&rest[..1]);
                at = brace + 2;
                continue;
            }
            let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let (name, _) = name.ok_or(TemplateError::Brace(brace))?;
            let field = FIELDS.iter().find(|(known, _)| *known == name);
            let (_, field) = field.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
            }
            pieces.push(Piece::Field(*field));
            at = brace + name.len() + 2;
        }
        literal.push_str(&text[at..]);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Ok(Self(pieces))
    }
}

/// A template as a field of a configuration; nothing is none.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Template>, D::Error> {
    let text = lenient::text(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(D::Error::custom)
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::text(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    #[test]
    fn templates() {
        let field = Piece::Field;
        for (template, wanted) in [
            ("x", vec![text("x")]),
            ("{path}", vec![field(AccessField::Path)]),
            (
                "{{{verb} {path}}} é {end}",
                vec![
                    text("{"),
                    field(AccessField::Verb),
                    text(" "),
                    field(AccessField::Path),
                    text("} é "),
                    field(AccessField::End),
                ],
            ),
        ] {
            assert_eq!(template.parse(), Ok(Template(wanted)), "{template}");
        }
        for (name, field) in FIELDS {
            assert_eq!(
                format!("{{{name}}}").parse(),
                Ok(Template(vec![Piece::Field(field)]))
            );
        }
    }

    #[test]
    fn mistakes() {
        for (template, wanted) in [
            ("", TemplateError::Empty),
            ("a{", TemplateError::Brace(1)),
            ("é}", TemplateError::Brace(2)),
            ("{path", TemplateError::Brace(0)),
            ("{}", TemplateError::Unknown(String::new())),
            ("{Path}", TemplateError::Unknown("Path".to_owned())),
            ("{{path}", TemplateError::Brace(6)),
            (&"x".repeat(LONGEST + 1), TemplateError::TooLong(LONGEST + 1)),
        ] {
            assert_eq!(template.parse::<Template>(), Err(wanted), "{template:?}");
        }
        let told = "{token}".parse::<Template>().unwrap_err().to_string();
        assert!(
            told.starts_with("there is no field {token}; there are time, app_id, "),
            "{told}"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_template_or_an_error(text in ".*") {
            let _ = text.parse::<Template>();
        }
    }
}
