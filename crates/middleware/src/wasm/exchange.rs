//! A call as the guest sees it.

use std::net::SocketAddr;

use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use invoke_core::Body;

use super::request::GuestRequest;
use super::response::GuestResponse;
use super::state::Halt;

/// The guest sees bodies as a whole.
pub(super) const BUFFER_REQUEST: u32 = 1;
/// The guest sees the answer before the caller does.
pub(super) const BUFFER_RESPONSE: u32 = 2;
const TRAILERS: u32 = 4;

/// A call.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) request: GuestRequest,
    pub(super) response: GuestResponse,
    /// What the guest switched on.
    pub(super) features: u32,
}

/// Headers of which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
    RequestTrailers,
    ResponseTrailers,
}

impl Kind {
    pub(super) fn new(kind: u32) -> Result<Self, Halt> {
        Ok(match kind {
            0 => Self::Request,
            1 => Self::Response,
            2 => Self::RequestTrailers,
            3 => Self::ResponseTrailers,
            other => {
                return Err(Halt::Refused(format!("unsupported header kind: {other}")));
            }
        })
    }
}

impl Exchange {
    pub(super) fn new(request: Request<Body>, peer: Option<SocketAddr>) -> Box<Self> {
        Box::new(Self {
            request: GuestRequest::new(request, peer),
            response: GuestResponse::default(),
            features: 0,
        })
    }

    pub(super) fn enable(&mut self, features: u32) {
        self.features |= features;
        self.request.is_kept |= features & BUFFER_REQUEST != 0;
        self.response.is_buffered |= features & BUFFER_RESPONSE != 0;
    }

    /// What a guest reads. As in Dapr there is one set of trailers, that of the answer.
    pub(super) fn headers(&self, kind: Kind) -> &HeaderMap {
        match kind {
            Kind::Request => &self.request.parts.headers,
            Kind::Response => &self.response.headers,
            Kind::RequestTrailers | Kind::ResponseTrailers => &self.response.trailers,
        }
    }

    /// What a guest changes, if it still may. `verb` is what it does.
    pub(super) fn headers_mut(&mut self, kind: Kind, verb: &str) -> Result<&mut HeaderMap, Halt> {
        match kind {
            Kind::Request => self.before_next(verb, "request header")?,
            Kind::RequestTrailers => self.before_next(verb, "request trailer")?,
            Kind::Response => self.before_next_or_buffered(verb, "response header")?,
            Kind::ResponseTrailers => self.before_next_or_buffered(verb, "response trailer")?,
        }
        Ok(match kind {
            Kind::Request => &mut self.request.parts.headers,
            Kind::Response => self.response.headers_mut(),
            Kind::RequestTrailers | Kind::ResponseTrailers => &mut self.response.trailers,
        })
    }

    /// Refuses what is only done to a request that has not gone on.
    pub(super) fn before_next(&self, verb: &str, what: &str) -> Result<(), Halt> {
        if self.response.is_after_next {
            return Err(Halt::Refused(format!("can't {verb} {what} after next handler")));
        }
        Ok(())
    }

    /// Refuses what is only done to an answer that has not gone on.
    pub(super) fn before_next_or_buffered(&self, verb: &str, what: &str) -> Result<(), Halt> {
        self.before_next_or(BUFFER_RESPONSE, verb, what)
    }

    pub(super) fn before_next_or(&self, feature: u32, verb: &str, what: &str) -> Result<(), Halt> {
        if self.response.is_after_next && self.features & feature == 0 {
            let feature = features(feature);
            return Err(Halt::Refused(format!(
                "can't {verb} {what} after next handler unless {feature} is enabled"
            )));
        }
        Ok(())
    }
}

/// Names of features.
fn features(features: u32) -> String {
    let names = [
        (BUFFER_REQUEST, "buffer_request"),
        (BUFFER_RESPONSE, "buffer_response"),
        (TRAILERS, "trailers"),
    ];
    let names = names.iter().filter(|(feature, _)| features & feature != 0);
    let names: Vec<&str> = names.map(|(_, name)| *name).collect();
    names.join("|")
}

/// A name of a header as the guest wrote it.
pub(super) fn name(bytes: &[u8]) -> Result<HeaderName, Halt> {
    HeaderName::from_bytes(bytes).map_err(|_| {
        Halt::Refused(format!(
            "invalid header name {:?}",
            String::from_utf8_lossy(bytes)
        ))
    })
}

/// A value of a header as the guest wrote it.
pub(super) fn value(name: &HeaderName, bytes: &[u8]) -> Result<HeaderValue, Halt> {
    HeaderValue::from_bytes(bytes).map_err(|_| Halt::Refused(format!("invalid value of the header {name}")))
}
