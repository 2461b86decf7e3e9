//! `InternalInvokeRequest`, alone and as the head of a stream.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::HeaderMap;
use invoke_codec::message::{self, RequestLens};
use invoke_codec::wire::{self, Embedded, Part, Value, len_len};
use invoke_core::{Head, Origin};

use super::metadata::{self, Entries, MapField};
use super::{DecodeError, EncodeError, Payload, decode_payload};

const METADATA: MapField = MapField(2);
const V1: u64 = 1;
/// Room for the caller's own headers, the seven that its sidecar adds, and what is added here.
const USUAL_HEADERS: usize = 24;

/// A message of a request stream, or a unary request.
#[derive(Debug)]
pub(crate) struct RequestMessage {
    /// The version, 1 in all known peers; 0 when absent.
    pub(crate) version: u64,
    /// The head, if the message has one that is complete: a message and at least one metadata key.
    pub(crate) head: Option<Head>,
    /// Whether field `request` carries anything.
    pub(crate) has_request: bool,
    /// `message.data.value`: the body of a unary request.
    pub(crate) data: Bytes,
    /// A piece of the body.
    pub(crate) payload: Option<Payload>,
}

/// Encodes `InternalInvokeRequest` as field 1 of a stream message. The message may go on with a payload.
pub(crate) fn encode_request_stream(head: &Head, out: &mut BytesMut) -> Result<(), EncodeError> {
    let lens = Lens::of(head, 0)?;
    out.reserve(lens.request + 10);
    wire::put_len(out, 1, lens.request);
    put_request(out, head, &lens, &[]);
    Ok(())
}

/// Encodes `InternalInvokeRequest` with the whole body.
pub(crate) fn encode_request(head: &Head, data: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
    let lens = Lens::of(head, data.len())?;
    out.reserve(lens.request);
    put_request(out, head, &lens, data);
    Ok(())
}

/// The lengths of the nested messages.
struct Lens {
    request: usize,
    message: RequestLens,
}

impl Lens {
    fn of(head: &Head, data_len: usize) -> Result<Self, EncodeError> {
        let message = RequestLens::of(head, data_len)?;
        let map = metadata::map_len(&head.headers, head.authority.as_ref());
        Ok(Self {
            request: 2 + map + len_len(message.message),
            message,
        })
    }
}

fn put_request(out: &mut BytesMut, head: &Head, lens: &Lens, data: &[u8]) {
    wire::put_tag(out, 1, wire::VARINT);
    wire::put_varint(out, V1);
    metadata::put_map(
        out,
        &METADATA,
        &head.headers,
        head.authority.as_ref(),
        head.origin,
    );
    wire::put_len(out, 3, lens.message.message);
    message::put_request(out, head, &lens.message);
    out.put_slice(data);
}

/// Decodes a message of a request stream.
pub(crate) fn decode_request_stream(message: &Bytes) -> Result<RequestMessage, DecodeError> {
    let (mut request, mut payload) = (Embedded::default(), Embedded::default());
    for field in wire::fields(message) {
        match field? {
            (1, Value::Len(bytes)) => request.add(bytes),
            (2, Value::Len(bytes)) => payload.add(bytes),
            _ => {}
        }
    }
    let mut decoded = decode_request(&request.whole().unwrap_or_default())?;
    decoded.payload = payload.whole().map(|bytes| decode_payload(&bytes)).transpose()?;
    Ok(decoded)
}

/// Decodes a unary request.
pub(crate) fn decode_request<'a>(request: impl Into<Part<'a>>) -> Result<RequestMessage, DecodeError> {
    let request = request.into();
    let mut decoded = RequestMessage {
        version: 0,
        head: None,
        has_request: !request.is_empty(),
        data: Bytes::new(),
        payload: None,
    };
    let (mut headers, mut authority) = (HeaderMap::new(), None);
    let (mut any, mut is_grpc) = (false, false);
    let mut message = Embedded::default();
    for field in wire::fields(request) {
        match field? {
            (1, Value::Varint(version)) => decoded.version = version,
            (2, Value::Len(entry)) => Entries {
                headers: &mut headers,
                usual: USUAL_HEADERS,
                authority: &mut authority,
                any: &mut any,
                is_grpc: &mut is_grpc,
            }
            .read(entry)?,
            (3, Value::Len(bytes)) => message.add(bytes),
            _ => {}
        }
    }
    let Some(message) = message.whole() else {
        return Ok(decoded);
    };
    let origin = if is_grpc { Origin::Grpc } else { Origin::Http };
    let mut head;
    (head, decoded.data) = message::read_request(&message, origin)?;
    head.headers = headers;
    head.authority = authority;
    if any {
        decoded.head = Some(head);
    }
    Ok(decoded)
}

/// Writes a gRPC message head at `start` for what follows it.
pub(crate) fn finish_message(out: &mut BytesMut, start: usize, more: usize) {
    let length = (out.len() - start - grpc_wire::MESSAGE_HEAD + more) as u32;
    let head = grpc_wire::MessageHead {
        compressed: false,
        length,
    }
    .to_bytes();
    out[start..start + head.len()].copy_from_slice(&head);
}

/// Leaves room for a gRPC message head; returns where.
pub(crate) fn begin_message(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_bytes(0, grpc_wire::MESSAGE_HEAD);
    start
}
