//! `middleware.http.rs.headers`: headers that are removed, set and added, of requests and of answers.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::handler::{After, Call};
use crate::paths::PathFilter;
use crate::properties::{Duplicate, Properties, Unknown, list};

const FIELDS: [&str; 7] = [
    "removeRequestHeaders",
    "setRequestHeaders",
    "addRequestHeaders",
    "removeResponseHeaders",
    "setResponseHeaders",
    "addResponseHeaders",
    "pathFilter",
];

/// Headers that say how a message is written or where it goes. Whoever changes them breaks it.
const FRAMING: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why there are no rules.
#[derive(Debug, Error)]
pub(crate) enum HeadersError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("pathFilter: {0}")]
    PathFilter(String),
    #[error("{field}: {source}")]
    Json {
        field: &'static str,
        source: serde_json::Error,
    },
    #[error("{field}: the value of {name:?} is no text and no list of texts")]
    Kind { field: &'static str, name: String },
    #[error("{field}: {name:?} is no name of a header")]
    Name { field: &'static str, name: String },
    #[error("{field}: {name} says how a message is written and cannot be changed")]
    Framing { field: &'static str, name: HeaderName },
    #[error("{field}: the value of {name} cannot stand in a header")]
    Value { field: &'static str, name: HeaderName },
}

/// The rules of a component.
#[derive(Debug)]
pub(crate) struct Headers {
    filter: PathFilter,
    request: Changes,
    response: Arc<Changes>,
}

/// What is done to the headers of a message, in this order.
#[derive(Debug)]
pub(crate) struct Changes {
    remove: Vec<HeaderName>,
    set: HeaderMap,
    add: HeaderMap,
}

impl Headers {
    pub(crate) fn new(properties: &Properties) -> Result<Self, HeadersError> {
        properties.check()?;
        properties.only(&FIELDS)?;
        let [remove, set, add, remove_answer, set_answer, add_answer, filter] = FIELDS;
        Ok(Self {
            filter: PathFilter::new(properties.get(filter).unwrap_or_default())
                .map_err(HeadersError::PathFilter)?,
            request: Changes::read(properties, [remove, set, add])?,
            response: Arc::new(Changes::read(
                properties,
                [remove_answer, set_answer, add_answer],
            )?),
        })
    }

    pub(crate) fn handle(&self, call: &mut Call) -> After {
        if !self.filter.takes(&call.request) {
            return After::Nothing;
        }
        self.request.apply(call.request.headers_mut());
        if self.response.is_nothing() {
            After::Nothing
        } else {
            After::Change(Arc::clone(&self.response))
        }
    }
}

impl Changes {
    fn read(properties: &Properties, fields: [&'static str; 3]) -> Result<Self, HeadersError> {
        let [remove, set, add] = fields;
        let text = |field| properties.get(field).unwrap_or_default();
        Ok(Self {
            remove: list(text(remove))
                .map(|item| name(remove, item))
                .collect::<Result<_, _>>()?,
            set: headers(set, text(set))?,
            add: headers(add, text(add))?,
        })
    }

    fn is_nothing(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for name in self.set.keys() {
            headers.remove(name);
        }
        for (name, value) in self.set.iter().chain(&self.add) {
            headers.append(name, value.clone());
        }
    }
}

fn name(field: &'static str, text: &str) -> Result<HeaderName, HeadersError> {
    match HeaderName::try_from(text) {
        Ok(name) if FRAMING.contains(&name) => Err(HeadersError::Framing { field, name }),
        Ok(name) => Ok(name),
        Err(_) => Err(HeadersError::Name {
            field,
            name: text.to_owned(),
        }),
    }
}

/// Names and values in JSON: each is a text, or a list of texts.
fn headers(field: &'static str, text: &str) -> Result<HeaderMap, HeadersError> {
    let mut headers = HeaderMap::new();
    if text.trim().is_empty() {
        return Ok(headers);
    }
    let written: Map<String, Value> =
        serde_json::from_str(text).map_err(|source| HeadersError::Json { field, source })?;
    for (key, value) in written {
        let kind = || HeadersError::Kind {
            field,
            name: key.clone(),
        };
        let name = name(field, &key)?;
        let values = match &value {
            Value::Array(values) => values.iter().collect(),
            value => vec![value],
        };
        for value in values {
            let value = HeaderValue::from_str(value.as_str().ok_or_else(kind)?);
            let value = value.map_err(|_| HeadersError::Value {
                field,
                name: name.clone(),
            })?;
            headers.append(name.clone(), value);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use invoke_core::Body;

    use super::*;

    fn of(items: &[(&str, &str)]) -> Result<Headers, HeadersError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Headers::new(&Properties::new(items.iter().map(owned)))
    }

    #[test]
    fn what_is_refused() {
        for (field, value, wanted) in [
            ("setRequestHeaders", "x", "setRequestHeaders: expected value"),
            (
                "setRequestHeaders",
                "[]",
                "setRequestHeaders: invalid type: sequence",
            ),
            (
                "addResponseHeaders",
                r#"{"a": 1}"#,
                "addResponseHeaders: the value of \"a\" is no text and no list of texts",
            ),
            (
                "addRequestHeaders",
                r#"{"a b": "c"}"#,
                "addRequestHeaders: \"a b\" is no name of a header",
            ),
            (
                "removeRequestHeaders",
                "X-A, Content-Length",
                "removeRequestHeaders: content-length says how a message is written",
            ),
            (
                "setResponseHeaders",
                r#"{"a": "b\nc: d"}"#,
                "setResponseHeaders: the value of a cannot stand in a header",
            ),
            ("pathFilter", "[", "pathFilter: error parsing regexp"),
            (
                "setRequestHeader",
                "{}",
                "setRequestHeader is no metadata of this component",
            ),
        ] {
            let said = of(&[(field, value)]).unwrap_err().to_string();
            assert!(said.starts_with(wanted), "{field}: {said}");
        }
    }

    #[test]
    fn what_changes() {
        let headers = of(&[
            ("removeRequestHeaders", "X-Debug, x-gone"),
            (
                "setRequestHeaders",
                r#"{"X-Tenant": "shop", "X-Two": ["a", "b"]}"#,
            ),
            ("addRequestHeaders", r#"{"Via": "sidecar"}"#),
            ("removeResponseHeaders", "Server"),
            ("setResponseHeaders", r#"{"X-Frame-Options": "DENY"}"#),
            ("pathFilter", "^/a"),
        ]);
        let headers = headers.unwrap();
        let request = |path: &str| Call {
            request: Request::builder()
                .uri(path)
                .header("x-debug", "1")
                .header("x-tenant", "other")
                .header("via", "proxy")
                .body(Body::empty())
                .unwrap(),
            peer: None,
        };
        let mut call = request("/a");
        let after = headers.handle(&mut call);
        let values =
            |name: &str| -> Vec<&HeaderValue> { call.request.headers().get_all(name).iter().collect() };
        assert_eq!(values("x-tenant"), ["shop"]);
        assert_eq!(values("x-two"), ["a", "b"]);
        assert_eq!(values("via"), ["proxy", "sidecar"]);
        assert!(values("x-debug").is_empty());
        let answer = http::Response::builder()
            .header("server", "app")
            .header("x-frame-options", "ALLOW");
        let answer = after.apply(answer.body(Body::empty()).unwrap());
        assert!(!answer.headers().contains_key("server"));
        assert_eq!(answer.headers()["x-frame-options"], "DENY");

        let mut other = request("/b");
        assert!(matches!(headers.handle(&mut other), After::Nothing));
        assert_eq!(other.request.headers()["x-debug"], "1");
    }
}
