//! Reading YAML within bounds.

use serde_json::Value;
use thiserror::Error;

/// The longest file that is read, in bytes.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

/// A text that is no YAML, or more of it than is reasonable.
#[derive(Debug, Error)]
pub enum YamlError {
    /// The text is longer than [`MAX_FILE`].
    #[error("yaml: the file has {0} bytes, at most {MAX_FILE} are read")]
    TooLarge(u64),
    /// The text is no YAML, or breaks another bound.
    #[error("yaml: {0}")]
    Invalid(String),
}

/// The first document of a text; nothing for an empty one.
pub fn first_document(text: &str) -> Result<Value, YamlError> {
    if text.len() as u64 > MAX_FILE {
        return Err(YamlError::TooLarge(text.len() as u64));
    }
    let document = first(text);
    if is_empty(document) {
        return Ok(Value::Null);
    }
    // The parser bounds depth, nodes and aliases while it reads, before it builds anything.
    serde_saphyr::from_str_with_options(document, options(true)).map_err(|error| {
        // The first line tells place and reason; the others draw a picture of it, which no log line has room for.
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        YamlError::Invalid(line.strip_prefix("error: ").unwrap_or(line).to_owned())
    })
}

/// The bounds of one document and its habits. `is_strict`: a key that stands twice is a mistake; else the last one counts.
pub(crate) fn options(is_strict: bool) -> serde_saphyr::Options {
    if is_strict {
        // YAML 1.2: `y` and `on` are texts; typed booleans take them all the same.
        serde_saphyr::options! { strict_booleans: true }
    } else {
        serde_saphyr::options! {
            strict_booleans: true,
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        }
    }
}

/// The documents of a file of resources, each by itself: one that is no YAML does not spoil the others. Of a key that
/// stands twice the last one counts.
pub(crate) fn resource_documents(text: &str) -> impl Iterator<Item = Result<Value, YamlError>> + '_ {
    split(text)
        .into_iter()
        .filter(|document| !is_empty(document))
        .map(|document| {
            serde_saphyr::from_str_with_options(document, options(false))
                .map_err(|error| YamlError::Invalid(error.to_string()))
        })
}

/// The parts between lines that begin with three hyphens.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let (mut documents, mut begin, mut offset) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        if line.starts_with("---") {
            documents.push(&text[begin..offset]);
            begin = offset + line.len();
        }
        offset += line.len();
    }
    documents.push(&text[begin..]);
    documents
}

/// The document of a text that has one.
pub(crate) fn only_document(text: &str) -> Option<&str> {
    let mut documents = split(text).into_iter().filter(|document| !is_empty(document));
    let only = documents.next()?;
    documents.next().is_none().then_some(only)
}

pub(crate) fn is_empty(document: &str) -> bool {
    document.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    })
}

/// The text up to the second document.
pub(crate) fn first(text: &str) -> &str {
    let mut begun = false;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let is_separator = line.trim_end() == "---" || line.starts_with("--- ");
        if is_separator && begun {
            return &text[..offset];
        }
        begun |= !line.trim().is_empty() && !line.starts_with('#');
        offset += line.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents() {
        for (text, wanted) in [
            ("", Value::Null),
            ("# only\n---\n", Value::Null),
            ("a: 1\n", json!({"a": 1})),
            ("---\na: 1\n---\nb: 2\n", json!({"a": 1})),
            ("a: {b: [x, y]}\n", json!({"a": {"b": ["x", "y"]}})),
        ] {
            assert_eq!(first_document(text).unwrap(), wanted, "{text:?}");
        }
        assert!(first_document("a: b: c\n").is_err());
        assert!(first_document("a: 1\na: 2\n").is_err(), "a key may stand once");
    }

    #[test]
    fn a_bracket_opens_nothing_where_it_is_text() {
        let comments = "# [ { (\n".repeat(1000);
        let texts = "- x[0\n- '{'\n".repeat(1000);
        let block = format!("{}[\n", " ".repeat(400)).repeat(100);
        let document = format!("{comments}a:\n{texts}b: |\n{block}");
        assert!(first_document(&document).is_ok());
    }

    #[test]
    fn nesting_is_bounded_in_every_style() {
        let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + "x" + &close.repeat(depth);
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("[\"]\",", "]")] {
            assert!(first_document(&nested(open, close, 30)).is_ok(), "{open}");
            assert!(first_document(&nested(open, close, 100)).is_err(), "{open}");
        }
    }

    #[test]
    fn hostile_documents_are_refused_at_once() {
        let deep: Vec<String> = (0..1000).map(|depth| " ".repeat(depth) + "a:").collect();
        let deep = deep.join("\n");
        assert!(first_document(&deep).is_err());
        assert!(first_document(&"[".repeat(100_000)).is_err());
        assert!(first_document(&"- ".repeat(100_000)).is_err());
        assert!(matches!(
            first_document(&"a".repeat(5 << 20)),
            Err(YamlError::TooLarge(_))
        ));
        let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            laughs.extend([
                "a",
                &level.to_string(),
                ": &a",
                &level.to_string(),
                " [",
                &vec![before; 10].join(","),
                "]\n",
            ]);
        }
        assert!(first_document(&laughs).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(text in "[a-c:\\-\\[\\]{}&*!#|>'\"\\n \\t]{0,60}") {
            let _ = first_document(&text);
        }
    }
}
