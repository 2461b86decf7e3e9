//! The protobuf encoding: tags, varints, length-delimited fields.

use std::ops::Deref;

use bytes::{BufMut, Bytes, BytesMut};

use crate::DecodeError;

/// Bytes that are no message, in the words of Go's library of protobuf.
fn malformed() -> DecodeError {
    DecodeError::Malformed("proto: cannot parse invalid wire-format data")
}

/// A string that is none.
pub(crate) fn not_utf8() -> DecodeError {
    DecodeError::Malformed("proto: a string field contains invalid UTF-8")
}

/// The wire type of numbers.
pub const VARINT: u32 = 0;
/// The wire type of strings, bytes and messages.
pub const LEN: u32 = 2;

/// A part of a message, read where it lies. To share the buffer is to count one more owner of it, which a part that is
/// only looked into need not cost.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    buffer: &'a Bytes,
    bytes: &'a [u8],
}

impl Part<'_> {
    /// No bytes.
    pub const EMPTY: Part<'static> = {
        static NOTHING: Bytes = Bytes::new();
        Part {
            buffer: &NOTHING,
            bytes: &[],
        }
    };

    /// The same bytes, for longer; they share the buffer.
    pub fn share(self) -> Bytes {
        self.buffer.slice_ref(self.bytes)
    }
}

impl<'a> From<&'a Bytes> for Part<'a> {
    fn from(buffer: &'a Bytes) -> Self {
        Self {
            buffer,
            bytes: buffer,
        }
    }
}

impl Deref for Part<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

/// The value of a field; kinds that no message here has are skipped as `Other`.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A number.
    Varint(u64),
    /// A string, bytes or a message.
    Len(Part<'a>),
    /// A kind that no message here has.
    Other,
}

/// How long a number is.
pub fn varint_len(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Writes a number.
pub fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// The tag of a field. All field numbers here are below 16, so it is one byte.
pub fn put_tag(out: &mut BytesMut, field: u32, kind: u32) {
    out.put_u8((field << 3 | kind) as u8);
}

/// A length-delimited field; nothing for an empty one, as proto3 has it.
pub fn put_bytes(out: &mut BytesMut, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_len(out, field, bytes.len());
        out.put_slice(bytes);
    }
}

/// The head of a length-delimited field, also of an empty one.
pub fn put_len(out: &mut BytesMut, field: u32, len: usize) {
    put_tag(out, field, LEN);
    put_varint(out, len as u64);
}

/// How long [`put_bytes`] is.
pub fn bytes_len(len: usize) -> usize {
    if len == 0 { 0 } else { len_len(len) }
}

/// How long a length-delimited field is, also an empty one.
pub fn len_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// The fields of a message in the order of the wire.
pub fn fields<'a>(message: impl Into<Part<'a>>) -> Fields<'a> {
    let Part { buffer, bytes } = message.into();
    Fields { buffer, rest: bytes }
}

/// The fields of a message.
#[derive(Debug)]
pub struct Fields<'a> {
    buffer: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u32, Value<'a>), DecodeError> {
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| malformed())?;
        if field == 0 {
            return Err(malformed());
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Other
            }
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| malformed())?;
                Value::Len(Part {
                    buffer: self.buffer,
                    bytes: self.take(len)?,
                })
            }
            5 => {
                self.take(4)?;
                Value::Other
            }
            _ => return Err(malformed()),
        };
        Ok((field, value))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        // Tags and most lengths are one byte.
        if let [byte @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(malformed())
    }
}

/// An embedded message. It may come in several parts, which count as if they stood one after the other.
#[derive(Debug, Default)]
pub struct Embedded<'a> {
    first: Option<Part<'a>>,
    /// All parts, if there are several.
    all: BytesMut,
}

impl<'a> Embedded<'a> {
    /// Adds a part.
    pub fn add(&mut self, part: Part<'a>) {
        let Some(first) = self.first else {
            self.first = Some(part);
            return;
        };
        if self.all.is_empty() {
            self.all.extend_from_slice(&first);
        }
        self.all.extend_from_slice(&part);
    }

    /// The message, if it is there. One that came in one part is not copied.
    pub fn whole(self) -> Option<Whole<'a>> {
        if self.all.is_empty() {
            self.first.map(Whole::One)
        } else {
            Some(Whole::Joined(self.all.freeze()))
        }
    }
}

/// An embedded message with all of its parts.
#[derive(Debug)]
pub enum Whole<'a> {
    /// It came in one.
    One(Part<'a>),
    /// It came in several.
    Joined(Bytes),
}

impl Default for Whole<'_> {
    fn default() -> Self {
        Self::One(Part::EMPTY)
    }
}

impl<'a> From<&'a Whole<'_>> for Part<'a> {
    fn from(whole: &'a Whole<'_>) -> Self {
        match whole {
            Whole::One(part) => *part,
            Whole::Joined(bytes) => bytes.into(),
        }
    }
}

/// An `int32` field; nothing for 0, as proto3 has it. Negative numbers take ten bytes.
pub fn put_int32(out: &mut BytesMut, field: u32, value: i32) {
    if value != 0 {
        put_tag(out, field, VARINT);
        put_varint(out, i64::from(value) as u64);
    }
}

/// How long [`put_int32`] is.
pub fn int32_len(value: i32) -> usize {
    if value == 0 {
        0
    } else {
        1 + varint_len(i64::from(value) as u64)
    }
}

/// A proto string; `None` when it is empty.
pub fn text(bytes: &[u8]) -> Result<Option<Box<str>>, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| not_utf8())?;
    Ok((!text.is_empty()).then(|| text.into()))
}

/// Reads a `google.protobuf.Any`: its type URL, if it has one, and its value.
pub fn read_any<'a>(any: impl Into<Part<'a>>) -> Result<(Option<Box<str>>, Bytes), DecodeError> {
    let (mut type_url, mut value) = (None, Part::EMPTY);
    for field in fields(any) {
        match field? {
            (1, Value::Len(bytes)) => type_url = text(&bytes)?,
            (2, Value::Len(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((type_url, value.share()))
}
