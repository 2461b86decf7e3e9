//! The codec against the generated messages.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use dapr_proto::{common, internals};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use invoke_core::{Head, MethodPath, Origin, Reply, Route, StatusDetail, Verb, WireStatus};
use proptest::prelude::*;
use prost::Message;

use super::*;

fn list(values: &[&str]) -> internals::ListStringValue {
    internals::ListStringValue {
        values: values.iter().map(ToString::to_string).collect(),
    }
}

fn head() -> Head {
    let mut head = Head::new(MethodPath::parse("a/b").unwrap(), Origin::Http);
    head.verb = Some(Verb::PATCH);
    head.query = Bytes::from_static(b"x=1&y=%20");
    head.content_type = Some(HeaderValue::from_static("text/plain"));
    head.type_url = Some("mytype".into());
    head.headers.append("x-foo-bin", HeaderValue::from_static("raw"));
    head.headers.append("accept", HeaderValue::from_static("a"));
    head.headers.append("accept", HeaderValue::from_static("b"));
    head.headers
        .append("dapr-caller-app-id", HeaderValue::from_static("me"));
    head
}

fn encoded(head: &Head) -> Bytes {
    let mut encoded = BytesMut::new();
    encode_request_stream(head, &mut encoded).unwrap();
    encoded.freeze()
}

fn generated(head: &Head) -> internals::InternalInvokeRequestStream {
    let mut encoded = BytesMut::new();
    encode_request_stream(head, &mut encoded).unwrap();
    put_payload_head(&mut encoded, 3, 4);
    encoded.extend_from_slice(b"body");
    internals::InternalInvokeRequestStream::decode(encoded.freeze()).unwrap()
}

#[test]
fn a_request_reads_as_the_generated_message() {
    let message = generated(&head());
    assert_eq!(
        message.payload,
        Some(common::StreamPayload {
            data: Bytes::from_static(b"body"),
            seq: 3
        })
    );
    let request = message.request.unwrap();
    assert_eq!(request.ver, internals::ApiVersion::V1 as i32);
    let wanted: HashMap<_, _> = [
        ("X-Foo-Bin".to_owned(), list(&["raw"])),
        ("Accept".to_owned(), list(&["a", "b"])),
        ("dapr-caller-app-id".to_owned(), list(&["me"])),
    ]
    .into();
    assert_eq!(request.metadata, wanted);
    let message = request.message.unwrap();
    assert_eq!(message.method, "a/b");
    assert_eq!(message.content_type, "text/plain");
    assert_eq!(message.data.unwrap().type_url, "mytype");
    let extension = message.http_extension.unwrap();
    assert_eq!((extension.verb, extension.querystring.as_str()), (9, "x=1&y=%20"));
}

#[test]
fn a_grpc_callers_keys_stay_in_lower_case() {
    let mut head = Head::new(MethodPath::parse("m").unwrap(), Origin::Grpc);
    head.headers
        .append("content-type", HeaderValue::from_static("application/grpc"));
    head.authority = Some(HeaderValue::from_static("localhost:1"));
    let request = generated(&head).request.unwrap();
    assert!(request.metadata.contains_key("content-type"));
    assert_eq!(request.metadata[":authority"], list(&["localhost:1"]));
    assert_eq!(request.message.unwrap().http_extension, None);
}

#[test]
fn text_that_is_not_utf8_is_written_as_it_can_be() {
    let mut head = head();
    head.headers
        .append("x-name", HeaderValue::from_bytes(b"Ren\xe9").unwrap());
    head.query = Bytes::from_static(b"name=Ren\xe9");
    head.content_type = Some(HeaderValue::from_bytes(b"text/plain; name=\xe9").unwrap());
    let request = generated(&head).request.unwrap();
    assert_eq!(request.metadata["X-Name"], list(&["Ren\u{e9}"]));
    let message = request.message.unwrap();
    assert_eq!(message.content_type, "text/plain; name=\u{e9}");
    assert_eq!(message.http_extension.unwrap().querystring, "name=Ren%E9");

    let mut reply = reply();
    reply
        .headers
        .append("x-name", HeaderValue::from_bytes(b"Ren\xe9").unwrap());
    let mut encoded = BytesMut::new();
    encode_response_stream(&reply, true, &mut encoded).unwrap();
    let message = internals::InternalInvokeResponseStream::decode(encoded.freeze()).unwrap();
    assert_eq!(message.response.unwrap().headers["X-Name"], list(&["Ren\u{e9}"]));
}

#[test]
fn a_method_that_is_not_utf8_cannot_be_sent() {
    let mut head = head();
    head.method = MethodPath::parse(Bytes::from_static(b"\xff")).unwrap();
    assert_eq!(
        encode_request_stream(&head, &mut BytesMut::new()),
        Err(EncodeError::InvalidUtf8)
    );
}

#[test]
fn a_generated_request_is_read() {
    let request = internals::InternalInvokeRequest {
        ver: 1,
        metadata: [("content-type".to_owned(), list(&["application/grpc+proto"]))].into(),
        message: Some(common::InvokeRequest {
            method: "x/../m".into(),
            data: Some(prost_types::Any {
                type_url: "t".into(),
                value: b"whole".to_vec(),
            }),
            content_type: "text/plain".into(),
            http_extension: Some(common::HttpExtension {
                verb: 77,
                querystring: "q".into(),
            }),
        }),
        actor: None,
    };
    let decoded = decode_request(&Bytes::from(request.encode_to_vec())).unwrap();
    assert_eq!(decoded.data, "whole");
    let head = decoded.head.unwrap();
    assert_eq!(head.method.as_str(), Some("m"));
    assert_eq!(
        (head.origin, head.verb),
        (Origin::Grpc, Some(Verb::from_number(77)))
    );
    assert_eq!(head.type_url.as_deref(), Some("t"));
}

#[test]
fn what_a_head_must_have() {
    let complete = internals::InternalInvokeRequest {
        ver: 1,
        metadata: [("a".to_owned(), list(&["b"]))].into(),
        message: Some(common::InvokeRequest::default()),
        actor: None,
    };
    let without_metadata = internals::InternalInvokeRequest {
        metadata: HashMap::new(),
        ..complete.clone()
    };
    let without_message = internals::InternalInvokeRequest {
        message: None,
        ..complete.clone()
    };
    for (request, wanted) in [
        (complete, true),
        (without_metadata, false),
        (without_message, false),
    ] {
        let decoded = decode_request(&Bytes::from(request.encode_to_vec())).unwrap();
        assert_eq!(decoded.head.is_some(), wanted, "{request:?}");
    }
}

#[test]
fn hostile_metadata_is_refused() {
    for (key, value, wanted) in [
        ("x y", "v", "net/http: invalid header field name \"x y\""),
        (
            "x-a",
            "v\r\nEvil: 1",
            "net/http: invalid header field value for \"x-a\"",
        ),
    ] {
        let request = internals::InternalInvokeRequest {
            ver: 1,
            metadata: [(key.to_owned(), list(&[value]))].into(),
            message: Some(common::InvokeRequest::default()),
            actor: None,
        };
        let error = decode_request(&Bytes::from(request.encode_to_vec())).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}

fn reply() -> Reply {
    let mut reply = Reply::new(WireStatus::default(), Route::Local);
    reply.status = WireStatus {
        code: 404,
        message: "gone".into(),
        details: vec![StatusDetail {
            type_url: "d".into(),
            value: Bytes::from_static(b"v"),
        }],
    };
    reply.headers.append("set-cookie", HeaderValue::from_static("a"));
    reply.headers.append("set-cookie", HeaderValue::from_static("b"));
    reply.content_type = Some(HeaderValue::from_static("text/html"));
    reply
}

#[test]
fn a_response_reads_as_the_generated_message() {
    let mut encoded = BytesMut::new();
    encode_response_stream(&reply(), true, &mut encoded).unwrap();
    put_payload_head(&mut encoded, 0, 2);
    encoded.extend_from_slice(b"hi");
    let message = internals::InternalInvokeResponseStream::decode(encoded.freeze()).unwrap();
    assert_eq!(message.payload.unwrap().data, "hi");
    let response = message.response.unwrap();
    let status = response.status.unwrap();
    assert_eq!(
        (status.code, status.message.as_str(), status.details.len()),
        (404, "gone", 1)
    );
    assert_eq!(response.headers["Set-Cookie"], list(&["a", "b"]));
    assert_eq!(response.message.unwrap().content_type, "text/html");
}

#[test]
fn an_all_default_status_is_there() {
    let mut encoded = BytesMut::new();
    let reply = Reply::new(WireStatus::default(), Route::Local);
    encode_response_stream(&reply, false, &mut encoded).unwrap();
    let message = internals::InternalInvokeResponseStream::decode(encoded.freeze()).unwrap();
    let response = message.response.unwrap();
    assert_eq!(response.status, Some(internals::Status::default()));
    assert_eq!(response.message, None);
}

#[test]
fn responses_round_trip() {
    let mut encoded = BytesMut::new();
    encode_response(&reply(), b"whole", &mut encoded).unwrap();
    let decoded = decode_response(&encoded.freeze()).unwrap();
    let read = decoded.reply.unwrap();
    assert_eq!(read.status, reply().status);
    assert_eq!(read.headers, reply().headers);
    assert_eq!(read.content_type, reply().content_type);
    assert_eq!(decoded.data, "whole");
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    proptest::collection::vec(("[a-z][a-z0-9-]{0,12}", "[ -~é]{0,20}"), 0..8).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    })
}

#[test]
fn a_message_in_parts_is_one_message() {
    let whole = internals::InternalInvokeRequestStream::decode(encoded(&head())).unwrap();
    let (mut first, mut second) = (whole.clone(), whole.clone());
    // Each part has what the other lacks; of what both have the last one counts.
    let parts = |stream: &mut internals::InternalInvokeRequestStream| stream.request.take().unwrap();
    let (mut one, mut other) = (parts(&mut first), parts(&mut second));
    one.message.as_mut().unwrap().method = "other".to_owned();
    other.message.as_mut().unwrap().http_extension = None;
    other.message.as_mut().unwrap().data = None;
    one.message.as_mut().unwrap().content_type = String::new();
    other.metadata.clear();
    let mut bytes = internals::InternalInvokeRequestStream {
        request: Some(one),
        payload: None,
    }
    .encode_to_vec();
    bytes.extend(
        internals::InternalInvokeRequestStream {
            request: Some(other),
            payload: None,
        }
        .encode_to_vec(),
    );
    let read = decode_request_stream(&bytes.into()).unwrap().head.unwrap();
    let wanted = head();
    assert_eq!((read.method, read.verb), (wanted.method, wanted.verb));
    assert_eq!(
        (read.query, read.content_type),
        (wanted.query, wanted.content_type)
    );
    assert_eq!((read.headers, read.type_url), (wanted.headers, wanted.type_url));
}

#[test]
fn more_headers_than_can_be_held() {
    let metadata = |count: usize| internals::InternalInvokeRequest {
        ver: 1,
        metadata: (0..count)
            .map(|number| (format!("h{number}"), list(&["v"])))
            .collect(),
        message: Some(common::InvokeRequest::default()),
        ..internals::InternalInvokeRequest::default()
    };
    let read = |count| decode_request(&Bytes::from(metadata(count).encode_to_vec()));
    let most = grpc_wire::MOST_HEADERS;
    assert_eq!(read(most).unwrap().head.unwrap().headers.len(), most);
    let refused = DecodeError::Malformed("too many headers");
    assert_eq!(read(most + 1).unwrap_err(), refused);
    // Values of one name are as many headers.
    let of_one_name = |count| {
        let mut request = metadata(0);
        let values = list(&vec!["v"; count]);
        request.metadata = [("h".to_owned(), values)].into_iter().collect();
        decode_request(&Bytes::from(request.encode_to_vec()))
    };
    assert_eq!(of_one_name(most).unwrap().head.unwrap().headers.len(), most);
    assert_eq!(of_one_name(40_000).unwrap_err(), refused);
}

proptest! {
    #[test]
    fn requests_round_trip(headers in headers(), method in "[a-z/%]{0,20}", verb in proptest::option::of(-3..12_i32),
                           query in "[ -~]{0,12}", data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut head = Head::new(MethodPath::parse(method).unwrap(), Origin::Http);
        head.headers = headers;
        head.headers.insert("accept", HeaderValue::from_static("*/*"));
        head.verb = verb.map(Verb::from_number);
        head.query = if verb.is_some() { Bytes::from(query) } else { Bytes::new() };
        let mut encoded = BytesMut::new();
        encode_request(&head, &data, &mut encoded).unwrap();
        let oracle = internals::InternalInvokeRequest::decode(encoded.clone().freeze()).unwrap();
        prop_assert_eq!(&oracle.message.unwrap().data.unwrap().value, &data);
        let decoded = decode_request(&encoded.freeze()).unwrap();
        prop_assert_eq!(&decoded.data, &data);
        let read = decoded.head.unwrap();
        prop_assert_eq!(read.headers, head.headers);
        prop_assert_eq!(read.method, head.method);
        prop_assert_eq!(read.verb, head.verb);
        prop_assert_eq!(read.query, head.query);
    }

    #[test]
    fn payload_heads_tell_the_length(seq in any::<u64>(), data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut encoded = BytesMut::new();
        put_payload_head(&mut encoded, seq, data.len());
        encoded.extend_from_slice(&data);
        prop_assert_eq!(encoded.len(), payload_len(seq, data.len()));
        let oracle = internals::InternalInvokeRequestStream::decode(encoded.clone().freeze()).unwrap();
        prop_assert_eq!(oracle.payload.unwrap().seq, seq);
        let decoded = decode_response_stream(&encoded.freeze()).unwrap().payload.unwrap();
        prop_assert_eq!(decoded, Payload { data: data.into(), seq });
    }

    #[test]
    fn junk_is_judged_without_a_panic(junk in proptest::collection::vec(any::<u8>(), 0..200)) {
        let junk = Bytes::from(junk);
        let _ = decode_request_stream(&junk);
        let _ = decode_response_stream(&junk);
    }

    #[test]
    fn damaged_messages_are_judged_without_a_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut encoded = BytesMut::new();
        encode_request_stream(&head(), &mut encoded).unwrap();
        let at = at.index(encoded.len());
        encoded[at] = byte;
        let _ = decode_request_stream(&encoded.freeze());
    }
}
