//! Headers as `map<string, ListStringValue>`.
//!
//! Keys of HTTP callers and HTTP apps travel in Go's canonical casing (`Content-Type`): peers look up exactly
//! `Accept`, and decide by the casing which keys a gRPC app gets under another name. Keys of gRPC callers, and
//! those that sidecars add about the call, travel in lower case.

use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use invoke_core::{Origin, headers};

use grpc_wire::MOST_HEADERS;
use invoke_codec::text;
use invoke_codec::wire::{self, Embedded, Part, Value, len_len};

use super::DecodeError;

/// The field of the map in a request and in a response.
pub(super) struct MapField(pub(super) u32);

const AUTHORITY: &str = ":authority";

/// How long the whole map is.
pub(super) fn map_len(headers: &HeaderMap, authority: Option<&HeaderValue>) -> usize {
    let mut len = 0;
    for (name, values) in sent(headers) {
        len += len_len(entry_len(name.as_str(), values));
    }
    if let Some(authority) = authority {
        len += len_len(entry_len(AUTHORITY, Values::One(authority)));
    }
    len
}

fn entry_len(name: &str, values: Values<'_>) -> usize {
    len_len(name.len()) + len_len(values.list_len())
}

/// The values of a name.
#[derive(Clone, Copy)]
enum Values<'a> {
    One(&'a HeaderValue),
    All(&'a HeaderMap, &'a HeaderName),
}

impl<'a> Values<'a> {
    fn for_each(self, mut f: impl FnMut(&'a HeaderValue)) {
        match self {
            Self::One(value) => f(value),
            Self::All(headers, name) => headers.get_all(name).iter().for_each(f),
        }
    }

    fn list_len(self) -> usize {
        let mut len = 0;
        self.for_each(|value| len += len_len(text::header_len(value.as_bytes())));
        len
    }
}

/// The names that go to the other sidecar, each with all of its values.
fn sent(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, Values<'_>)> {
    // Mostly each name has one value, and to look the values of a name up costs more than to write them.
    let is_single = headers.keys_len() == headers.len();
    let mut last: Option<&HeaderName> = None;
    headers.iter().filter_map(move |(name, value)| {
        // The values of a name come one after the other, with the same name.
        let is_next = last.replace(name).is_some_and(|last| std::ptr::eq(last, name));
        let values = if is_single {
            Values::One(value)
        } else {
            Values::All(headers, name)
        };
        (!is_next && is_sent(name)).then_some((name, values))
    })
}

/// Writes the map.
pub(super) fn put_map(
    out: &mut BytesMut,
    field: &MapField,
    headers: &HeaderMap,
    authority: Option<&HeaderValue>,
    origin: Origin,
) {
    for (name, values) in sent(headers) {
        let is_canonical = origin == Origin::Http && !is_ours(name);
        put_entry(out, field, name.as_str(), is_canonical, values);
    }
    if let Some(authority) = authority {
        put_entry(out, field, AUTHORITY, false, Values::One(authority));
    }
}

/// Whether a header goes to the other sidecar. `Transfer-Encoding` does not. Dapr's sidecars never send it, so they do
/// not expect it either: they would hand it to a gRPC app as metadata.
fn is_sent(name: &HeaderName) -> bool {
    *name != header::TRANSFER_ENCODING
}

/// The keys by which sidecars tell each other who calls whom.
fn is_ours(name: &HeaderName) -> bool {
    [
        headers::CALLER_APP_ID,
        headers::CALLER_NAMESPACE,
        headers::CALLEE_APP_ID,
        headers::DESTINATION_APP_ID,
    ]
    .contains(name)
}

fn put_entry(out: &mut BytesMut, field: &MapField, name: &str, is_canonical: bool, values: Values<'_>) {
    let list = values.list_len();
    wire::put_len(out, field.0, len_len(name.len()) + len_len(list));
    wire::put_len(out, 1, name.len());
    if is_canonical {
        put_canonical(out, name);
    } else {
        out.put_slice(name.as_bytes());
    }
    wire::put_len(out, 2, list);
    values.for_each(|value| text::put_header(out, 1, value.as_bytes()));
}

/// Capitals at the start and after each hyphen, as `net/textproto` has it.
fn put_canonical(out: &mut BytesMut, name: &str) {
    let mut at_start = true;
    for byte in name.bytes() {
        out.put_u8(if at_start { byte.to_ascii_uppercase() } else { byte });
        at_start = byte == b'-';
    }
}

/// What a map entry adds to the headers.
pub(super) struct Entries<'a> {
    pub(super) headers: &'a mut HeaderMap,
    /// How many headers there is room for at first: to grow is to allocate anew.
    pub(super) usual: usize,
    pub(super) authority: &'a mut Option<HeaderValue>,
    /// Whether there was an entry at all.
    pub(super) any: &'a mut bool,
    /// Whether a key is exactly `content-type` with a gRPC type: the mark of a gRPC caller.
    pub(super) is_grpc: &'a mut bool,
}

impl Entries<'_> {
    /// Reads one entry. Its values share the message's buffer.
    pub(super) fn read(&mut self, entry: Part<'_>) -> Result<(), DecodeError> {
        *self.any = true;
        let (mut key, mut list) = (Part::EMPTY, Embedded::default());
        for field in wire::fields(entry) {
            match field? {
                (1, Value::Len(bytes)) => key = bytes,
                (2, Value::Len(bytes)) => list.add(bytes),
                _ => {}
            }
        }
        let list = list.whole().unwrap_or_default();
        let list = Part::from(&list);
        if key.first() == Some(&b':') {
            return self.pseudo(&key, list);
        }
        let name = known(&key)
            .map_or_else(|| HeaderName::from_bytes(&key), Ok)
            .map_err(|_| DecodeError::HeaderName(String::from_utf8_lossy(&key).into_owned()))?;
        if *key == *b"content-type" {
            *self.is_grpc = first_value(list)?.is_some_and(|value| value.starts_with(b"application/grpc"));
        }
        // To clone a name is to allocate: the last value, mostly the only one, takes it.
        let mut last = None;
        for field in wire::fields(list) {
            if let (1, Value::Len(value)) = field? {
                let value = HeaderValue::from_maybe_shared(value.share())
                    .map_err(|_| DecodeError::HeaderValue(name.as_str().to_owned()))?;
                if let Some(earlier) = last.replace(value) {
                    self.append(name.clone(), earlier)?;
                }
            }
        }
        match last {
            Some(value) => self.append(name, value),
            None => Ok(()),
        }
    }

    /// `:authority` of a gRPC caller; other pseudo headers reach apps under a name of their own.
    fn pseudo(&mut self, key: &[u8], list: Part<'_>) -> Result<(), DecodeError> {
        let Some(value) = first_value(list)? else {
            return Ok(());
        };
        let value = HeaderValue::from_maybe_shared(value.share())
            .map_err(|_| DecodeError::HeaderValue(String::from_utf8_lossy(key).into_owned()))?;
        let renamed = match key {
            b":authority" => {
                *self.authority = Some(value);
                return Ok(());
            }
            b":method" => "dapr-method",
            b":scheme" => "dapr-scheme",
            b":path" => "dapr-path",
            _ => return Ok(()),
        };
        self.append(HeaderName::from_static(renamed), value)
    }

    /// Adds a header, unless there are too many: a message has room for more than a map. Values count, too: whoever copies
    /// the headers asks for room for all of them.
    fn append(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), DecodeError> {
        if self.headers.len() >= MOST_HEADERS {
            return Err(DecodeError::Malformed("too many headers"));
        }
        if self.headers.is_empty() {
            self.headers.reserve(self.usual);
        }
        self.headers.append(name, value);
        Ok(())
    }
}

/// The names beyond the standard ones that sidecars add to most calls: to make them from text is to allocate.
static KNOWN: [HeaderName; 8] = [
    headers::CALLER_APP_ID,
    headers::CALLER_NAMESPACE,
    headers::CALLEE_APP_ID,
    headers::DESTINATION_APP_ID,
    headers::FORWARDED_FOR,
    headers::FORWARDED_HOST,
    headers::TRACEPARENT,
    headers::TRACESTATE,
];

fn known(key: &[u8]) -> Option<HeaderName> {
    let is_it = |name: &&HeaderName| name.as_str().as_bytes().eq_ignore_ascii_case(key);
    KNOWN.iter().find(is_it).cloned()
}

fn first_value(list: Part<'_>) -> Result<Option<Part<'_>>, DecodeError> {
    for field in wire::fields(list) {
        if let (1, Value::Len(value)) = field? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
