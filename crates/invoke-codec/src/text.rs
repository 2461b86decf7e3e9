//! Text of HTTP as strings of protobuf.
//!
//! Headers may have any byte above 0x7f, which was once read as ISO 8859-1 (RFC 9110, section 5.5). A string of
//! protobuf is UTF-8, and peers refuse a message with any other. So a value that is no UTF-8 travels as the characters
//! that it has in ISO 8859-1, and a query with the bytes escaped.

use bytes::{BufMut, BytesMut};

use crate::wire;

/// How long a header value is as a string.
pub fn header_len(value: &[u8]) -> usize {
    value.len() + odd(value)
}

/// Writes a header value as a field, also an empty one.
pub fn put_header(out: &mut BytesMut, field: u32, value: &[u8]) {
    let odd = odd(value);
    wire::put_len(out, field, value.len() + odd);
    if odd == 0 {
        out.put_slice(value);
        return;
    }
    for byte in value {
        let mut utf8 = [0; 2];
        out.put_slice(char::from(*byte).encode_utf8(&mut utf8).as_bytes());
    }
}

/// How long a query is as a string.
pub fn query_len(query: &[u8]) -> usize {
    query.len() + 2 * odd(query)
}

/// Writes a query as a field; nothing for an empty one.
pub fn put_query(out: &mut BytesMut, field: u32, query: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let odd = odd(query);
    if odd == 0 {
        return wire::put_bytes(out, field, query);
    }
    wire::put_len(out, field, query.len() + 2 * odd);
    for byte in query {
        if byte.is_ascii() {
            out.put_u8(*byte);
        } else {
            let digit = |half: u8| DIGITS[usize::from(half)];
            out.put_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// How many bytes do not stay as they are: none of UTF-8, else all that are not ASCII.
fn odd(text: &[u8]) -> usize {
    if std::str::from_utf8(text).is_ok() {
        return 0;
    }
    text.iter().filter(|byte| !byte.is_ascii()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field as it was written, without its head.
    fn written(put: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(&mut out);
        match wire::fields(&out.freeze()).next() {
            Some(Ok((1, wire::Value::Len(bytes)))) => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn headers() {
        for (value, wanted) in [
            (&b"plain"[..], "plain"),
            (b"", ""),
            ("caf\u{e9}".as_bytes(), "caf\u{e9}"),
            (b"caf\xe9", "caf\u{e9}"),
            (b"\xff\x80\xc3\xa9", "\u{ff}\u{80}\u{c3}\u{a9}"),
        ] {
            assert_eq!(header_len(value), wanted.len(), "{value:?}");
            assert_eq!(
                written(|out| put_header(out, 1, value)),
                wanted.as_bytes(),
                "{value:?}"
            );
        }
    }

    #[test]
    fn queries() {
        for (query, wanted) in [
            (&b"a=b"[..], "a=b"),
            ("a=\u{e9}".as_bytes(), "a=\u{e9}"),
            (b"a=\xe9&b=%20", "a=%E9&b=%20"),
        ] {
            assert_eq!(query_len(query), wanted.len(), "{query:?}");
            assert_eq!(
                written(|out| put_query(out, 1, query)),
                wanted.as_bytes(),
                "{query:?}"
            );
        }
        let mut out = BytesMut::new();
        put_query(&mut out, 1, b"");
        assert!(out.is_empty());
    }
}
