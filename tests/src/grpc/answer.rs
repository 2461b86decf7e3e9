//! What a client gets.

use http::{HeaderMap, StatusCode};

use super::Message;

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub http: StatusCode,
    /// The head.
    pub head: HeaderMap,
    /// The messages.
    pub messages: Vec<Message>,
    /// The trailers; `None` when the head was all.
    pub trailers: Option<HeaderMap>,
    /// How the stream broke, if it did.
    pub broken: Option<String>,
}

impl Answer {
    fn status(&self, name: &str) -> Option<&str> {
        let headers = self.trailers.as_ref().unwrap_or(&self.head);
        headers.get(name)?.to_str().ok()
    }

    /// The status code.
    ///
    /// # Panics
    /// When there is none.
    pub fn code(&self) -> i32 {
        let code = self.status("grpc-status").and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status in {self:?}"))
    }

    /// The message of the status, decoded.
    pub fn status_message(&self) -> String {
        percent_decoded(self.status("grpc-message").unwrap_or_default())
    }

    /// The details of the status, as they stand on the wire.
    pub fn details(&self) -> Option<&str> {
        self.status("grpc-status-details-bin")
    }

    /// The only message.
    ///
    /// # Panics
    /// When the call failed, or there is none, or there are several.
    pub fn only(&self) -> &[u8] {
        assert_eq!(self.code(), 0, "{self:?}");
        let [message] = &self.messages[..] else {
            panic!("not one message: {self:?}")
        };
        &message.data
    }

    /// A value of the head.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)?.to_str().ok()
    }

    /// A value of the trailers.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name)?.to_str().ok()
    }
}

/// The text behind percent signs.
pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
