//! An invocation: what a caller wants an app to do.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::body::Body;
use crate::method::MethodPath;
use crate::observe::Trail;
use crate::trace::TraceContext;
use crate::verb::Verb;

/// Which API the caller used. It decides the spelling of the metadata keys on the wire and how trace headers
/// are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The HTTP API: keys travel in canonical casing (`Content-Type`).
    Http,
    /// The gRPC API: keys travel in lower case; values of `-bin` keys are padded base64 text.
    Grpc,
}

/// Everything of an invocation but its body.
#[derive(Clone, Debug)]
pub struct Head {
    /// The normalised method path.
    pub method: MethodPath,
    /// The verb; `None` when the caller sent no HTTP extension at all, as gRPC callers may.
    pub verb: Option<Verb>,
    /// The query string as the caller wrote it, without `?`.
    pub query: Bytes,
    /// Which API the caller used.
    pub origin: Origin,
    /// The caller's headers or metadata, `content-type` and `content-length` included, hop-by-hop headers too:
    /// they are dropped where the app's request is built.
    pub headers: HeaderMap,
    /// `:authority` of a gRPC caller.
    pub authority: Option<HeaderValue>,
    /// The content type of the body.
    pub content_type: Option<HeaderValue>,
    /// The type URL of a packed protobuf message, if the body is one.
    pub type_url: Option<Box<str>>,
    /// The trace context that this sidecar emits; `None` when tracing is off.
    pub trace: Option<TraceContext>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Where attempts leave behind what they know, for whoever watches the whole call.
    pub trail: Option<Arc<Trail>>,
}

impl Head {
    /// A head with a method and nothing else.
    pub fn new(method: MethodPath, origin: Origin) -> Self {
        Self {
            method,
            verb: None,
            query: Bytes::new(),
            origin,
            headers: HeaderMap::new(),
            authority: None,
            content_type: None,
            type_url: None,
            trace: None,
            deadline: None,
            trail: None,
        }
    }

    /// Whether the caller asked for server-sent events: `Accept`, trimmed and lower-cased, is exactly
    /// `text/event-stream`.
    pub fn wants_events(&self) -> bool {
        self.headers.get(http::header::ACCEPT).is_some_and(|accept| {
            accept
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        })
    }
}

/// An invocation: head and body.
#[derive(Debug)]
pub struct Invocation {
    /// Everything but the body.
    pub head: Head,
    /// The body.
    pub body: Body,
}
