//! The status in trailers.

use std::num::{IntErrorKind, ParseIntError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// What a status message may not have as it is.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The end of a gRPC call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcStatus {
    /// The code; numbers that nobody has defined are kept.
    pub code: i32,
    /// The message.
    pub message: String,
    /// A `google.rpc.Status`, encoded, if there are details.
    pub details: Option<Bytes>,
}

impl GrpcStatus {
    /// A status without details.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
        }
    }

    /// Reads the status from trailers, or from the head of an answer without messages. `None` when there is
    /// none. A code that is no number is 2 (unknown), with the words of gRPC for Go; undecodable details are dropped.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = String::from_utf8_lossy(headers.get(GRPC_STATUS)?.as_bytes());
        let code = match text.parse::<i32>() {
            Ok(code) => code,
            Err(error) => return Some(Self::malformed(&text, &error)),
        };
        let message = headers.get(GRPC_MESSAGE).map_or_else(String::new, |message| {
            percent_decode(message.as_bytes())
                .decode_utf8_lossy()
                .into_owned()
        });
        let details = headers.get(GRPC_STATUS_DETAILS).and_then(|details| {
            let text = details.as_bytes();
            STANDARD_NO_PAD
                .decode(text)
                .or_else(|_| STANDARD.decode(text))
                .ok()
                .map(Bytes::from)
        });
        Some(Self {
            code,
            message,
            details,
        })
    }

    /// The code alone, without reading the rest; `None` when there is no status, or its code is no number.
    pub fn code_in(headers: &HeaderMap) -> Option<i32> {
        headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
    }

    fn malformed(text: &str, error: &ParseIntError) -> Self {
        let what = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        let text = format!("transport: malformed grpc-status: strconv.ParseInt: parsing {text:?}: {what}");
        Self::new(2, text)
    }

    /// Writes the status into trailers, or into the head of an answer without messages. `grpc-message` is
    /// always written, as gRPC for Go writes it.
    pub fn write(&self, headers: &mut HeaderMap) {
        let code = match self.code {
            // Nearly every call ends with it.
            0 => HeaderValue::from_static("0"),
            code => HeaderValue::from(code),
        };
        headers.insert(GRPC_STATUS, code);
        let message = utf8_percent_encode(&self.message, ESCAPED).to_string();
        let message = HeaderValue::try_from(message).unwrap_or(HeaderValue::from_static(""));
        headers.insert(GRPC_MESSAGE, message);
        if let Some(details) = &self.details
            && let Ok(details) = HeaderValue::try_from(STANDARD_NO_PAD.encode(details))
        {
            headers.insert(GRPC_STATUS_DETAILS, details);
        }
    }

    /// The status as trailers.
    pub fn to_trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(2);
        self.write(&mut trailers);
        trailers
    }
}

/// The gRPC code for an HTTP answer that has no gRPC status ("HTTP to gRPC status code mapping" of the gRPC
/// documentation).
pub fn status_of_http(status: http::StatusCode) -> i32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_status_round_trips(code in any::<i32>(), message in any::<String>(), details in any::<Option<Vec<u8>>>()) {
            let status = GrpcStatus { code, message, details: details.map(Bytes::from) };
            prop_assert_eq!(GrpcStatus::from_headers(&status.to_trailers()), Some(status));
        }

        #[test]
        fn junk_is_read_without_a_panic(code in "\\PC{0,8}", message in "\\PC{0,16}", details in "\\PC{0,16}") {
            let mut headers = HeaderMap::new();
            for (name, value) in [(GRPC_STATUS, code), (GRPC_MESSAGE, message), (GRPC_STATUS_DETAILS, details)] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(name, value);
                }
            }
            let _ = GrpcStatus::from_headers(&headers);
        }
    }

    #[test]
    fn codes() {
        const OUT: &str = "value out of range";
        const BAD: &str = "invalid syntax";
        for (text, code, what) in [
            ("0", 0, ""),
            ("100", 100, ""),
            ("-1", -1, ""),
            ("2147483647", i32::MAX, ""),
            ("2147483648", 2, OUT),
            ("-99999999999", 2, OUT),
            ("", 2, BAD),
            ("abc", 2, BAD),
            ("1 ", 2, BAD),
            ("1.5", 2, BAD),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_STATUS, HeaderValue::from_static(text));
            headers.insert(GRPC_MESSAGE, HeaderValue::from_static("its own"));
            let status = GrpcStatus::from_headers(&headers).unwrap();
            let wanted = match what {
                "" => "its own".to_owned(),
                what => {
                    format!("transport: malformed grpc-status: strconv.ParseInt: parsing \"{text}\": {what}")
                }
            };
            assert_eq!((status.code, status.message), (code, wanted));
        }
    }

    #[test]
    fn padded_details_are_read_too() {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_STATUS, HeaderValue::from_static("20"));
        headers.insert(GRPC_STATUS_DETAILS, HeaderValue::from_static("YQ=="));
        let status = GrpcStatus::from_headers(&headers).unwrap();
        assert_eq!(
            (status.code, status.details),
            (20, Some(Bytes::from_static(b"a")))
        );
    }
}
