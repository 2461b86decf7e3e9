//! Messages of other sidecars and of gRPC: metadata, frames, statuses, limits of time.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use std::collections::HashMap;
use std::convert::Infallible;

use bolero::check;
use bytes::Bytes;
use dapr_proto::{common, internals};
use fuzz::{Near, sentence};
use grpc_wire::{Encoding, GrpcStatus, MessageError, MessageReader, format_timeout, parse_timeout};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::StreamBody;
use invoke_codec::{message, metadata, status, wire};
use invoke_core::{Origin, Reply, Route, WireStatus};
use prost::Message;

fn lists(pairs: &[(&str, &str)]) -> HashMap<String, internals::ListStringValue> {
    let list = |value: &str| internals::ListStringValue {
        values: vec![value.to_owned()],
    };
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), list(value)))
        .collect()
}

fn invoke_request() -> common::InvokeRequest {
    common::InvokeRequest {
        method: "a/b".to_owned(),
        data: Some(prost_types::Any {
            type_url: "t".to_owned(),
            value: b"body".to_vec(),
        }),
        content_type: "text/plain".to_owned(),
        http_extension: Some(common::HttpExtension {
            verb: 3,
            querystring: "x=1".to_owned(),
        }),
    }
}

fn request() -> internals::InternalInvokeRequest {
    internals::InternalInvokeRequest {
        ver: 1,
        metadata: lists(&[
            ("Content-Type", "text/plain"),
            (":authority", "h"),
            ("x-bin", "AAE="),
        ]),
        message: Some(invoke_request()),
        ..internals::InternalInvokeRequest::default()
    }
}

fn response() -> internals::InternalInvokeResponse {
    internals::InternalInvokeResponse {
        status: Some(internals::Status {
            code: 200,
            message: "OK".to_owned(),
            details: vec![],
        }),
        headers: lists(&[("X-App", "1")]),
        trailers: lists(&[("t", "2")]),
        message: Some(common::InvokeResponse {
            data: invoke_request().data,
            content_type: "text/plain".to_owned(),
        }),
    }
}

/// Each message is read by its own door, and by the doors of the others.
#[test]
fn messages_of_sidecars() {
    let payload = Some(common::StreamPayload {
        data: b"piece".to_vec().into(),
        seq: 3,
    });
    let seeds = [
        request().encode_to_vec(),
        response().encode_to_vec(),
        internals::InternalInvokeRequestStream {
            request: Some(request()),
            payload: payload.clone(),
        }
        .encode_to_vec(),
        internals::InternalInvokeResponseStream {
            response: Some(response()),
            payload,
        }
        .encode_to_vec(),
    ];
    let doors = [
        internal_grpc::fuzz::request,
        internal_grpc::fuzz::response,
        internal_grpc::fuzz::request_stream,
        internal_grpc::fuzz::response_stream,
    ];
    for (seed, door) in seeds.iter().zip(doors) {
        assert!(door(&Bytes::from(seed.clone())));
    }
    check!().with_type::<Near>().for_each(|near| {
        let message =
            Bytes::from(near.to_bytes(&seeds, &["\x0a\x00", "\x12\x02", "\u{7f}\u{7f}", "content-type"]));
        for door in doors {
            door(&message);
        }
    });
}

/// What the generated code reads is read here as well, and as the same.
#[test]
fn messages_of_the_codec() {
    let seeds = [
        invoke_request().encode_to_vec(),
        response().message.unwrap().encode_to_vec(),
    ];
    let statuses = [response().status.unwrap().encode_to_vec()];
    check!().with_type::<(Near, Near)>().for_each(|(near, status)| {
        let bytes = Bytes::from(near.to_bytes(&seeds, &["\x0a", "\x12\x00"]));
        let oracle = common::InvokeRequest::decode(bytes.clone());
        // Which texts may stand where is stricter here: methods and headers are judged.
        if let (Ok((head, data)), Ok(wanted)) = (message::read_request(&bytes, Origin::Http), oracle) {
            assert_eq!(data, wanted.data.unwrap_or_default().value);
            let verb = wanted.http_extension.map(|extension| extension.verb);
            assert_eq!(head.verb.map(invoke_core::Verb::number), verb);
        }
        let mut reply = Reply::new(WireStatus::default(), Route::Remote);
        let _ = message::read_response(&bytes, &mut reply);
        for field in wire::fields(&bytes) {
            if field.is_err() {
                break;
            }
        }
        let bytes = Bytes::from(status.to_bytes(&statuses, &["\x1a\x00"]));
        if let Ok(read) = status::read_status(&bytes) {
            let mut written = bytes::BytesMut::new();
            status::put_status(&mut written, &read);
            assert_eq!(written.len(), status::status_len(&read));
            assert_eq!(status::read_status(&written.freeze()).unwrap(), read);
        }
    });
}

const NAMES: [&str; 12] = [
    "content-type",
    "x-bin",
    "grpc-status",
    "grpc-timeout",
    "dapr-app-id",
    "traceparent",
    "grpc-trace-bin",
    "host",
    "te",
    "connection",
    "x",
    "dapr-callee-app-id",
];
const VALUES: [&str; 12] = [
    "application/grpc",
    "AAE=",
    "AAE",
    "=",
    "%",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "app",
    ",",
    "13",
    "é",
    " ",
    "close",
];

fn headers(pairs: &[(u8, Vec<u8>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_str(&sentence(&VALUES, value)) {
            headers.append(name, value);
        }
    }
    headers
}

#[test]
fn metadata_of_grpc() {
    check!().with_type::<Vec<(u8, Vec<u8>)>>().for_each(|pairs| {
        let headers = headers(pairs);
        let _ = GrpcStatus::from_headers(&headers);
        let _ = (metadata::app_target(&headers), metadata::peer_target(&headers));
        let _ = metadata::of_proxied(headers.clone());
        if let Ok(read) = metadata::from_grpc(headers.clone()) {
            assert!(!read.contains_key("grpc-status"));
            let _ = metadata::to_grpc(read, Origin::Grpc);
        }
        for origin in [Origin::Http, Origin::Grpc] {
            let _ = metadata::trace_of(&headers, origin, None);
        }
        let _ = metadata::to_grpc(headers, Origin::Http);
    });
}

/// Messages are the same however their bytes are cut, and none is longer than allowed.
#[test]
fn frames_of_messages() {
    const MAX: usize = 64;
    let read = |pieces: &[&[u8]]| {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, Infallible>(http_body::Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let mut reader = MessageReader::new(StreamBody::new(futures_util::stream::iter(frames)), MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut messages = Vec::new();
            while let Some(message) = reader.next().await {
                match message {
                    Ok(message) => messages.push(message),
                    Err(error) => return (messages, Some(error.to_string())),
                }
            }
            (messages, None)
        })
    };
    let seeds = [
        &b"\0\0\0\0\x03abc\0\0\0\0\0\x01\0\0\0\x02zz"[..],
        b"\0\0\0\0\x41",
        b"\x02\0\0\0\x01a",
    ];
    check!().with_type::<(Near, Vec<u16>)>().for_each(|(near, cuts)| {
        let bytes = near.to_bytes(&seeds, &["\0\0\0\0\x01", "\0\0\0\0\0"]);
        let pieces = fuzz::cut(&bytes, cuts);
        let (whole, cut) = (read(&[&bytes]), read(&pieces));
        assert_eq!(whole, cut);
        assert!(whole.0.iter().all(|(_, message)| message.len() <= MAX));
        let scanned = grpc_wire::fuzz::scan(&pieces, MAX);
        if let Err(MessageError::TooLarge { length, .. }) = scanned {
            assert!(length as usize > MAX);
            assert!(whole.1.is_some(), "one refuses what the other takes");
        }
    });
}

/// Packed messages are unpacked as the same however they are cut, and none is longer than allowed.
#[test]
fn packed_messages() {
    const MAX: usize = 4096;
    // Twelve bytes, and a page of zeros, with gzip and in the format of zlib.
    let seeds: [&[u8]; 4] = [
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x00\x93\x00\x73\xa3\xb1\x9f\x0c\x00\x00\x00",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc1\x01\x0d\x00\x00\x00\xc2\xa0\xf7\x4f\x6d\x0f\x07\x14\x00\x00\x00\xf0\x6e\x11\x00\x1c\xc7\x00\x10\x00\x00",
        b"\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x00\x93\x00\x1d\xfa\x04\x69",
        b"\x78\x9c\xed\xc1\x01\x0d\x00\x00\x00\xc2\xa0\xf7\x4f\x6d\x0f\x07\x14\x00\x00\x00\xf0\x6e\x10\x00\x00\x01",
    ];
    let framed = |packed: &[u8]| {
        let mut message = vec![1];
        message.extend((packed.len() as u32).to_be_bytes());
        message.extend(packed);
        message.extend([0, 0, 0, 0, 2, b'a', b'b']);
        message
    };
    let seeds = seeds.map(framed);
    let whole = |at: usize, encoding| grpc_wire::fuzz::unpack(&[&seeds[at]], encoding, MAX).unwrap().0;
    assert_eq!(whole(0, Encoding::Gzip), whole(2, Encoding::Deflate));
    assert_eq!(whole(1, Encoding::Gzip).len(), 5 + MAX + 7);
    check!()
        .with_type::<(Near, Vec<u16>, bool)>()
        .for_each(|(near, cuts, is_gzip)| {
            let bytes = near.to_bytes(&seeds, &["\0\0\0\0\x01", "\x01\0\0\0\x14"]);
            let pieces = fuzz::cut(&bytes, cuts);
            let encoding = if *is_gzip {
                Encoding::Gzip
            } else {
                Encoding::Deflate
            };
            let whole = grpc_wire::fuzz::unpack(&[&bytes], encoding, MAX);
            let cut = grpc_wire::fuzz::unpack(&pieces, encoding, MAX);
            // What of several things is wrong may be found in another order.
            assert_eq!(whole.as_ref().ok(), cut.as_ref().ok());
            let Ok((messages, _)) = whole else { return };
            let mut rest = &messages[..];
            while let [0 | 1, a, b, c, d, after @ ..] = rest {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                assert!(length <= MAX);
                rest = after.get(length..).unwrap_or_default();
            }
        });
}

#[test]
fn limits_of_time() {
    check!().with_type::<Vec<u8>>().for_each(|words| {
        let text = sentence(
            &["1", "0", "9", "H", "M", "S", "m", "u", "n", "-", " ", "99999999"],
            words,
        );
        if let Some(timeout) = parse_timeout(&text) {
            let again = parse_timeout(&format_timeout(timeout)).unwrap();
            assert!(again >= timeout.min(again));
        }
    });
}
