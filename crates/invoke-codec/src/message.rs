//! `InvokeRequest` and `InvokeResponse` of `dapr.proto.common.v1`.
//!
//! Both have the body as `data.value`. It is written last of all, which protobuf allows, so that the encoded
//! message ends where the body begins and the body can follow as it is.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use invoke_core::{Head, MethodPath, Origin, Reply, Verb};

use crate::wire::{self, Embedded, Part, Value, bytes_len, len_len};
use crate::{DecodeError, EncodeError, text};

/// The lengths of an `InvokeRequest` and of what is nested in it.
#[derive(Clone, Copy, Debug)]
pub struct RequestLens {
    /// The whole message, body included.
    pub message: usize,
    any: usize,
    value: usize,
    extension: Option<usize>,
}

impl RequestLens {
    /// Measures the message of `head` with a body of `value` bytes.
    pub fn of(head: &Head, value: usize) -> Result<Self, EncodeError> {
        let method = head.method.as_str().ok_or(EncodeError::InvalidUtf8)?;
        let any = any_len(head.type_url.as_deref(), value);
        let extension = head
            .verb
            .map(|verb| wire::int32_len(verb.number()) + bytes_len(text::query_len(&head.query)));
        let content_type = content_type_len(head.content_type.as_ref());
        let message = bytes_len(method.len()) + len_len(any) + content_type + extension.map_or(0, len_len);
        Ok(Self {
            message,
            any,
            value,
            extension,
        })
    }
}

/// Writes an `InvokeRequest` up to its body, which must follow.
pub fn put_request(out: &mut BytesMut, head: &Head, lens: &RequestLens) {
    wire::put_bytes(out, 1, head.method.as_bytes());
    put_content_type(out, 3, head.content_type.as_ref());
    if let (Some(extension), Some(verb)) = (lens.extension, head.verb) {
        wire::put_len(out, 4, extension);
        wire::put_int32(out, 1, verb.number());
        text::put_query(out, 2, &head.query);
    }
    put_any_head(out, 2, head.type_url.as_deref(), lens.any, lens.value);
}

/// Reads an `InvokeRequest`: a head without headers, and the body.
pub fn read_request<'a>(message: impl Into<Part<'a>>, origin: Origin) -> Result<(Head, Bytes), DecodeError> {
    let mut method = Part::EMPTY;
    let (mut data, mut extension) = (Embedded::default(), Embedded::default());
    let mut head = Head::new(MethodPath::default(), origin);
    for field in wire::fields(message) {
        match field? {
            (1, Value::Len(bytes)) => method = bytes,
            (2, Value::Len(any)) => data.add(any),
            (3, Value::Len(bytes)) => head.content_type = content_type(bytes)?,
            (4, Value::Len(bytes)) => extension.add(bytes),
            _ => {}
        }
    }
    if std::str::from_utf8(&method).is_err() {
        return Err(wire::not_utf8());
    }
    if let Some(extension) = extension.whole() {
        read_extension((&extension).into(), &mut head)?;
    }
    let data = match data.whole() {
        Some(any) => {
            let (type_url, data) = wire::read_any(&any)?;
            head.type_url = type_url;
            data
        }
        None => Bytes::new(),
    };
    head.method = MethodPath::parse(method.share())?;
    Ok((head, data))
}

fn read_extension(extension: Part<'_>, head: &mut Head) -> Result<(), DecodeError> {
    head.verb = Some(Verb::NONE);
    for field in wire::fields(extension) {
        match field? {
            (1, Value::Varint(verb)) => head.verb = Some(Verb::from_number(verb as i32)),
            (2, Value::Len(query)) => head.query = query.share(),
            _ => {}
        }
    }
    Ok(())
}

/// The lengths of an `InvokeResponse` and of what is nested in it.
#[derive(Clone, Copy, Debug)]
pub struct ResponseLens {
    /// The whole message, body included.
    pub message: usize,
    any: usize,
    value: usize,
}

impl ResponseLens {
    /// Measures the message of `reply` with a body of `value` bytes.
    pub fn of(reply: &Reply, value: usize) -> Result<Self, EncodeError> {
        let any = any_len(reply.type_url.as_deref(), value);
        let message = len_len(any) + content_type_len(reply.content_type.as_ref());
        Ok(Self { message, any, value })
    }
}

/// Writes an `InvokeResponse` up to its body, which must follow.
pub fn put_response(out: &mut BytesMut, reply: &Reply, lens: &ResponseLens) {
    put_content_type(out, 2, reply.content_type.as_ref());
    put_any_head(out, 1, reply.type_url.as_deref(), lens.any, lens.value);
}

/// Reads an `InvokeResponse` into a reply; what is returned is the body.
pub fn read_response<'a>(message: impl Into<Part<'a>>, reply: &mut Reply) -> Result<Bytes, DecodeError> {
    let mut data = Embedded::default();
    for field in wire::fields(message) {
        match field? {
            (1, Value::Len(any)) => data.add(any),
            (2, Value::Len(bytes)) => reply.content_type = content_type(bytes)?,
            _ => {}
        }
    }
    let Some(any) = data.whole() else {
        return Ok(Bytes::new());
    };
    let (type_url, data) = wire::read_any(&any)?;
    reply.type_url = type_url;
    Ok(data)
}

fn any_len(type_url: Option<&str>, value: usize) -> usize {
    bytes_len(type_url.map_or(0, str::len)) + bytes_len(value)
}

/// An `Any` up to its value. It is there even when it is empty.
fn put_any_head(out: &mut BytesMut, field: u32, type_url: Option<&str>, any: usize, value: usize) {
    wire::put_len(out, field, any);
    wire::put_bytes(out, 1, type_url.unwrap_or_default().as_bytes());
    if value > 0 {
        wire::put_len(out, 2, value);
    }
}

fn content_type_len(content_type: Option<&HeaderValue>) -> usize {
    content_type.map_or(0, |value| bytes_len(text::header_len(value.as_bytes())))
}

fn put_content_type(out: &mut BytesMut, field: u32, content_type: Option<&HeaderValue>) {
    if let Some(content_type) = content_type.filter(|value| !value.is_empty()) {
        text::put_header(out, field, content_type.as_bytes());
    }
}

fn content_type(bytes: Part<'_>) -> Result<Option<HeaderValue>, DecodeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    HeaderValue::from_maybe_shared(bytes.share())
        .map(Some)
        .map_err(|_| DecodeError::HeaderValue("Content-Type".to_owned()))
}

#[cfg(test)]
mod tests {
    use dapr_proto::common;
    use invoke_core::{Route, WireStatus};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn head() -> Head {
        let mut head = Head::new(MethodPath::parse("a/b").unwrap(), Origin::Grpc);
        head.verb = Some(Verb::PATCH);
        head.query = Bytes::from_static(b"x=1&y=%20");
        head.content_type = Some(HeaderValue::from_static("text/plain"));
        head.type_url = Some("mytype".into());
        head
    }

    fn encoded(head: &Head, body: &[u8]) -> Bytes {
        let lens = RequestLens::of(head, body.len()).unwrap();
        let mut out = BytesMut::new();
        put_request(&mut out, head, &lens);
        out.extend_from_slice(body);
        assert_eq!(out.len(), lens.message);
        out.freeze()
    }

    #[test]
    fn a_request_reads_as_the_generated_message() {
        let message = common::InvokeRequest::decode(encoded(&head(), b"body")).unwrap();
        assert_eq!(
            (message.method.as_str(), message.content_type.as_str()),
            ("a/b", "text/plain")
        );
        let data = message.data.unwrap();
        assert_eq!(
            (data.type_url.as_str(), &data.value[..]),
            ("mytype", &b"body"[..])
        );
        let extension = message.http_extension.unwrap();
        assert_eq!((extension.verb, extension.querystring.as_str()), (9, "x=1&y=%20"));
    }

    #[test]
    fn data_is_always_there_and_the_extension_only_when_it_was() {
        let bare = Head::new(MethodPath::parse("m").unwrap(), Origin::Grpc);
        let message = common::InvokeRequest::decode(encoded(&bare, b"")).unwrap();
        assert_eq!(message.data, Some(prost_types::Any::default()));
        assert_eq!(message.http_extension, None);
        let (head, body) = read_request(&encoded(&bare, b"x"), Origin::Grpc).unwrap();
        assert_eq!((head.verb, head.content_type, &body[..]), (None, None, &b"x"[..]));
    }

    #[test]
    fn a_body_shares_the_buffer_of_its_message() {
        let message = encoded(&head(), b"body");
        let (head, body) = read_request(&message, Origin::Grpc).unwrap();
        assert_eq!(body.as_ptr(), message[message.len() - 4..].as_ptr());
        assert_eq!(
            (head.verb, head.type_url.as_deref()),
            (Some(Verb::PATCH), Some("mytype"))
        );
    }

    #[test]
    fn a_response_round_trips() {
        let mut reply = Reply::new(WireStatus::default(), Route::Local);
        reply.content_type = Some(HeaderValue::from_static("a/b"));
        reply.type_url = Some("t".into());
        let lens = ResponseLens::of(&reply, 3).unwrap();
        let mut out = BytesMut::new();
        put_response(&mut out, &reply, &lens);
        out.extend_from_slice(b"xyz");
        assert_eq!(out.len(), lens.message);
        let out = out.freeze();
        let message = common::InvokeResponse::decode(out.clone()).unwrap();
        assert_eq!(message.content_type, "a/b");
        let mut read = Reply::new(WireStatus::default(), Route::Local);
        assert_eq!(read_response(&out, &mut read).unwrap(), "xyz");
        assert_eq!(
            (read.content_type, read.type_url),
            (reply.content_type, reply.type_url)
        );
    }

    proptest! {
        #[test]
        fn junk_is_read_without_a_panic(junk in proptest::collection::vec(any::<u8>(), 0..60)) {
            let junk = Bytes::from(junk);
            let _ = read_request(&junk, Origin::Grpc);
            let _ = read_response(&junk, &mut Reply::new(WireStatus::default(), Route::Local));
        }

        #[test]
        fn what_prost_writes_is_read(method in "[a-z/]{0,8}", query in "[a-z=&]{0,8}", verb in 0..10, body: Vec<u8>) {
            let message = common::InvokeRequest {
                method: method.clone(),
                data: Some(prost_types::Any { type_url: String::new(), value: body.clone() }),
                content_type: "text/plain".to_owned(),
                http_extension: Some(common::HttpExtension { verb, querystring: query.clone() }),
            };
            let (head, read) = read_request(&Bytes::from(message.encode_to_vec()), Origin::Grpc).unwrap();
            prop_assert_eq!(&read[..], &body[..]);
            prop_assert_eq!(head.verb, Some(Verb::from_number(verb)));
            prop_assert_eq!(&head.query[..], query.as_bytes());
        }
    }
}
