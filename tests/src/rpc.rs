//! gRPC by hand, as far as the servers of the harness need it.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer of gRPC.
pub(crate) fn respond(message: Option<Vec<u8>>, code: u32, text: &'static str) -> http::Response<Body> {
    respond_with(stream::iter(message), code, text)
}

/// An answer of as many messages as come.
pub(crate) fn respond_with(
    messages: impl Stream<Item = Vec<u8>> + Send + 'static,
    code: u32,
    text: &'static str,
) -> http::Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    trailers.insert("grpc-message", HeaderValue::from_static(text));
    let messages = messages.map(|message| {
        let length = u32::try_from(message.len()).expect("not so long");
        let framed = [&[0][..], &length.to_be_bytes(), &message].concat();
        Frame::data(Bytes::from(framed))
    });
    let frames = messages.chain(stream::iter([Frame::trailers(trailers)]));
    let body = StreamBody::new(frames.map(Ok)).boxed_unsync();
    let mut response = http::Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    response
}

/// A field of protobuf that has a length.
pub(crate) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(value);
    bytes
}

/// Takes a number off the front.
pub(crate) fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a varint");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
