//! A gRPC call of a service that is not Dapr's.

use std::time::Instant;

use http::HeaderMap;
use http::uri::PathAndQuery;

use crate::body::Body;
use crate::trace::TraceContext;

/// Everything of such a call but its body.
#[derive(Clone, Debug)]
pub struct ProxiedHead {
    /// The full method as it came, like `/package.Service/Method`.
    pub path: PathAndQuery,
    /// The caller's metadata as it stands on the wire: binary values are base64, encodings of messages are named.
    pub headers: HeaderMap,
    /// The trace context that this sidecar emits where the caller sent none; `None` when tracing is off.
    pub trace: Option<TraceContext>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

/// A gRPC call that is passed on as it is: its messages are not read, and neither is its answer, which is a whole
/// HTTP response with trailers.
#[derive(Debug)]
pub struct Proxied {
    /// Everything but the body.
    pub head: ProxiedHead,
    /// The messages, framed as gRPC frames them.
    pub body: Body,
}
