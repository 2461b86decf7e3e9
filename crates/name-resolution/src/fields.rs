//! Settings that are a tree: objects whose keys are compared without regard to case, as Go's decoder of JSON does.
//!
//! A value of the wrong kind is an error that names the path to it. What is not there or `null` is the zero of its kind.

#![cfg_attr(
    not(all(feature = "consul", feature = "static")),
    allow(dead_code, reason = "each resolver reads kinds of its own")
)]

use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

/// A value of the wrong kind.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{path}: {wanted} is wanted, not {found}")]
pub(crate) struct FieldError {
    path: String,
    wanted: &'static str,
    found: String,
}

/// An object somewhere in the settings.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    path: String,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    /// The settings as a whole.
    pub(crate) fn of(value: &'a Value) -> Result<Self, FieldError> {
        Self::named("configuration", value)
    }

    /// A section of another name.
    pub(crate) fn named(name: &str, value: &'a Value) -> Result<Self, FieldError> {
        Self::at(name.to_owned(), value)
    }

    fn at(path: String, value: &'a Value) -> Result<Self, FieldError> {
        match value {
            Value::Object(map) => Ok(Self { path, map: Some(map) }),
            Value::Null => Ok(Self { path, map: None }),
            other => Err(wrong(path, "an object", other)),
        }
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// The value of a key; of two that differ in their case the one that is written as here, as in Go.
    pub(crate) fn value(&self, name: &str) -> Option<&'a Value> {
        let map = self.map?;
        let found = map.get(name).or_else(|| {
            map.iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    /// What is wrong with a value that is there but cannot be used.
    pub(crate) fn refused(&self, name: &str, wanted: &'static str) -> FieldError {
        let found = self.value(name).unwrap_or(&Value::Null);
        wrong(self.path_of(name), wanted, found)
    }

    fn read<T>(
        &self,
        name: &str,
        wanted: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, FieldError> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(wrong(self.path_of(name), wanted, value)),
            },
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<String, FieldError> {
        let text = self.read(name, "a text", Value::as_str)?;
        Ok(text.unwrap_or_default().to_owned())
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, FieldError> {
        Ok(self
            .read(name, "true or false", Value::as_bool)?
            .unwrap_or_default())
    }

    pub(crate) fn number(&self, name: &str) -> Result<i64, FieldError> {
        Ok(self
            .read(name, "a whole number", Value::as_i64)?
            .unwrap_or_default())
    }

    pub(crate) fn natural(&self, name: &str, most: u64) -> Result<u64, FieldError> {
        let read = |value: &Value| value.as_u64().filter(|number| *number <= most);
        Ok(self
            .read(name, "a whole number that is not too large", read)?
            .unwrap_or_default())
    }

    /// Nanoseconds, as Dapr's settings have it, or a text such as `30s`.
    pub(crate) fn duration(&self, name: &str) -> Result<Duration, FieldError> {
        let read = |value: &Value| match value {
            Value::String(text) => crate::settings::go_duration(text),
            other => other.as_u64().map(Duration::from_nanos),
        };
        let read = |value| read(value).filter(|duration| *duration <= crate::settings::LONGEST);
        let wanted = "a duration such as 30s, or a number of nanoseconds,";
        Ok(self.read(name, wanted, read)?.unwrap_or_default())
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, FieldError> {
        let read = |value: &Value| {
            let texts = value
                .as_array()?
                .iter()
                .map(|text| text.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        };
        Ok(self.read(name, "a list of texts", read)?.unwrap_or_default())
    }

    pub(crate) fn text_map(&self, name: &str) -> Result<Vec<(String, String)>, FieldError> {
        let read = |value: &Value| {
            let pairs = value.as_object()?.iter();
            let pairs = pairs.map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())));
            pairs.collect::<Option<Vec<_>>>()
        };
        Ok(self.read(name, "a map of texts", read)?.unwrap_or_default())
    }

    /// The names of all keys, as they are written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.map.into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// An object that is part of the value of a key.
    pub(crate) fn inner(&self, name: &str, value: &'a Value) -> Result<Self, FieldError> {
        Self::at(self.path_of(name), value)
    }

    /// An object; `None` if it is not there.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>, FieldError> {
        let value = self.value(name);
        value.map(|value| Self::at(self.path_of(name), value)).transpose()
    }

    /// A list of objects.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Self>, FieldError> {
        let Some(list) = self.read(name, "a list of objects", Value::as_array)? else {
            return Ok(Vec::new());
        };
        let items = list.iter().enumerate();
        items
            .map(|(place, item)| Self::at(format!("{}[{place}]", self.path_of(name)), item))
            .collect()
    }

    /// A map of objects.
    pub(crate) fn object_map(&self, name: &str) -> Result<Vec<(&'a str, Self)>, FieldError> {
        let Some(map) = self.read(name, "a map of objects", Value::as_object)? else {
            return Ok(Vec::new());
        };
        let items = map.iter().map(|(key, item)| {
            let path = format!("{}.{key}", self.path_of(name));
            Ok((key.as_str(), Self::at(path, item)?))
        });
        items.collect()
    }
}

fn wrong(path: String, wanted: &'static str, found: &Value) -> FieldError {
    let mut found = found.to_string();
    if let Some((cut, _)) = found.char_indices().nth(60) {
        found.truncate(cut);
        found.push('…');
    }
    FieldError { path, wanted, found }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds() {
        let value = json!({
            "Text": "t", "FLAG": true, "number": -3, "wait": 1_500_000_000_u64, "long": "1m30s",
            "texts": ["a", "b"], "map": {"K": "v"}, "object": {"text": "inner"}, "list": [{"text": "x"}, null], "null": null,
        });
        let fields = Fields::of(&value).unwrap();
        assert_eq!(fields.text("text").as_deref(), Ok("t"));
        assert_eq!(fields.flag("flag"), Ok(true));
        assert_eq!(fields.number("Number"), Ok(-3));
        assert_eq!(fields.duration("wait"), Ok(Duration::from_millis(1500)));
        assert_eq!(fields.duration("long"), Ok(Duration::from_secs(90)));
        assert_eq!(fields.texts("texts").unwrap(), ["a", "b"]);
        assert_eq!(
            fields.text_map("map").unwrap(),
            [("K".to_owned(), "v".to_owned())]
        );
        assert_eq!(
            fields.object("object").unwrap().unwrap().text("TEXT").as_deref(),
            Ok("inner")
        );
        assert_eq!(
            fields.objects("list").unwrap()[0].text("text").as_deref(),
            Ok("x")
        );
        assert_eq!(fields.text("null").as_deref(), Ok(""));
        assert!(fields.object("absent").unwrap().is_none());
    }

    #[test]
    fn mistakes_name_their_place() {
        let value = json!({"a": {"b": [{"c": 1}, 5]}, "wait": "soon", "n": 300});
        let fields = Fields::of(&value).unwrap();
        let object = fields.object("a").unwrap().unwrap();
        for (error, wanted) in [
            (
                object.objects("b").map(drop),
                "configuration.a.b[1]: an object is wanted, not 5",
            ),
            (
                fields.text("a").map(drop),
                "configuration.a: a text is wanted, not {\"b\":[{\"c\":1},5]}",
            ),
            (
                fields.duration("wait").map(drop),
                "configuration.wait: a duration such as 30s, or a number of nanoseconds, is wanted, not \"soon\"",
            ),
            (
                fields.natural("n", 255).map(drop),
                "configuration.n: a whole number that is not too large is wanted, not 300",
            ),
        ] {
            assert_eq!(error.unwrap_err().to_string(), wanted);
        }
        assert!(Fields::of(&json!("text")).is_err());
    }
}
