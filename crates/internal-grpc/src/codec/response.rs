//! `InternalInvokeResponse`, alone and as the head of a stream.

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderValue};
use invoke_core::{Origin, Reply, Route, StatusDetail, WireStatus};

use super::metadata::{self, Entries, MapField};
use super::wire::{self, Value, bytes_len, len_len};
use super::{DecodeError, EncodeError, Payload, decode_payload};

const HEADERS: MapField = MapField(2);
const TRAILERS: MapField = MapField(3);

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
    put_response(out, reply, &lens, &[])
}

/// Encodes `InternalInvokeResponse` with the whole body.
pub(crate) fn encode_response(reply: &Reply, data: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
    let lens = Lens::of(reply, Some(data.len()))?;
    out.reserve(lens.response);
    put_response(out, reply, &lens, data)
}

struct Lens {
    response: usize,
    status: usize,
    /// The lengths of `message` and of its `data`.
    message: Option<(usize, usize)>,
}

impl Lens {
    fn of(reply: &Reply, data_len: Option<usize>) -> Result<Self, EncodeError> {
        let code = reply.status.code;
        let code_len = if code == 0 {
            0
        } else {
            1 + wire::varint_len(i64::from(code) as u64)
        };
        let details: usize = reply
            .status
            .details
            .iter()
            .map(|detail| len_len(detail_len(detail)))
            .sum();
        let status = code_len + bytes_len(reply.status.message.len()) + details;
        let message = data_len.map(|data_len| {
            let any = metadata::any_len(reply.type_url.as_deref(), data_len);
            let content_type = reply.content_type.as_ref().map_or(0, HeaderValue::len);
            (len_len(any) + bytes_len(content_type), any)
        });
        let maps = metadata::map_len(&reply.headers, None)? + metadata::map_len(&reply.trailers, None)?;
        let response = len_len(status) + maps + message.map_or(0, |(message, _)| len_len(message));
        Ok(Self {
            response,
            status,
            message,
        })
    }
}

fn detail_len(detail: &StatusDetail) -> usize {
    bytes_len(detail.type_url.len()) + bytes_len(detail.value.len())
}

fn put_response(out: &mut BytesMut, reply: &Reply, lens: &Lens, data: &[u8]) -> Result<(), EncodeError> {
    wire::put_len(out, 1, lens.status);
    if reply.status.code != 0 {
        wire::put_tag(out, 1, wire::VARINT);
        wire::put_varint(out, i64::from(reply.status.code) as u64);
    }
    wire::put_bytes(out, 2, reply.status.message.as_bytes());
    for detail in &reply.status.details {
        wire::put_len(out, 3, detail_len(detail));
        wire::put_bytes(out, 1, detail.type_url.as_bytes());
        wire::put_bytes(out, 2, &detail.value);
    }
    // Headers of an HTTP app are in canonical casing, those of a gRPC app in lower case.
    let origin = if reply.status.is_http() {
        Origin::Http
    } else {
        Origin::Grpc
    };
    metadata::put_map(out, &HEADERS, &reply.headers, None, origin)?;
    metadata::put_map(out, &TRAILERS, &reply.trailers, None, origin)?;
    if let Some((message, any)) = lens.message {
        wire::put_len(out, 4, message);
        wire::put_len(out, 1, any);
        wire::put_bytes(out, 1, reply.type_url.as_deref().unwrap_or_default().as_bytes());
        wire::put_bytes(out, 2, data);
        if let Some(content_type) = &reply.content_type {
            if std::str::from_utf8(content_type.as_bytes()).is_err() {
                return Err(EncodeError::InvalidUtf8);
            }
            wire::put_bytes(out, 2, content_type.as_bytes());
        }
    }
    Ok(())
}

/// Decodes a message of a response stream.
pub(crate) fn decode_response_stream(message: &Bytes) -> Result<ResponseMessage, DecodeError> {
    let (mut response, mut payload) = (Bytes::new(), None);
    for field in wire::fields(message) {
        match field? {
            (1, Value::Len(bytes)) => response = bytes,
            (2, Value::Len(bytes)) => payload = Some(decode_payload(&bytes)?),
            _ => {}
        }
    }
    let mut decoded = decode_response(&response)?;
    decoded.payload = payload;
    Ok(decoded)
}

/// Decodes a unary response.
pub(crate) fn decode_response(response: &Bytes) -> Result<ResponseMessage, DecodeError> {
    let mut status = None;
    let mut has_head = false;
    let mut data = Bytes::new();
    let mut reply = Reply::new(WireStatus::default(), Route::Remote);
    for field in wire::fields(response) {
        match field? {
            (1, Value::Len(bytes)) => status = Some(decode_status(&bytes)?),
            (2, Value::Len(entry)) => {
                has_head = true;
                read_entry(&entry, &mut reply.headers)?;
            }
            (3, Value::Len(entry)) => read_entry(&entry, &mut reply.trailers)?,
            (4, Value::Len(message)) => {
                has_head = true;
                decode_message(&message, &mut reply, &mut data)?;
            }
            _ => {}
        }
    }
    let has_head = has_head || status.is_some();
    let reply = status.map(|status| Reply { status, ..reply });
    Ok(ResponseMessage {
        reply,
        has_head,
        data,
        payload: None,
    })
}

fn read_entry(entry: &Bytes, headers: &mut HeaderMap) -> Result<(), DecodeError> {
    Entries {
        headers,
        authority: &mut None,
        any: &mut false,
        is_grpc: &mut false,
    }
    .read(entry)
}

fn decode_status(bytes: &Bytes) -> Result<WireStatus, DecodeError> {
    let mut status = WireStatus::default();
    for field in wire::fields(bytes) {
        match field? {
            (1, Value::Varint(code)) => status.code = code as i32,
            (2, Value::Len(message)) => {
                status.message = metadata::text(&message)?.map(String::from).unwrap_or_default();
            }
            (3, Value::Len(any)) => {
                let (type_url, value) = metadata::read_any(&any)?;
                let type_url = type_url.map(String::from).unwrap_or_default();
                status.details.push(StatusDetail { type_url, value });
            }
            _ => {}
        }
    }
    Ok(status)
}

fn decode_message(message: &Bytes, reply: &mut Reply, data: &mut Bytes) -> Result<(), DecodeError> {
    for field in wire::fields(message) {
        match field? {
            (1, Value::Len(any)) => (reply.type_url, *data) = metadata::read_any(&any)?,
            (2, Value::Len(bytes)) => reply.content_type = metadata::content_type(bytes)?,
            _ => {}
        }
    }
    Ok(())
}
