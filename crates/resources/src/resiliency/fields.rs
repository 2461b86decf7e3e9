//! Fields of a document, found without regard to case, while names of policies and targets keep theirs.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A section of a document, with its place for errors.
pub(super) struct Fields {
    place: String,
    map: Map<String, Value>,
}

impl Fields {
    /// `null` is an empty section.
    pub(super) fn of(place: &str, value: Value) -> Result<Self, String> {
        let map = match value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            other => return Err(mismatch(place, &other, "a map")),
        };
        Ok(Self {
            place: place.to_owned(),
            map,
        })
    }

    fn place(&self, name: &str) -> String {
        if self.place.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.place)
        }
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

    pub(super) fn section(&self, name: &str) -> Result<Self, String> {
        Self::of(&self.place(name), self.get(name).cloned().unwrap_or_default())
    }

    /// A section that means something even when it is empty.
    pub(super) fn optional(&self, name: &str) -> Result<Option<Self>, String> {
        self.get(name)
            .map(|value| Self::of(&self.place(name), value.clone()))
            .transpose()
    }

    pub(super) fn text(&self, name: &str) -> Result<String, String> {
        self.get(name)
            .map_or_else(|| Ok(String::new()), |value| text(&self.place(name), value))
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(mismatch(&self.place(name), value, "a whole number")),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|item| text(&self.place(name), item)).collect(),
            Some(other) => Err(mismatch(&self.place(name), other, "a list")),
        }
    }

    /// Everything as texts.
    pub(super) fn all_texts(&self) -> Result<BTreeMap<String, String>, String> {
        let entries = self.map.iter();
        entries
            .map(|(name, value)| Ok((name.clone(), text(&self.place(name), value)?)))
            .collect()
    }

    /// Everything as sections.
    pub(super) fn entries(&self) -> Result<Vec<(String, Self)>, String> {
        let entries = self.map.iter();
        entries
            .map(|(name, value)| Ok((name.clone(), Self::of(&self.place(name), value.clone())?)))
            .collect()
    }
}

fn text(place: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null => Ok(String::new()),
        other => Err(mismatch(place, other, "a text")),
    }
}

fn mismatch(place: &str, found: &Value, wanted: &str) -> String {
    let found = match found {
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => "nothing",
    };
    let place = if place.is_empty() { "the document" } else { place };
    format!("{place} is {found}, where {wanted} is expected")
}
