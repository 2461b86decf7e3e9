//! Fields of a document, found without regard to case, while names of policies and targets keep theirs.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::field_error::FieldError;

/// A section of a document, with its place for errors.
pub(super) struct Fields {
    path: Vec<String>,
    map: Map<String, Value>,
}

impl Fields {
    /// `null` is an empty section.
    pub(super) fn of(path: Vec<String>, value: Value) -> Result<Self, FieldError> {
        let map = match value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            other => return Err(mismatch(path, &other, "a map")),
        };
        Ok(Self { path, map })
    }

    fn path(&self, name: &str) -> Vec<String> {
        [self.path.as_slice(), &[name.to_owned()]].concat()
    }

    /// A field in its own spelling, or in another one.
    fn get(&self, name: &str) -> Option<&Value> {
        let other = || {
            let mut fields = self.map.iter();
            fields
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        self.map.get(name).or_else(other).filter(|value| !value.is_null())
    }

    pub(super) fn section(&self, name: &str) -> Result<Self, FieldError> {
        Self::of(self.path(name), self.get(name).cloned().unwrap_or_default())
    }

    /// A section that means something even when it is empty.
    pub(super) fn optional(&self, name: &str) -> Result<Option<Self>, FieldError> {
        self.get(name)
            .map(|value| Self::of(self.path(name), value.clone()))
            .transpose()
    }

    pub(super) fn text(&self, name: &str) -> Result<String, FieldError> {
        self.get(name)
            .map_or_else(|| Ok(String::new()), |value| text(self.path(name), value))
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, FieldError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(mismatch(self.path(name), value, "a whole number")),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, FieldError> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let item = |(index, item)| {
                    let path = [self.path(name), vec![usize::to_string(&index)]].concat();
                    text(path, item)
                };
                items.iter().enumerate().map(item).collect()
            }
            Some(other) => Err(mismatch(self.path(name), other, "a list")),
        }
    }

    /// Everything as texts.
    pub(super) fn all_texts(&self) -> Result<BTreeMap<String, String>, FieldError> {
        let entries = self.map.iter();
        entries
            .map(|(name, value)| Ok((name.clone(), text(self.path(name), value)?)))
            .collect()
    }

    /// Everything as sections.
    pub(super) fn entries(&self) -> Result<Vec<(String, Self)>, FieldError> {
        let entries = self.map.iter();
        entries
            .map(|(name, value)| Ok((name.clone(), Self::of(self.path(name), value.clone())?)))
            .collect()
    }
}

fn text(path: Vec<String>, value: &Value) -> Result<String, FieldError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null => Ok(String::new()),
        other => Err(mismatch(path, other, "a text")),
    }
}

fn mismatch(path: Vec<String>, found: &Value, wanted: &str) -> FieldError {
    let found = match found {
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => "nothing",
    };
    let place = if path.is_empty() {
        "the document".to_owned()
    } else {
        path.join(".")
    };
    let reason = format!("expected {wanted}, found {found}");
    FieldError::new(
        path,
        reason,
        format!("{place} is {found}, where {wanted} is expected"),
    )
}
