//! Details of a gRPC status as JSON, in the mapping of protobuf's documentation.
//!
//! What can be shown are the standard details of Google's API design guide (`google.rpc`, `error_details.proto`).

use std::collections::BTreeMap;

use invoke_codec::DecodeError;
use invoke_codec::wire::{self, Part, Value};
use invoke_core::StatusDetail;
use thiserror::Error;

use crate::errors::quoted;

/// A detail that cannot be shown.
#[derive(Debug, Error)]
pub(crate) enum DetailError {
    /// Nobody knows its type.
    #[error("proto: google.protobuf.Any: unable to resolve {0:?}: not found")]
    Unknown(String),
    /// Its bytes are no such message.
    #[error("proto: google.protobuf.Any: unable to unmarshal {type_url:?}: {cause}")]
    Malformed { type_url: String, cause: DecodeError },
}

/// What a field is.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Texts,
    /// A number of 64 bits, which JSON has as text.
    Number,
    Span,
    Map,
    One(&'static [Field]),
    Many(&'static [Field]),
}

/// Number, name in JSON, kind.
type Field = (u32, &'static str, Kind);

use Kind::{Many, Map, Number, One, Span, Text, Texts};

const LOCALIZED: &[Field] = &[(1, "locale", Text), (2, "message", Text)];

/// The types and their fields.
const TYPES: &[(&str, &[Field])] = &[
    (
        "google.rpc.ErrorInfo",
        &[(1, "reason", Text), (2, "domain", Text), (3, "metadata", Map)],
    ),
    ("google.rpc.RetryInfo", &[(1, "retryDelay", Span)]),
    (
        "google.rpc.DebugInfo",
        &[(1, "stackEntries", Texts), (2, "detail", Text)],
    ),
    (
        "google.rpc.QuotaFailure",
        &[(
            1,
            "violations",
            Many(&[
                (1, "subject", Text),
                (2, "description", Text),
                (3, "apiService", Text),
                (4, "quotaMetric", Text),
                (5, "quotaId", Text),
                (6, "quotaDimensions", Map),
                (7, "quotaValue", Number),
                (8, "futureQuotaValue", Number),
            ]),
        )],
    ),
    (
        "google.rpc.PreconditionFailure",
        &[(
            1,
            "violations",
            Many(&[(1, "type", Text), (2, "subject", Text), (3, "description", Text)]),
        )],
    ),
    (
        "google.rpc.BadRequest",
        &[(
            1,
            "fieldViolations",
            Many(&[
                (1, "field", Text),
                (2, "description", Text),
                (3, "reason", Text),
                (4, "localizedMessage", One(LOCALIZED)),
            ]),
        )],
    ),
    (
        "google.rpc.RequestInfo",
        &[(1, "requestId", Text), (2, "servingData", Text)],
    ),
    (
        "google.rpc.ResourceInfo",
        &[
            (1, "resourceType", Text),
            (2, "resourceName", Text),
            (3, "owner", Text),
            (4, "description", Text),
        ],
    ),
    (
        "google.rpc.Help",
        &[(1, "links", Many(&[(1, "description", Text), (2, "url", Text)]))],
    ),
    ("google.rpc.LocalizedMessage", LOCALIZED),
];

/// One detail as a JSON object.
pub(crate) fn shown(detail: &StatusDetail) -> Result<String, DetailError> {
    let type_url = &detail.type_url;
    let name = type_url.rsplit('/').next().unwrap_or_default();
    let Some((_, fields)) = TYPES.iter().find(|(known, _)| *known == name) else {
        return Err(DetailError::Unknown(type_url.clone()));
    };
    let members = members((&detail.value).into(), fields).map_err(|cause| DetailError::Malformed {
        type_url: type_url.clone(),
        cause,
    })?;
    let mut json = format!("{{\"@type\":{}", quoted(type_url));
    for member in members {
        json.push(',');
        json.push_str(&member);
    }
    json.push('}');
    Ok(json)
}

/// The members of a message in the order of its description; those that are not there are left out.
fn members(message: Part<'_>, fields: &[Field]) -> Result<Vec<String>, DecodeError> {
    let mut members = Vec::new();
    for (number, name, kind) in fields {
        if let Some(value) = value(message, *number, *kind)? {
            members.push(format!("\"{name}\":{value}"));
        }
    }
    Ok(members)
}

fn value(message: Part<'_>, number: u32, kind: Kind) -> Result<Option<String>, DecodeError> {
    let (mut pieces, mut varint) = (Vec::new(), 0);
    for field in wire::fields(message) {
        match field? {
            (known, Value::Len(bytes)) if known == number => pieces.push(bytes),
            (known, Value::Varint(value)) if known == number => varint = value,
            _ => {}
        }
    }
    let last = pieces.last();
    Ok(match kind {
        Text => last.map(text).transpose()?.filter(|text| text != "\"\""),
        Number => (varint != 0).then(|| format!("\"{}\"", varint as i64)),
        Texts => list(pieces.iter().map(text).collect::<Result<_, _>>()?),
        Map => map(&pieces)?,
        Span => last.map(span).transpose()?,
        One(fields) => last.map(|message| object(*message, fields)).transpose()?,
        Many(fields) => list(
            pieces
                .iter()
                .map(|message| object(*message, fields))
                .collect::<Result<_, _>>()?,
        ),
    })
}

fn object(message: Part<'_>, fields: &[Field]) -> Result<String, DecodeError> {
    Ok(format!("{{{}}}", members(message, fields)?.join(",")))
}

fn list(items: Vec<String>) -> Option<String> {
    (!items.is_empty()).then(|| format!("[{}]", items.join(",")))
}

fn text(bytes: &Part<'_>) -> Result<String, DecodeError> {
    Ok(quoted(&wire::text(bytes)?.unwrap_or_default()))
}

/// A map of texts, in the order of its keys.
fn map(entries: &[Part<'_>]) -> Result<Option<String>, DecodeError> {
    let mut sorted = BTreeMap::new();
    for entry in entries {
        let part = |number| value(*entry, number, Text).map(|text| text.unwrap_or_else(|| "\"\"".to_owned()));
        sorted.insert(part(1)?, part(2)?);
    }
    let members: Vec<String> = sorted
        .into_iter()
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    Ok((!members.is_empty()).then(|| format!("{{{}}}", members.join(","))))
}

/// A duration in seconds, with 0, 3, 6 or 9 digits behind the point.
fn span(duration: &Part<'_>) -> Result<String, DecodeError> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in wire::fields(*duration) {
        match field? {
            (1, Value::Varint(value)) => seconds = value as i64,
            (2, Value::Varint(value)) => nanos = value as i32,
            _ => {}
        }
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let digits = format!("{:09}", nanos.unsigned_abs());
    let digits = match digits.trim_end_matches('0').len() {
        0 => String::new(),
        1..=3 => format!(".{}", &digits[..3]),
        4..=6 => format!(".{}", &digits[..6]),
        _ => format!(".{digits}"),
    };
    Ok(format!("\"{sign}{}{digits}s\"", seconds.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use bytes::Bytes;

    use super::*;

    fn detail(name: &str, value: &'static [u8]) -> StatusDetail {
        StatusDetail {
            type_url: format!("type.googleapis.com/google.rpc.{name}"),
            value: Bytes::from_static(value),
        }
    }

    #[test]
    fn known_types() {
        for (name, value, wanted) in [
            (
                "ErrorInfo",
                &b"\x0a\x01R\x12\x01d\x1a\x06\x0a\x01b\x12\x012\x1a\x06\x0a\x01a\x12\x011\x1a\x03\x0a\x01c"[..],
                r#""reason":"R","domain":"d","metadata":{"a":"1","b":"2","c":""}"#,
            ),
            ("RetryInfo", b"\x0a\x02\x08\x05", r#""retryDelay":"5s""#),
            (
                "RetryInfo",
                b"\x0a\x06\x10\x80\xca\xb5\xee\x01",
                r#""retryDelay":"0.500s""#,
            ),
            (
                "BadRequest",
                b"\x0a\x06\x0a\x01f\x12\x01d\x0a\x00",
                r#""fieldViolations":[{"field":"f","description":"d"},{}]"#,
            ),
            ("DebugInfo", b"\x0a\x01a\x0a\x01b", r#""stackEntries":["a","b"]"#),
            (
                "QuotaFailure",
                b"\x0a\x05\x0a\x01s\x38\x07",
                r#""violations":[{"subject":"s","quotaValue":"7"}]"#,
            ),
        ] {
            let wanted = format!(r#"{{"@type":"type.googleapis.com/google.rpc.{name}",{wanted}}}"#);
            assert_eq!(shown(&detail(name, value)).unwrap(), wanted);
        }
        let empty = shown(&detail("Help", b"")).unwrap();
        assert_eq!(empty, r#"{"@type":"type.googleapis.com/google.rpc.Help"}"#);
    }

    #[test]
    fn what_cannot_be_shown() {
        let error = shown(&detail("Nothing", b"")).unwrap_err();
        assert!(error.to_string().contains("unable to resolve"), "{error}");
        let error = shown(&detail("Help", b"\x0a\x7f")).unwrap_err();
        assert!(error.to_string().contains("unable to unmarshal"), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_is_shown_is_json(index in 0..TYPES.len(), junk in proptest::collection::vec(any::<u8>(), 0..40)) {
            let detail = StatusDetail { type_url: TYPES[index].0.to_owned(), value: junk.into() };
            if let Ok(json) = shown(&detail) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
            }
        }
    }
}
