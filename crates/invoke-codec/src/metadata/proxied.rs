//! The metadata of calls that are passed on as they are.

use base64::Engine;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use invoke_core::headers::{CALLEE_APP_ID, DAPR_APP_ID};
use invoke_core::trace::TraceContext;

use super::{
    BadBinary, GRPC_ENCODING, GRPC_TRACE_BIN, LENIENT, TRACEPARENT, TRACESTATE, binary_in, parent_in,
};

/// The metadata of a call that is passed on as it is. Binary values are checked and stay as they are; what belongs to
/// the connection goes, but not what tells how the messages are encoded.
pub fn of_proxied(mut headers: HeaderMap) -> Result<HeaderMap, BadBinary> {
    for name in [header::HOST, HeaderName::from_static("grpc-timeout")] {
        headers.remove(name);
    }
    for (name, value) in &headers {
        if name.as_str().ends_with("-bin") && LENIENT.decode(value.as_bytes()).is_err() {
            return Err(BadBinary::of(name, value));
        }
    }
    keep_singular(&mut headers);
    keep_one_trace(&mut headers);
    Ok(headers)
}

/// Leaves one value of each header that has one by its definition. Which of several counts is up to who reads them:
/// the app must not choose another one than this sidecar, which goes by the first.
fn keep_singular(headers: &mut HeaderMap) {
    if headers.len() != headers.keys_len() {
        for name in [header::CONTENT_TYPE, header::USER_AGENT, GRPC_ENCODING] {
            keep_first(headers, &name, |value| !value.is_empty());
        }
    }
    if headers.get(header::USER_AGENT).is_some_and(HeaderValue::is_empty) {
        headers.remove(header::USER_AGENT);
    }
}

/// Leaves one trace context that can be read, and its state (W3C Trace Context, section 4.3: a state without its parent
/// means nothing). One of zeros counts only when there is no other: Dapr's sidecars add theirs behind the caller's.
fn keep_one_trace(headers: &mut HeaderMap) {
    const ZEROS: TraceContext = TraceContext {
        trace_id: [0; 16],
        span_id: [0; 8],
        flags: 0,
    };
    let no_parent = ZEROS.to_traceparent();
    let is_parent = |value: &HeaderValue| parent_in(value).is_some();
    if !keep_first(headers, &TRACEPARENT, is_parent) {
        headers.remove(TRACESTATE);
        if !keep_first(headers, &TRACEPARENT, |value| value.as_bytes() == no_parent) {
            headers.remove(TRACEPARENT);
        }
    }
    let is_binary = |value: &HeaderValue| binary_in(value).is_some_and(|trace| trace != ZEROS);
    let has_binary = keep_first(headers, &GRPC_TRACE_BIN, is_binary)
        || keep_first(headers, &GRPC_TRACE_BIN, |value| binary_in(value).is_some());
    if !has_binary {
        headers.remove(GRPC_TRACE_BIN);
    }
}

/// Leaves the first value that is good; whether there is one. Without one all values stay.
fn keep_first(headers: &mut HeaderMap, name: &HeaderName, is_good: impl Fn(&HeaderValue) -> bool) -> bool {
    let mut values = headers.get_all(name).iter();
    let Some(good) = values.find(|value| is_good(value)) else {
        return false;
    };
    if headers.get_all(name).iter().nth(1).is_some() {
        let good = good.clone();
        headers.insert(name, good);
    }
    true
}

/// The target of a proxied call that an app sends: `dapr-app-id`, or else `dapr-callee-app-id`, which an app may
/// have copied from a call that it got.
pub fn app_target(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(DAPR_APP_ID).or_else(|| headers.get(CALLEE_APP_ID))
}

/// The target of a proxied call that another sidecar sends.
pub fn peer_target(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(CALLEE_APP_ID).or_else(|| headers.get(DAPR_APP_ID))
}

/// What the caller of a method that nobody has is told when it names no app, either.
pub fn no_target(path: &str, is_traced: bool) -> &'static str {
    const SERVICES: [&str; 3] = [
        "/dapr.proto.internals.",
        "/dapr.proto.runtime.",
        "/TaskHubSidecarService",
    ];
    if is_traced && !SERVICES.iter().any(|service| path.starts_with(service)) {
        "cannot proxy request: missing dapr-callee-app-id or dapr-app-id metadata"
    } else {
        "failed to proxy request: required metadata dapr-callee-app-id or dapr-app-id not found"
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::map;
    use super::*;

    #[test]
    fn what_is_passed_on_stays_as_it_is() {
        let headers = map(&[
            ("grpc-encoding", "zstd"),
            ("grpc-timeout", "1S"),
            ("te", "trailers"),
            ("x-b-bin", "YWI"),
        ]);
        let wanted = map(&[("grpc-encoding", "zstd"), ("te", "trailers"), ("x-b-bin", "YWI")]);
        assert_eq!(of_proxied(headers).unwrap(), wanted);
        assert!(of_proxied(map(&[("x-bin", "*")])).is_err());
    }

    #[test]
    fn what_is_passed_on_says_one_thing() {
        for (sent, wanted) in [
            (
                &[("user-agent", "a"), ("user-agent", "b")][..],
                &[("user-agent", "a")][..],
            ),
            (&[("user-agent", ""), ("user-agent", "b")], &[("user-agent", "b")]),
            (&[("user-agent", "")], &[]),
            (
                &[
                    ("content-type", "application/grpc"),
                    ("content-type", "text/html"),
                ],
                &[("content-type", "application/grpc")],
            ),
            (
                &[("grpc-encoding", "gzip"), ("grpc-encoding", "identity")],
                &[("grpc-encoding", "gzip")],
            ),
            (&[("x-a", "1"), ("x-a", "2")], &[("x-a", "1"), ("x-a", "2")]),
            (&[("x-a", "")], &[("x-a", "")]),
        ] {
            assert_eq!(of_proxied(map(sent)).unwrap(), map(wanted), "{sent:?}");
        }
    }

    #[test]
    fn one_trace_is_passed_on() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        const OTHER: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        const ZEROS: &str = "00-00000000000000000000000000000000-0000000000000000-00";
        const BINARY: &str = "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE";
        const NO_BINARY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAgA";
        let (parent, state, binary) = ("traceparent", "tracestate", "grpc-trace-bin");
        for (sent, wanted) in [
            (
                &[(parent, PARENT), (state, "a=b"), (binary, BINARY)][..],
                &[(parent, PARENT), (state, "a=b"), (binary, BINARY)][..],
            ),
            (&[(parent, PARENT), (parent, OTHER)], &[(parent, PARENT)]),
            (&[(parent, "junk"), (parent, OTHER)], &[(parent, OTHER)]),
            // A sidecar of Dapr has added its own.
            (&[(parent, PARENT), (parent, ZEROS)], &[(parent, PARENT)]),
            (&[(parent, ZEROS), (parent, PARENT)], &[(parent, PARENT)]),
            (&[(parent, ZEROS), (parent, ZEROS)], &[(parent, ZEROS)]),
            (&[(parent, ZEROS), (state, "a=b")], &[(parent, ZEROS)]),
            (&[(parent, "junk"), (state, "a=b")], &[]),
            (&[(state, "a=b")], &[]),
            (&[(state, "a=b"), (binary, BINARY)], &[(binary, BINARY)]),
            (&[(binary, "")], &[]),
            (&[(binary, "AAA")], &[]),
            (&[(binary, NO_BINARY)], &[(binary, NO_BINARY)]),
            (&[(binary, NO_BINARY), (binary, BINARY)], &[(binary, BINARY)]),
        ] {
            assert_eq!(of_proxied(map(sent)).unwrap(), map(wanted), "{sent:?}");
        }
    }

    #[test]
    fn targets_of_proxied_calls() {
        let both = map(&[("dapr-app-id", "a"), ("dapr-callee-app-id", "b")]);
        assert_eq!(app_target(&both).unwrap(), "a");
        assert_eq!(peer_target(&both).unwrap(), "b");
        let stale = map(&[("dapr-callee-app-id", "b")]);
        assert_eq!(app_target(&stale).unwrap(), "b");
        assert_eq!(peer_target(&map(&[])), None);
        assert!(no_target("/a.B/C", true).starts_with("cannot proxy"));
        assert!(no_target("/a.B/C", false).starts_with("failed to proxy"));
        assert!(no_target("/dapr.proto.runtime.v1.Dapr/Foo", true).starts_with("failed to proxy"));
    }
}
