//! The reply to an invocation.

use http::{HeaderMap, HeaderValue};

use crate::body::Body;
use crate::error::StatusDetail;

/// The status of an app as it stands on the wire between sidecars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireStatus {
    /// 100 and above: an HTTP status; below: a gRPC status code. Numbers that nobody has defined are kept.
    pub code: i32,
    /// The message of a gRPC status.
    pub message: String,
    /// The details of a gRPC status.
    pub details: Vec<StatusDetail>,
}

impl WireStatus {
    /// The status of an HTTP app.
    pub fn http(status: http::StatusCode) -> Self {
        Self {
            code: i32::from(status.as_u16()),
            ..Self::default()
        }
    }

    /// Whether this is an HTTP status rather than a gRPC one.
    pub fn is_http(&self) -> bool {
        self.code >= 100
    }
}

/// Which way the reply came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// From the app of this sidecar.
    Local,
    /// From another sidecar.
    Remote,
    /// From an external endpoint.
    External,
}

/// The reply of an app.
#[derive(Debug)]
pub struct Reply {
    /// The app's status.
    pub status: WireStatus,
    /// The app's headers, without hop-by-hop headers and without `content-length`.
    pub headers: HeaderMap,
    /// Trailers that are known beforehand (a unary gRPC app has them).
    pub trailers: HeaderMap,
    /// The content type of the body.
    pub content_type: Option<HeaderValue>,
    /// The type URL of a packed protobuf message, if the body is one.
    pub type_url: Option<Box<str>>,
    /// The body.
    pub body: Body,
    /// Which way the reply came.
    pub route: Route,
    /// No app said this: it could not be reached, nobody saw the call, and the status says so in its place.
    pub is_unseen: bool,
}

impl Reply {
    /// A reply with a status and nothing else.
    pub fn new(status: WireStatus, route: Route) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            trailers: HeaderMap::new(),
            content_type: None,
            type_url: None,
            body: Body::empty(),
            route,
            is_unseen: false,
        }
    }
}
