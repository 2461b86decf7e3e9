//! An app that is gone.
//!
//! The callee's sidecar is there, but its app cannot be reached: nobody saw the call, and another instance may have it
//! without harm. The answer itself is that of Dapr's sidecars, which have no way to say more, so a header says it, and
//! only to callers that showed that they are of this kind.

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
