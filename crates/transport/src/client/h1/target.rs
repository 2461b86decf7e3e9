//! Request targets in forms that the HTTP library does not know.

use bytes::Bytes;
use http::Request;

/// A request target that [`http::Uri`] cannot hold, as it is to go out. It is an extension of a request whose URI
/// has the same target with these bytes escaped.
#[derive(Clone, Debug)]
pub struct RawTarget(Bytes);

impl RawTarget {
    /// A target; `None` if it has bytes that would end it, or that no request line may have (RFC 9112, section 3.2).
    pub fn new(target: impl Into<Bytes>) -> Option<Self> {
        let target = target.into();
        let is_whole = target.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        (is_whole && target.starts_with(b"/")).then_some(Self(target))
    }

    /// As it goes out.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What a head begins with, and how many bytes of hyper's it replaces.
    pub(super) fn start_of<B>(&self, request: &Request<B>) -> Option<(usize, Bytes)> {
        let uri = request.uri();
        let escaped = uri.path_and_query()?.as_str();
        let method = request.method().as_str();
        // A proxy is told the whole address.
        let origin = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => String::new(),
        };
        let start = [method.as_bytes(), b" ", origin.as_bytes(), &self.0].concat();
        Some((method.len() + 1 + origin.len() + escaped.len(), start.into()))
    }
}
