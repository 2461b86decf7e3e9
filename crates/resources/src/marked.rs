//! Documents with the places of their fields, for those who tell of mistakes.
//!
//! The sidecar reads documents without: places cost memory, and nobody asks for them while all is well. Both are read by the
//! same parser within the same bounds.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

/// A node of a document, and where it begins.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) at: Spot,
    pub(crate) content: Content,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Content {
    Scalar,
    List(Vec<Marked>),
    Map(Vec<(Key, Marked)>),
}

/// A key of a map, and where it begins.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) at: Spot,
}

/// Where something begins in the text that was parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
}

impl Spot {
    pub(crate) fn of(location: &Location) -> Self {
        Self {
            line: location.line() as usize,
            column: location.column() as usize,
        }
    }
}

/// A document with its places. A key that stands twice is there twice.
pub(crate) fn marked(document: &str, is_strict: bool) -> Result<Marked, serde_saphyr::Error> {
    let mut options = crate::yaml::options(is_strict);
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    serde_saphyr::from_str_with_options(document, options)
}

impl Marked {
    /// What a way of keys and positions leads to: the value at its end, or the one as far as there is a way. Keys are compared
    /// without regard to case where there is none of the exact name. Of a key that stands twice the last counts.
    pub(crate) fn find(&self, path: &[impl AsRef<str>]) -> (Spot, &Self) {
        let (mut at, mut node) = (self.at, self);
        for step in path {
            let next = node.step(step.as_ref()).map(|(_, at, next)| (at, next));
            match next {
                Some(next) => (at, node) = next,
                None => break,
            }
        }
        (at, node)
    }

    /// Whether there is a way of keys and positions to its end.
    pub(crate) fn has(&self, path: &[impl AsRef<str>]) -> bool {
        self.spelled(path).len() == path.len()
    }

    /// The same way, as far as there is one, with keys as they are written.
    pub(crate) fn spelled(&self, path: &[impl AsRef<str>]) -> Vec<String> {
        let mut node = self;
        let mut spelled = Vec::new();
        for step in path {
            match node.step(step.as_ref()) {
                Some((name, _, next)) => {
                    spelled.push(name);
                    node = next;
                }
                None => break,
            }
        }
        spelled
    }

    fn step(&self, step: &str) -> Option<(String, Spot, &Self)> {
        match &self.content {
            Content::Scalar => None,
            Content::List(items) => {
                let item = items.get(step.parse::<usize>().ok()?)?;
                Some((step.to_owned(), item.at, item))
            }
            Content::Map(fields) => {
                let exact = fields.iter().rev().find(|(key, _)| key.name == step);
                let (key, value) = exact.or_else(|| {
                    let mut fields = fields.iter().rev();
                    fields.find(|(key, _)| key.name.to_lowercase() == step.to_lowercase())
                })?;
                Some((key.name.clone(), key.at, value))
            }
        }
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        1 + match &self.content {
            Content::Scalar => 0,
            Content::List(items) => items.iter().map(Self::nodes).sum(),
            Content::Map(fields) => fields.iter().map(|(_, value)| value.nodes()).sum(),
        }
    }
}

impl<'de> Deserialize<'de> for Marked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node: Spanned<Content> = Spanned::deserialize(deserializer)?;
        Ok(Self {
            at: Spot::of(&node.referenced),
            content: node.value,
        })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key: Spanned<String> = Spanned::deserialize(deserializer)?;
        Ok(Self {
            at: Spot::of(&key.referenced),
            name: key.value,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Content::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, path: &[&str]) -> (usize, usize) {
        let (spot, _) = marked(text, false).unwrap().find(path);
        (spot.line, spot.column)
    }

    #[test]
    fn places() {
        let text = "# first\na: 1\nb:\n  c: [x, {D: y}]\n  'é ö': z\n  - wrong: 1\n";
        let text = text.replace("  - wrong: 1\n", "");
        for (path, wanted) in [
            (&["a"][..], (2, 1)),
            (&["b"], (3, 1)),
            (&["b", "c"], (4, 3)),
            (&["b", "c", "0"], (4, 7)),
            (&["b", "c", "1", "d"], (4, 11)),
            (&["b", "c", "7", "d"], (4, 3)),
            (&["b", "none"], (3, 1)),
            (&["b", "é ö"], (5, 3)),
            (&["A"], (2, 1)),
        ] {
            assert_eq!(at(&text, path), wanted, "{path:?}");
        }
        assert_eq!(at("a: &x {k: 1}\nb: *x\n", &["b"]), (2, 1));
        assert_eq!(at("a: 1\na: 2\n", &["a"]), (2, 1));
    }

    proptest::proptest! {
        /// Whatever the sidecar can read has places.
        #[test]
        fn all_that_is_read_has_places(text in "[a-c:\\-\\[\\]{}&*!#|>'\"\\n ~\\t0-9.]{0,60}") {
            if serde_saphyr::from_str_with_options::<serde_json::Value>(&text, crate::yaml::options(false)).is_ok() {
                proptest::prop_assert!(marked(&text, false).is_ok(), "{text:?}");
            }
        }
    }
}
