//! Headers of an invocation as gRPC metadata, and back.
//!
//! Inside the sidecar the values of `-bin` keys of gRPC callers and gRPC apps are padded base64 text, as they
//! travel between sidecars. On a gRPC connection they are base64 without padding ("gRPC over HTTP2", Binary
//! headers).

mod proxied;

pub use proxied::{app_target, no_target, of_proxied, peer_target};

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, STANDARD_NO_PAD};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use invoke_core::headers::{DESTINATION_APP_ID, TRACEPARENT, TRACESTATE};
use invoke_core::trace::{self, TraceContext};
use invoke_core::{Head, Origin};
use thiserror::Error;

use crate::illegal;

const GRPC_TRACE_BIN: HeaderName = HeaderName::from_static("grpc-trace-bin");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Padded or not, as peers write it; like Go, with bits at the end that mean nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What belongs to one gRPC connection and is no metadata of the call.
const TRANSPORT: [HeaderName; 9] = [
    header::TE,
    header::HOST,
    // The length of the messages with their heads, where a client declares it, and not that of the data.
    header::CONTENT_LENGTH,
    HeaderName::from_static("grpc-timeout"),
    GRPC_ENCODING,
    HeaderName::from_static("grpc-message-type"),
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// What an HTTP header is called in gRPC metadata: the names that mean something to HTTP get a prefix.
///
/// `transfer-encoding` is not among them, although Dapr lists it: its HTTP server takes that header out of every request,
/// so that no app has ever seen `dapr-transfer-encoding`.
const PREFIXED: [(HeaderName, HeaderName); 27] = {
    macro_rules! names {
        ($($name:literal),* $(,)?) => {
            [$((HeaderName::from_static($name), HeaderName::from_static(concat!("dapr-", $name)))),*]
        };
    }
    names![
        "accept",
        "accept-charset",
        "accept-language",
        "accept-ranges",
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "cache-control",
        "content-type",
        "content-length",
        "cookie",
        "date",
        "expect",
        "from",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-schedule-tag-match",
        "if-unmodified-since",
        "max-forwards",
        "origin",
        "pragma",
        "referer",
        "via",
        "warning",
    ]
};

/// Metadata that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("malformed binary metadata {value:?} in header {name:?}: illegal base64 data at input byte {place}")]
pub struct BadBinary {
    name: String,
    value: String,
    place: usize,
}

impl BadBinary {
    fn of(name: &HeaderName, value: &HeaderValue) -> Self {
        Self {
            name: name.to_string(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            place: illegal::place_of(value.as_bytes()),
        }
    }
}

/// The metadata of a call that came over gRPC. `grpc-status` and the like, which belong to the connection, go.
pub fn from_grpc(mut headers: HeaderMap) -> Result<HeaderMap, BadBinary> {
    for name in &TRANSPORT {
        headers.remove(name);
    }
    for (name, value) in &mut headers {
        if !name.as_str().ends_with("-bin") {
            continue;
        }
        let raw = LENIENT
            .decode(value.as_bytes())
            .map_err(|_| BadBinary::of(name, value))?;
        *value = HeaderValue::try_from(STANDARD.encode(raw)).map_err(|_| BadBinary::of(name, value))?;
    }
    Ok(headers)
}

/// Headers as metadata on a gRPC connection. `origin` tells where they are from: the names of HTTP headers that
/// mean something to HTTP get the prefix `dapr-`, and a header `X-Foo-Bin` is text that becomes binary.
///
/// What gRPC cannot carry is left out, rather than failing the call.
pub fn to_grpc(headers: HeaderMap, origin: Origin) -> HeaderMap {
    let mut metadata = HeaderMap::with_capacity(headers.keys_len() + 4);
    let mut current = None;
    for (name, value) in headers {
        // Only the first value of a name comes with the name.
        if name.is_some() {
            current = name;
        }
        let Some(name) = &current else { continue };
        if let Some((name, value)) = entry(name, value, origin) {
            metadata.append(name, value);
        }
    }
    metadata
}

fn entry(name: &HeaderName, value: HeaderValue, origin: Origin) -> Option<(HeaderName, HeaderValue)> {
    let text = name.as_str();
    if text.ends_with("-bin") {
        let raw = match origin {
            Origin::Grpc => LENIENT.decode(value.as_bytes()).ok()?,
            Origin::Http => value.as_bytes().to_vec(),
        };
        let encoded = HeaderValue::try_from(STANDARD_NO_PAD.encode(raw)).ok()?;
        return Some((name.clone(), encoded));
    }
    if !value.as_bytes().iter().all(|byte| (0x20..=0x7e).contains(byte)) {
        return None;
    }
    if origin == Origin::Http
        && let Some((_, prefixed)) = PREFIXED.iter().find(|(plain, _)| plain == name)
    {
        return Some((prefixed.clone(), value));
    }
    let is_legal = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'.' | b'-'));
    if !is_legal || *name == DESTINATION_APP_ID || is_reserved(name) {
        return None;
    }
    Some((name.clone(), value))
}

/// Keys that gRPC libraries write themselves.
fn is_reserved(name: &HeaderName) -> bool {
    *name == header::CONTENT_TYPE || *name == header::USER_AGENT || TRANSPORT.contains(name)
        // Messages of invocations are packed for one connection. What the caller can unpack is no word to the app, whose
        // messages this sidecar reads, and the other way round.
        || *name == GRPC_ACCEPT_ENCODING
        // On HTTP/2 these would make the request malformed (RFC 9113, section 8.2.2).
        || invoke_core::headers::is_hop_by_hop(name)
}

/// The trace context of a call whose headers are `headers`: what the caller sent, else `own`.
pub fn trace_of(headers: &HeaderMap, origin: Origin, own: Option<TraceContext>) -> Option<TraceContext> {
    let sent = match origin {
        Origin::Grpc => headers.get(GRPC_TRACE_BIN).and_then(binary_in),
        Origin::Http => headers.get(TRACEPARENT).and_then(parent_in),
    };
    sent.or(own)
}

/// The trace context of a call of gRPC: `grpc-trace-bin` if it is there, be it ever so bad, else `traceparent`. Zeros stand
/// for none, and are passed on as such.
pub fn context_of(metadata: &HeaderMap) -> TraceContext {
    let context = match metadata.get(GRPC_TRACE_BIN) {
        Some(binary) => binary_in(binary),
        None => metadata.get(TRACEPARENT).and_then(parent_in),
    };
    context.unwrap_or_default()
}

fn parent_in(value: &HeaderValue) -> Option<TraceContext> {
    value.to_str().ok().and_then(TraceContext::from_traceparent)
}

fn binary_in(value: &HeaderValue) -> Option<TraceContext> {
    let binary = LENIENT.decode(value.as_bytes()).ok()?;
    TraceContext::from_binary(&binary)
}

/// Puts a trace context into metadata, in both forms. `grpc-trace-bin` is there even without one, and then empty:
/// apps of Dapr look for the key.
pub fn put_trace(metadata: &mut HeaderMap, trace: Option<TraceContext>) {
    let binary = trace.map_or_else(String::new, |trace| STANDARD_NO_PAD.encode(trace.to_binary()));
    if let Ok(binary) = HeaderValue::try_from(binary) {
        metadata.insert(GRPC_TRACE_BIN, binary);
    }
    if let Some(trace) = trace
        && let Ok(parent) = HeaderValue::from_bytes(&trace.to_traceparent())
    {
        metadata.insert(TRACEPARENT, parent);
    }
}

/// Puts a trace context into the metadata of a proxied call that has none, neither in text nor in binary.
pub fn put_trace_unless_sent(metadata: &mut HeaderMap, trace: TraceContext) {
    if !metadata.contains_key(TRACEPARENT) && !metadata.contains_key(GRPC_TRACE_BIN) {
        put_trace(metadata, Some(trace));
    }
}

/// The metadata of a call to a gRPC app: its headers and the trace context.
pub fn for_app(head: &mut Head) -> HeaderMap {
    with_trace(std::mem::take(&mut head.headers), head.origin, head.trace)
}

/// Headers as metadata, as [`to_grpc`] makes it, with the trace context that they have, or else `own`.
pub fn with_trace(headers: HeaderMap, origin: Origin, own: Option<TraceContext>) -> HeaderMap {
    let sent = trace_of(&headers, origin, None);
    let mut metadata = to_grpc(headers, origin);
    // The state belongs to the parent that came with it, and the binary form of a parent has none.
    let is_state = |metadata: &HeaderMap| {
        let state = metadata.get(TRACESTATE);
        state.is_some_and(|state| trace::is_state(state.as_bytes()))
    };
    if origin == Origin::Grpc || sent.is_none() || (own.is_none() && !is_state(&metadata)) {
        metadata.remove(TRACESTATE);
    }
    put_trace(&mut metadata, sent.or(own));
    metadata
}

#[cfg(test)]
mod tests {
    use invoke_core::MethodPath;

    use super::*;

    pub(super) fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    /// Room is made for names: a map has none for so many values, and panics when it is asked for it.
    #[test]
    fn a_name_may_have_many_values() {
        let value = HeaderValue::from_static("");
        let many: HeaderMap = (0..40_000)
            .map(|_| (HeaderName::from_static("x"), value.clone()))
            .collect();
        assert_eq!(to_grpc(many, Origin::Grpc).len(), 40_000);
    }

    #[test]
    fn what_comes_in() {
        let headers = map(&[
            ("te", "trailers"),
            ("grpc-timeout", "1S"),
            ("content-length", "77"),
            ("grpc-accept-encoding", "gzip"),
            ("x-a", "1"),
            ("x-b-bin", "YWI"),
            ("x-b-bin", "YWI="),
        ]);
        let wanted = map(&[
            ("grpc-accept-encoding", "gzip"),
            ("x-a", "1"),
            ("x-b-bin", "YWI="),
            ("x-b-bin", "YWI="),
        ]);
        assert_eq!(from_grpc(headers).unwrap(), wanted);
        let error = from_grpc(map(&[("x-bin", "*")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "malformed binary metadata \"*\" in header \"x-bin\": illegal base64 data at input byte 0"
        );
    }

    #[test]
    fn http_headers_become_metadata() {
        let headers = map(&[
            ("Accept", "*/*"),
            ("Content-Type", "text/plain"),
            ("Authorization", "x"),
            ("X-Foo-Bin", "ab"),
            ("X-Odd", "caf\u{e9}"),
            ("User-Agent", "curl"),
            ("Te", "trailers"),
            ("Trailer", "x"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("Grpc-Accept-Encoding", "zstd"),
            ("destination-app-id", "b"),
            ("x-two", "1"),
            ("x-two", "2"),
            ("x-il!legal", "1"),
        ]);
        let wanted = map(&[
            ("dapr-accept", "*/*"),
            ("dapr-content-type", "text/plain"),
            ("dapr-connection", "close"),
            ("authorization", "x"),
            ("x-foo-bin", "YWI"),
            ("x-two", "1"),
            ("x-two", "2"),
        ]);
        assert_eq!(to_grpc(headers, Origin::Http), wanted);
    }

    #[test]
    fn metadata_of_grpc_keeps_its_names() {
        let headers = map(&[
            ("accept", "x"),
            ("content-type", "application/grpc"),
            ("x-b-bin", "YWI="),
            ("x-c-bin", "*"),
            ("grpc-accept-encoding", "gzip"),
        ]);
        let wanted = map(&[("accept", "x"), ("x-b-bin", "YWI")]);
        assert_eq!(to_grpc(headers, Origin::Grpc), wanted);
    }

    #[test]
    fn a_bad_binary_context_is_no_context() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        const BINARY: &str = "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE";
        let context = TraceContext::from_traceparent(PARENT).unwrap();
        for (pairs, wanted) in [
            (&[("traceparent", PARENT)][..], context),
            (&[("grpc-trace-bin", BINARY)], context),
            (
                &[("traceparent", PARENT), ("grpc-trace-bin", "")],
                TraceContext::default(),
            ),
            (
                &[("traceparent", PARENT), ("grpc-trace-bin", "AQAA")],
                TraceContext::default(),
            ),
            (&[("traceparent", "junk")], TraceContext::default()),
            (&[], TraceContext::default()),
        ] {
            assert_eq!(context_of(&map(pairs)), wanted, "{pairs:?}");
        }
    }

    #[test]
    fn trace_contexts() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::from_traceparent(PARENT).unwrap();
        let mut head = Head::new(MethodPath::default(), Origin::Http);
        head.headers = map(&[("traceparent", PARENT), ("tracestate", "a=b")]);
        let metadata = for_app(&mut head);
        assert_eq!(metadata[TRACEPARENT], PARENT);
        assert_eq!(metadata[TRACESTATE], "a=b");
        assert_eq!(
            trace_of(&metadata, Origin::Grpc, None),
            Some(context),
            "both forms say the same"
        );
        let mut head = Head::new(MethodPath::default(), Origin::Grpc);
        head.headers = map(&[("traceparent", PARENT)]);
        head.trace = Some(TraceContext::default());
        assert_eq!(
            for_app(&mut head)[TRACEPARENT],
            "00-00000000000000000000000000000000-0000000000000000-00"
        );
        let mut bare = Head::new(MethodPath::default(), Origin::Grpc);
        assert_eq!(for_app(&mut bare)[GRPC_TRACE_BIN], "");
        for (origin, parent, has_state) in [
            (Origin::Http, PARENT, true),
            (Origin::Http, "junk", false),
            (Origin::Http, "", false),
            (Origin::Grpc, PARENT, false),
        ] {
            let headers = map(&[("traceparent", parent), ("tracestate", "a=b")]);
            let own = Some(TraceContext::default());
            let metadata = with_trace(headers, origin, own);
            assert_eq!(
                metadata.contains_key(TRACESTATE),
                has_state,
                "{origin:?} {parent}"
            );
        }
        let lone = with_trace(map(&[("tracestate", "a=b")]), Origin::Http, None);
        assert!(!lone.contains_key(TRACESTATE));
    }
}
