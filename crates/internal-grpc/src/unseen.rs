//! An app that is gone.
//!
//! The callee's sidecar is there, but its app cannot be reached. Nobody saw the call, so another instance may get it
//! without harm. The status of the answer is the one that Dapr's sidecars send, and it cannot say that. A header says
//! it, but only to callers that have shown that they understand it.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// It belongs to the hop: apps and callers do not see it.
const UNSEEN: HeaderName = HeaderName::from_static("dapr-unseen");

/// Says in the head of an answer that nobody saw the call.
pub(crate) fn put(headers: &mut HeaderMap) {
    headers.insert(UNSEEN, HeaderValue::from_static("1"));
}

/// Whether the head of an answer says so.
pub(crate) fn is_said(headers: &HeaderMap) -> bool {
    headers.contains_key(UNSEEN)
}

/// Takes it out of a head that goes further than this hop. Whether it was there.
pub(crate) fn take(headers: &mut HeaderMap) -> bool {
    headers.remove(UNSEEN).is_some()
}

/// By this a proxied call asks to be told. Its metadata is its caller's and goes to the app, so that nothing of this
/// sidecar can stand there, but this name is not metadata: gRPC has it for itself, and the servers of others drop it.
const ASKS: HeaderName = HeaderName::from_static("grpc-message-type");
const ASKED: &str = "dapr-unseen";

/// Asks to be told, in the head of a proxied call.
pub(crate) fn ask(headers: &mut HeaderMap) {
    headers.insert(ASKS, HeaderValue::from_static(ASKED));
}

/// Whether a proxied call asks to be told; that goes no further.
pub(crate) fn is_asked(headers: &mut HeaderMap) -> bool {
    let asks = headers.get(ASKS).is_some_and(|value| value == ASKED);
    if asks {
        headers.remove(ASKS);
    }
    asks
}
