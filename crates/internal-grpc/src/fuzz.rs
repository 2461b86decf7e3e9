//! Doors for the fuzz targets: the messages of other sidecars, and what must hold of them.
//!
//! What was read can be written, and is read again as the same. Each door tells whether the bytes were a message.

use bytes::{Bytes, BytesMut};
use invoke_core::{Head, Reply};

use crate::codec::{
    decode_request, decode_request_stream, decode_response, decode_response_stream, encode_request,
    encode_request_stream, encode_response, encode_response_stream,
};

/// A request of `CallLocal`.
///
/// # Panics
/// If it is read as something else than it is.
pub fn request(message: &Bytes) -> bool {
    let Ok(read) = decode_request(message) else {
        return false;
    };
    if let Some(head) = &read.head {
        let mut written = BytesMut::new();
        if encode_request(head, &read.data, &mut written).is_ok()
            && let Ok(again) = decode_request(&written.freeze())
        {
            assert_eq!(again.data, read.data);
            same_head(again.head.as_ref(), head);
        }
    }
    true
}

/// A message of the stream of a request.
///
/// # Panics
/// If it is read as something else than it is.
pub fn request_stream(message: &Bytes) -> bool {
    let Ok(read) = decode_request_stream(message) else {
        return false;
    };
    if let Some(head) = &read.head {
        let mut written = BytesMut::new();
        if encode_request_stream(head, &mut written).is_ok()
            && let Ok(again) = decode_request_stream(&written.freeze())
        {
            same_head(again.head.as_ref(), head);
        }
    }
    true
}

fn same_head(again: Option<&Head>, head: &Head) {
    // Metadata that was all of the connection leaves none.
    let Some(again) = again else { return };
    assert_eq!(again.method, head.method);
    assert_eq!(again.verb, head.verb);
    if std::str::from_utf8(&head.query).is_ok() {
        assert_eq!(again.query, head.query);
    }
    assert_eq!(again.type_url, head.type_url);
}

/// A response of `CallLocal`.
///
/// # Panics
/// If it is read as something else than it is.
pub fn response(message: &Bytes) -> bool {
    let Ok(read) = decode_response(message) else {
        return false;
    };
    if let Some(reply) = &read.reply {
        let mut written = BytesMut::new();
        if encode_response(reply, &read.data, &mut written).is_ok()
            && let Ok(again) = decode_response(&written.freeze())
        {
            assert_eq!(again.data, read.data);
            same_reply(again.reply.as_ref(), reply);
        }
    }
    true
}

/// A message of the stream of a response.
///
/// # Panics
/// If it is read as something else than it is.
pub fn response_stream(message: &Bytes) -> bool {
    let Ok(read) = decode_response_stream(message) else {
        return false;
    };
    if let Some(reply) = &read.reply {
        let mut written = BytesMut::new();
        if encode_response_stream(reply, true, &mut written).is_ok()
            && let Ok(again) = decode_response_stream(&written.freeze())
        {
            same_reply(again.reply.as_ref(), reply);
        }
    }
    true
}

fn same_reply(again: Option<&Reply>, reply: &Reply) {
    let Some(again) = again else { return };
    assert_eq!(again.status, reply.status);
    let content_type = |reply: &Reply| reply.content_type.as_ref().map(|value| as_utf8(value.as_bytes()));
    assert_eq!(content_type(again), content_type(reply));
}

/// What is no UTF-8 travels as the characters that it has in ISO 8859-1, see `invoke_codec::text`.
fn as_utf8(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().copied().map(char::from).collect(),
    }
}
