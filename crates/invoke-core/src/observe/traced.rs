//! What an observer that traces is told where a call enters this sidecar.

use std::net::SocketAddr;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method};

use crate::invocation::Head;
use crate::method::MethodPath;
use crate::proxied::ProxiedHead;
use crate::trace::TraceContext;

/// An exchange that is a part of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Traced<'a> {
    /// Where the call came in.
    pub entry: Entry<'a>,
    /// What the caller sent. An id of zeros in it is as good as none.
    pub parent: Option<TraceContext>,
    /// The state that came with it.
    pub state: Option<&'a HeaderValue>,
    /// The headers or the metadata that came with the call. What an app sent to the sidecar that calls is none of it.
    pub headers: Option<&'a HeaderMap>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

/// Where a call came in.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// At the HTTP API.
    Http {
        /// The HTTP method.
        method: &'a Method,
        /// The path as it came.
        path: &'a str,
        /// The query as it came, if there is one.
        query: Option<&'a str>,
        /// The address of the caller, unless it came over a Unix socket.
        peer: Option<SocketAddr>,
    },
    /// At the gRPC API.
    Grpc {
        /// The full method.
        method: &'a str,
    },
    /// Of another sidecar.
    Received {
        /// Whether it came as one message.
        is_unary: bool,
        /// The method that is invoked.
        method: &'a MethodPath,
    },
    /// A gRPC call that is passed on, of the app or of another sidecar.
    Relayed {
        /// The full method.
        method: &'a str,
    },
}

impl Head {
    /// An invocation of another sidecar. Its parent is what that sidecar emitted.
    pub(crate) fn traced(&self, is_unary: bool) -> Traced<'_> {
        Traced {
            entry: Entry::Received {
                is_unary,
                method: &self.method,
            },
            parent: self.trace,
            state: None,
            headers: None,
            deadline: self.deadline,
        }
    }
}

impl ProxiedHead {
    /// A call that is passed on.
    pub fn traced(&self) -> Traced<'_> {
        Traced {
            entry: Entry::Relayed {
                method: self.path.path(),
            },
            parent: self.trace,
            state: None,
            headers: Some(&self.headers),
            deadline: self.deadline,
        }
    }
}
