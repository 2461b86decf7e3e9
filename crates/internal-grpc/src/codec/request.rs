//! `InternalInvokeRequest`, alone and as the head of a stream.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::HeaderMap;
use invoke_core::{Head, MethodPath, Origin, Verb};

use super::metadata::{self, Entries, MapField};
use super::wire::{self, Value, bytes_len, len_len};
use super::{DecodeError, EncodeError, Payload, decode_payload};

const METADATA: MapField = MapField(2);
const V1: u64 = 1;

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
    put_request(out, head, &lens, &[])
}

/// Encodes `InternalInvokeRequest` with the whole body.
pub(crate) fn encode_request(head: &Head, data: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
    let lens = Lens::of(head, data.len())?;
    out.reserve(lens.request);
    put_request(out, head, &lens, data)
}

/// The lengths of the nested messages.
struct Lens {
    request: usize,
    message: usize,
    any: usize,
    extension: Option<usize>,
}

impl Lens {
    fn of(head: &Head, data_len: usize) -> Result<Self, EncodeError> {
        let method = head.method.as_str().ok_or(EncodeError::InvalidUtf8)?;
        if std::str::from_utf8(&head.query).is_err() {
            return Err(EncodeError::InvalidUtf8);
        }
        let any = metadata::any_len(head.type_url.as_deref(), data_len);
        let extension = head.verb.map(|verb| {
            let number = verb.number();
            let verb_len = if number == 0 {
                0
            } else {
                1 + wire::varint_len(i64::from(number) as u64)
            };
            verb_len + bytes_len(head.query.len())
        });
        let content_type = head.content_type.as_ref().map_or(0, http::HeaderValue::len);
        let message =
            bytes_len(method.len()) + len_len(any) + bytes_len(content_type) + extension.map_or(0, len_len);
        let map = metadata::map_len(&head.headers, head.authority.as_ref())?;
        Ok(Self {
            request: 2 + map + len_len(message),
            message,
            any,
            extension,
        })
    }
}

fn put_request(out: &mut BytesMut, head: &Head, lens: &Lens, data: &[u8]) -> Result<(), EncodeError> {
    wire::put_tag(out, 1, wire::VARINT);
    wire::put_varint(out, V1);
    metadata::put_map(
        out,
        &METADATA,
        &head.headers,
        head.authority.as_ref(),
        head.origin,
    )?;
    wire::put_len(out, 3, lens.message);
    wire::put_bytes(out, 1, head.method.as_bytes());
    wire::put_len(out, 2, lens.any);
    wire::put_bytes(out, 1, head.type_url.as_deref().unwrap_or_default().as_bytes());
    wire::put_bytes(out, 2, data);
    if let Some(content_type) = &head.content_type {
        if std::str::from_utf8(content_type.as_bytes()).is_err() {
            return Err(EncodeError::InvalidUtf8);
        }
        wire::put_bytes(out, 3, content_type.as_bytes());
    }
    if let (Some(extension), Some(verb)) = (lens.extension, head.verb) {
        wire::put_len(out, 4, extension);
        if verb != Verb::NONE {
            wire::put_tag(out, 1, wire::VARINT);
            wire::put_varint(out, i64::from(verb.number()) as u64);
        }
        wire::put_bytes(out, 2, &head.query);
    }
    Ok(())
}

/// Decodes a message of a request stream.
pub(crate) fn decode_request_stream(message: &Bytes) -> Result<RequestMessage, DecodeError> {
    let (mut request, mut payload) = (None, None);
    for field in wire::fields(message) {
        match field? {
            (1, Value::Len(bytes)) => request = Some(bytes),
            (2, Value::Len(bytes)) => payload = Some(decode_payload(&bytes)?),
            _ => {}
        }
    }
    let mut decoded = decode_request(&request.unwrap_or_default())?;
    decoded.payload = payload;
    Ok(decoded)
}

/// Decodes a unary request.
pub(crate) fn decode_request(request: &Bytes) -> Result<RequestMessage, DecodeError> {
    let mut decoded = RequestMessage {
        version: 0,
        head: None,
        has_request: !request.is_empty(),
        data: Bytes::new(),
        payload: None,
    };
    let (mut headers, mut authority) = (HeaderMap::new(), None);
    let (mut any, mut is_grpc) = (false, false);
    let mut message = None;
    for field in wire::fields(request) {
        match field? {
            (1, Value::Varint(version)) => decoded.version = version,
            (2, Value::Len(entry)) => Entries {
                headers: &mut headers,
                authority: &mut authority,
                any: &mut any,
                is_grpc: &mut is_grpc,
            }
            .read(&entry)?,
            (3, Value::Len(bytes)) => message = Some(bytes),
            _ => {}
        }
    }
    let Some(message) = message else {
        return Ok(decoded);
    };
    let origin = if is_grpc { Origin::Grpc } else { Origin::Http };
    let mut head = decode_message(&message, origin, &mut decoded.data)?;
    head.headers = headers;
    head.authority = authority;
    if any {
        decoded.head = Some(head);
    }
    Ok(decoded)
}

fn decode_message(message: &Bytes, origin: Origin, data: &mut Bytes) -> Result<Head, DecodeError> {
    let mut method = Bytes::new();
    let mut head = Head::new(MethodPath::parse(Bytes::new())?, origin);
    for field in wire::fields(message) {
        match field? {
            (1, Value::Len(bytes)) => method = bytes,
            (2, Value::Len(any)) => (head.type_url, *data) = metadata::read_any(&any)?,
            (3, Value::Len(bytes)) => head.content_type = metadata::content_type(bytes)?,
            (4, Value::Len(extension)) => decode_extension(&extension, &mut head)?,
            _ => {}
        }
    }
    if std::str::from_utf8(&method).is_err() {
        return Err(DecodeError::Malformed("string"));
    }
    head.method = MethodPath::parse(method)?;
    Ok(head)
}

fn decode_extension(extension: &Bytes, head: &mut Head) -> Result<(), DecodeError> {
    head.verb = Some(Verb::NONE);
    for field in wire::fields(extension) {
        match field? {
            (1, Value::Varint(verb)) => head.verb = Some(Verb::from_number(verb as i32)),
            (2, Value::Len(query)) => head.query = query,
            _ => {}
        }
    }
    Ok(())
}

/// Writes a gRPC message head at `start` for what follows it.
pub(crate) fn finish_message(out: &mut BytesMut, start: usize, more: usize) {
    let length = (out.len() - start - transport::grpc::MESSAGE_HEAD + more) as u32;
    let head = transport::grpc::MessageHead {
        compressed: false,
        length,
    }
    .to_bytes();
    out[start..start + head.len()].copy_from_slice(&head);
}

/// Leaves room for a gRPC message head; returns where.
pub(crate) fn begin_message(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_bytes(0, transport::grpc::MESSAGE_HEAD);
    start
}
