//! The messages on the wire, encoded and decoded by hand.

mod metadata;
mod request;
mod response;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use invoke_codec::wire::{self, Part};

pub(crate) use invoke_codec::{DecodeError, EncodeError};

pub(crate) use request::{
    RequestMessage, begin_message, decode_request, decode_request_stream, encode_request,
    encode_request_stream, finish_message,
};
pub(crate) use response::{decode_response, decode_response_stream, encode_response, encode_response_stream};

/// One piece of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) data: Bytes,
    pub(crate) seq: u64,
}

/// What follows the head of a message: its own head, field `payload` up to where the data begins.
///
/// The number is written before the data, which protobuf allows, so that the data can follow as it is.
pub(crate) fn put_payload_head(out: &mut BytesMut, seq: u64, data_len: usize) {
    let number = if seq == 0 { 0 } else { 1 + wire::varint_len(seq) };
    wire::put_tag(out, 2, wire::LEN);
    wire::put_varint(
        out,
        (number + 1 + wire::varint_len(data_len as u64) + data_len) as u64,
    );
    if seq != 0 {
        wire::put_tag(out, 2, wire::VARINT);
        wire::put_varint(out, seq);
    }
    wire::put_tag(out, 1, wire::LEN);
    wire::put_varint(out, data_len as u64);
}

/// How long the field `payload` is, data included.
pub(crate) fn payload_len(seq: u64, data_len: usize) -> usize {
    let number = if seq == 0 { 0 } else { 1 + wire::varint_len(seq) };
    let inner = number + 1 + wire::varint_len(data_len as u64) + data_len;
    1 + wire::varint_len(inner as u64) + inner
}

pub(crate) fn decode_payload<'a>(bytes: impl Into<Part<'a>>) -> Result<Payload, DecodeError> {
    let mut payload = Payload::default();
    for field in wire::fields(bytes) {
        match field? {
            (1, wire::Value::Len(data)) => payload.data = data.share(),
            (2, wire::Value::Varint(seq)) => payload.seq = seq,
            _ => {}
        }
    }
    Ok(payload)
}
