//! The protobuf encoding: tags, varints, length-delimited fields.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::DecodeError;

pub(super) const VARINT: u32 = 0;
pub(super) const LEN: u32 = 2;

/// The value of a field; kinds that no message here has are skipped as `Other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Varint(u64),
    Len(Bytes),
    Other,
}

pub(super) fn varint_len(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

pub(super) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// All field numbers here are below 16: a tag is one byte.
pub(super) fn put_tag(out: &mut BytesMut, field: u32, kind: u32) {
    out.put_u8((field << 3 | kind) as u8);
}

/// A length-delimited field; nothing for an empty one, as proto3 has it.
pub(super) fn put_bytes(out: &mut BytesMut, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_len(out, field, bytes.len());
        out.put_slice(bytes);
    }
}

/// The head of a length-delimited field, also of an empty one.
pub(super) fn put_len(out: &mut BytesMut, field: u32, len: usize) {
    put_tag(out, field, LEN);
    put_varint(out, len as u64);
}

/// How long [`put_bytes`] is.
pub(super) fn bytes_len(len: usize) -> usize {
    if len == 0 { 0 } else { len_len(len) }
}

/// How long a length-delimited field is, also an empty one.
pub(super) fn len_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// The fields of a message in the order of the wire. Slices share the message's buffer.
pub(super) fn fields(message: &Bytes) -> Fields {
    Fields {
        rest: message.clone(),
    }
}

pub(super) struct Fields {
    rest: Bytes,
}

impl Iterator for Fields {
    type Item = Result<(u32, Value), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest.clear();
        }
        Some(field)
    }
}

impl Fields {
    fn read(&mut self) -> Result<(u32, Value), DecodeError> {
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| DecodeError::Malformed("field number"))?;
        if field == 0 {
            return Err(DecodeError::Malformed("field number"));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).ok().filter(|len| *len <= self.rest.len());
                Value::Len(self.rest.split_to(len.ok_or(DecodeError::Malformed("length"))?))
            }
            5 => self.skip(4)?,
            _ => return Err(DecodeError::Malformed("wire type")),
        };
        Ok((field, value))
    }

    fn skip(&mut self, count: usize) -> Result<Value, DecodeError> {
        if self.rest.len() < count {
            return Err(DecodeError::Malformed("length"));
        }
        self.rest.advance(count);
        Ok(Value::Other)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest.advance(index + 1);
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed("varint"))
    }
}
