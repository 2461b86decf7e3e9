//! Bodies of requests.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use http2::RecvBody;

use super::unread::Http1Body;
use crate::BoxError;

/// The body of a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestBody {
    /// From a connection of HTTP/1.
    Http1(Http1Body),
    /// From a connection of HTTP/2.
    Http2(RecvBody),
    /// Kept from before an upgrade.
    Kept(Full<Bytes>),
}

macro_rules! each {
    ($body:expr, $inner:ident => $call:expr) => {
        match $body {
            RequestBody::Http1($inner) => $call,
            RequestBody::Http2($inner) => $call,
            RequestBody::Kept($inner) => $call,
        }
    };
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        each!(self.get_mut(), body => Pin::new(body)
            .poll_frame(cx)
            .map(|frame| frame.map(|frame| frame.map_err(BoxError::from))))
    }

    fn is_end_stream(&self) -> bool {
        each!(self, body => body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        each!(self, body => body.size_hint())
    }
}
