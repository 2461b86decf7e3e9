//! `InternalInvokeResponse`, alone and as the head of a stream.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::HeaderMap;
use invoke_codec::message::{self, ResponseLens};
use invoke_codec::status::{put_status, read_status, status_len};
use invoke_codec::wire::{self, Embedded, Part, Value, len_len};
use invoke_core::{Origin, Reply, Route, WireStatus};

use super::metadata::{self, Entries, MapField};
use super::{DecodeError, EncodeError, Payload, decode_payload};

const HEADERS: MapField = MapField(2);
const TRAILERS: MapField = MapField(3);
/// Room for the headers of most answers and for what is added here. The connection to the caller keeps the map for its
/// next request, which then has room for what is added to that.
const USUAL_HEADERS: usize = 12;

/// A message of a response stream, or a unary response.
#[derive(Debug)]
pub(crate) struct ResponseMessage {
    /// The reply without its body, if the message has a status.
    pub(crate) reply: Option<Reply>,
    /// Whether the message has headers or a message, which only the first of a stream may.
    pub(crate) has_head: bool,
    /// `message.data.value`: the body of a unary response.
    pub(crate) data: Bytes,
    /// A piece of the body.
    pub(crate) payload: Option<Payload>,
}

/// Encodes `InternalInvokeResponse` as field 1 of a stream message. The message may go on with a payload.
/// `message` tells whether the response carries a content type at all (an event stream does not).
pub(crate) fn encode_response_stream(
    reply: &Reply,
    has_message: bool,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let lens = Lens::of(reply, has_message.then_some(0))?;
    out.reserve(lens.response + 10);
    wire::put_len(out, 1, lens.response);
    put_response(out, reply, &lens, &[]);
    Ok(())
}

/// Encodes `InternalInvokeResponse` with the whole body.
pub(crate) fn encode_response(reply: &Reply, data: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
    let lens = Lens::of(reply, Some(data.len()))?;
    out.reserve(lens.response);
    put_response(out, reply, &lens, data);
    Ok(())
}

struct Lens {
    response: usize,
    status: usize,
    message: Option<ResponseLens>,
}

impl Lens {
    fn of(reply: &Reply, data_len: Option<usize>) -> Result<Self, EncodeError> {
        let status = status_len(&reply.status);
        let message = data_len
            .map(|data_len| ResponseLens::of(reply, data_len))
            .transpose()?;
        let maps = metadata::map_len(&reply.headers, None) + metadata::map_len(&reply.trailers, None);
        let response = len_len(status) + maps + message.map_or(0, |lens| len_len(lens.message));
        Ok(Self {
            response,
            status,
            message,
        })
    }
}

fn put_response(out: &mut BytesMut, reply: &Reply, lens: &Lens, data: &[u8]) {
    wire::put_len(out, 1, lens.status);
    put_status(out, &reply.status);
    // Headers of an HTTP app are in canonical casing, those of a gRPC app in lower case.
    let origin = if reply.status.is_http() {
        Origin::Http
    } else {
        Origin::Grpc
    };
    metadata::put_map(out, &HEADERS, &reply.headers, None, origin);
    metadata::put_map(out, &TRAILERS, &reply.trailers, None, origin);
    if let Some(lens) = lens.message {
        wire::put_len(out, 4, lens.message);
        message::put_response(out, reply, &lens);
        out.put_slice(data);
    }
}

/// Decodes a message of a response stream.
pub(crate) fn decode_response_stream(message: &Bytes) -> Result<ResponseMessage, DecodeError> {
    let (mut response, mut payload) = (Embedded::default(), Embedded::default());
    for field in wire::fields(message) {
        match field? {
            (1, Value::Len(bytes)) => response.add(bytes),
            (2, Value::Len(bytes)) => payload.add(bytes),
            _ => {}
        }
    }
    let mut decoded = decode_response(&response.whole().unwrap_or_default())?;
    decoded.payload = payload.whole().map(|bytes| decode_payload(&bytes)).transpose()?;
    Ok(decoded)
}

/// Decodes a unary response.
pub(crate) fn decode_response<'a>(response: impl Into<Part<'a>>) -> Result<ResponseMessage, DecodeError> {
    let (mut status, mut message) = (Embedded::default(), Embedded::default());
    let mut has_head = false;
    let mut reply = Reply::new(WireStatus::default(), Route::Remote);
    for field in wire::fields(response) {
        match field? {
            (1, Value::Len(bytes)) => status.add(bytes),
            (2, Value::Len(entry)) => {
                has_head = true;
                read_entry(entry, &mut reply.headers, USUAL_HEADERS)?;
            }
            (3, Value::Len(entry)) => read_entry(entry, &mut reply.trailers, 1)?,
            (4, Value::Len(bytes)) => {
                has_head = true;
                message.add(bytes);
            }
            _ => {}
        }
    }
    let status = status.whole().map(|bytes| read_status(&bytes)).transpose()?;
    let data = match message.whole() {
        Some(message) => message::read_response(&message, &mut reply)?,
        None => Bytes::new(),
    };
    let has_head = has_head || status.is_some();
    let reply = status.map(|status| Reply { status, ..reply });
    Ok(ResponseMessage {
        reply,
        has_head,
        data,
        payload: None,
    })
}

fn read_entry(entry: Part<'_>, headers: &mut HeaderMap, usual: usize) -> Result<(), DecodeError> {
    Entries {
        headers,
        usual,
        authority: &mut None,
        any: &mut false,
        is_grpc: &mut false,
    }
    .read(entry)
}
