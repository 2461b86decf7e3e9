//! A gRPC call of a service that is not Dapr's.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use http::header::HeaderName;
use http::uri::PathAndQuery;

use crate::body::Body;
use crate::headers::{TRACEPARENT, TRACESTATE};
use crate::observe::Trail;
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
    /// Where attempts leave behind what they know, for whoever watches the whole call.
    pub trail: Option<Arc<Trail>>,
}

const GRPC_TRACE_BIN: HeaderName = HeaderName::from_static("grpc-trace-bin");

impl ProxiedHead {
    /// Puts the context of a span of this sidecar in place of what the caller sent. The state stays if it belongs to the
    /// same trace.
    pub fn emit(&mut self, trace: TraceContext) {
        let parent = self.headers.remove(TRACEPARENT);
        let parent = parent.as_ref().and_then(|parent| parent.to_str().ok());
        let is_same = parent
            .and_then(TraceContext::from_traceparent)
            .is_some_and(|parent| parent.trace_id == trace.trace_id);
        if !is_same {
            self.headers.remove(TRACESTATE);
        }
        self.headers.remove(GRPC_TRACE_BIN);
        self.trace = Some(trace);
    }
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

/// Stands among the extensions of an answer that is no app's: the app of the other sidecar could not be reached, and
/// nobody saw the call.
#[derive(Clone, Copy, Debug)]
pub struct Unseen;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_takes_the_place_of_what_the_caller_sent() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceContext::from_traceparent(PARENT).unwrap();
        for (trace_id, has_state) in [(parent.trace_id, true), ([7; 16], false)] {
            let mut head = ProxiedHead {
                path: PathAndQuery::from_static("/a.B/C"),
                headers: HeaderMap::new(),
                trace: None,
                deadline: None,
                trail: None,
            };
            for (name, value) in [
                ("traceparent", PARENT),
                ("tracestate", "a=b"),
                ("grpc-trace-bin", "AAA"),
                ("x-a", "1"),
            ] {
                head.headers.insert(name, value.parse().unwrap());
            }
            let span = TraceContext { trace_id, ..parent };
            head.emit(span);
            assert_eq!(head.trace, Some(span));
            let left: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
            let wanted: &[_] = if has_state {
                &["tracestate", "x-a"]
            } else {
                &["x-a"]
            };
            assert_eq!(left.len(), wanted.len());
            assert!(wanted.iter().all(|name| left.contains(name)), "{left:?}");
        }
    }
}
