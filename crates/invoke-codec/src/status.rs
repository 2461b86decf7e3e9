//! A status with details: `dapr.proto.internals.v1.Status`, which has the layout of `google.rpc.Status`.

use bytes::{Bytes, BytesMut};
use invoke_core::{StatusDetail, WireStatus};

use crate::DecodeError;
use crate::wire::{self, Part, Value, bytes_len, len_len};

/// How long a status is.
pub fn status_len(status: &WireStatus) -> usize {
    let details: usize = status
        .details
        .iter()
        .map(|detail| len_len(detail_len(detail)))
        .sum();
    wire::int32_len(status.code) + bytes_len(status.message.len()) + details
}

fn detail_len(detail: &StatusDetail) -> usize {
    bytes_len(detail.type_url.len()) + bytes_len(detail.value.len())
}

/// Writes a status.
pub fn put_status(out: &mut BytesMut, status: &WireStatus) {
    wire::put_int32(out, 1, status.code);
    wire::put_bytes(out, 2, status.message.as_bytes());
    for detail in &status.details {
        wire::put_len(out, 3, detail_len(detail));
        wire::put_bytes(out, 1, detail.type_url.as_bytes());
        wire::put_bytes(out, 2, &detail.value);
    }
}

/// A status as the value of `grpc-status-details-bin`; `None` when it has no details.
pub fn details(status: &WireStatus) -> Option<Bytes> {
    if status.details.is_empty() {
        return None;
    }
    let mut out = BytesMut::with_capacity(status_len(status));
    put_status(&mut out, status);
    Some(out.freeze())
}

/// Reads a status.
pub fn read_status<'a>(bytes: impl Into<Part<'a>>) -> Result<WireStatus, DecodeError> {
    let mut status = WireStatus::default();
    for field in wire::fields(bytes) {
        match field? {
            (1, Value::Varint(code)) => status.code = code as i32,
            (2, Value::Len(message)) => {
                status.message = wire::text(&message)?.map(String::from).unwrap_or_default();
            }
            (3, Value::Len(any)) => {
                let (type_url, value) = wire::read_any(any)?;
                let type_url = type_url.map(String::from).unwrap_or_default();
                status.details.push(StatusDetail { type_url, value });
            }
            _ => {}
        }
    }
    Ok(status)
}

/// The type URL of `google.rpc.ErrorInfo`.
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// A `google.rpc.ErrorInfo` as a detail: why, in which domain, and what else is to be known.
pub fn error_info(reason: &str, domain: &str, metadata: &[(&str, &str)]) -> StatusDetail {
    let mut out = BytesMut::new();
    wire::put_bytes(&mut out, 1, reason.as_bytes());
    wire::put_bytes(&mut out, 2, domain.as_bytes());
    for (key, value) in metadata {
        // Entries of maps are written whole, empty values too, as Go does.
        wire::put_len(&mut out, 3, len_len(key.len()) + len_len(value.len()));
        for (field, text) in [(1, key), (2, value)] {
            wire::put_len(&mut out, field, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    StatusDetail {
        type_url: ERROR_INFO.to_owned(),
        value: out.freeze(),
    }
}

#[cfg(test)]
mod tests {
    use dapr_proto::internals;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    proptest! {
        #[test]
        fn a_status_round_trips(code: i32, message: String, details: Vec<(String, Vec<u8>)>) {
            let details = details.into_iter().map(|(type_url, value)| StatusDetail { type_url, value: value.into() });
            let status = WireStatus { code, message, details: details.collect() };
            let mut out = BytesMut::new();
            put_status(&mut out, &status);
            prop_assert_eq!(out.len(), status_len(&status));
            let out = out.freeze();
            prop_assert_eq!(read_status(&out).unwrap(), status.clone());
            let generated = internals::Status::decode(out).unwrap();
            prop_assert_eq!((generated.code, generated.message), (status.code, status.message));
        }

        #[test]
        fn junk_is_read_without_a_panic(junk in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read_status(&Bytes::from(junk));
        }
    }

    #[test]
    fn an_error_info() {
        let detail = error_info("Not Found", "dapr.io", &[("http.code", "404")]);
        let wanted = b"\x0a\x09Not Found\x12\x07dapr.io\x1a\x10\x0a\x09http.code\x12\x03404";
        assert_eq!(&detail.value[..], wanted);
        let detail = error_info("", "", &[("k", "")]);
        assert_eq!(&detail.value[..], b"\x1a\x05\x0a\x01k\x12\x00");
    }
}
