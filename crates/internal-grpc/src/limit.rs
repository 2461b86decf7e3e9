//! How long the messages of a stream may be.
//!
//! Each side limits the messages that it takes (`--max-body-size`) and cannot see the limit of the other. Dapr's
//! sidecars never notice, since they send a body in pieces of 2 KiB. Larger pieces cost much less, so sidecars of this
//! kind tell each other their limits; who says nothing gets pieces as Dapr makes them.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use invoke_core::balance::Endpoint;

/// The longest message that the sender takes, in bytes. It belongs to the hop: apps and callers do not see it.
const TOLD: HeaderName = HeaderName::from_static("dapr-max-message");

/// What those take who say nothing. Go's sidecars put 2048 bytes of the body into a message; ours has them with all
/// that is around them.
const UNTOLD: usize = 2048;

/// Messages get no shorter than this, whatever a peer says: the head of a call would not fit into them either.
const SHORTEST: usize = 512;

/// Longer pieces would gain nothing, and hold up other streams of the connection.
const LONGEST_PIECE: usize = 64 * 1024;

/// What a message has besides its piece of the body: an empty response (2), tag and length of the payload (1 + 5), its
/// number (1 + 10), tag and length of the data (1 + 5).
const AROUND: usize = 25;

/// The longest message that the other side takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageLimit(usize);

impl MessageLimit {
    /// What those take who say nothing.
    pub(crate) const UNTOLD: Self = Self(UNTOLD);

    /// What the head of a request or an answer says.
    pub(crate) fn told(headers: &HeaderMap) -> Self {
        let told = headers
            .get(TOLD)
            .and_then(|told| std::str::from_utf8(told.as_bytes()).ok());
        Self(
            told.and_then(|told| told.parse().ok())
                .map_or(UNTOLD, |told: u32| {
                    usize::try_from(told).unwrap_or(usize::MAX).max(SHORTEST)
                }),
        )
    }

    /// Whether the other side says it: it is of this kind.
    pub(crate) fn is_told(headers: &HeaderMap) -> bool {
        headers.contains_key(TOLD)
    }

    /// What is known of a peer.
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        Self(endpoint.longest_message().unwrap_or(UNTOLD))
    }

    pub(crate) fn bytes(self) -> usize {
        self.0
    }

    /// How many bytes of a body fit into a message of their own.
    pub(crate) fn piece(self) -> usize {
        (self.0 - AROUND).min(LONGEST_PIECE)
    }

    /// Whether that many bytes of a body fit into a message that has `used` bytes already.
    pub(crate) fn has_room(self, used: usize, piece: usize) -> bool {
        piece <= LONGEST_PIECE && used + AROUND + piece <= self.0
    }
}

/// Tells the other side what is taken here.
#[derive(Clone, Debug)]
pub(crate) struct Telling(HeaderValue);

impl Telling {
    /// `max` is the longest message in bytes.
    pub(crate) fn new(max: usize) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let text = Bytes::from(max.to_string());
        Self(HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static("")))
    }

    pub(crate) fn put(&self, headers: &mut HeaderMap) {
        headers.insert(TOLD, self.0.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_say() {
        for (told, wanted) in [
            (None, 2048),
            (Some(""), 2048),
            (Some("junk"), 2048),
            (Some("-1"), 2048),
            (Some("99999999999999999999"), 2048),
            (Some("16384"), 16384),
            (Some("0"), 512),
            (Some("1"), 512),
            (Some("4294967295"), 4_294_967_295),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(told) = told {
                headers.insert(TOLD, HeaderValue::from_static(told));
            }
            assert_eq!(MessageLimit::told(&headers).bytes(), wanted, "{told:?}");
        }
        for max in [0, 1024, 4 << 20, usize::MAX] {
            let mut headers = HeaderMap::new();
            Telling::new(max).put(&mut headers);
            let told = MessageLimit::told(&headers).bytes();
            assert_eq!(told, max.clamp(512, u32::MAX as usize));
        }
    }

    #[test]
    fn pieces() {
        for (limit, piece) in [(512, 487), (2048, 2023), (1 << 20, 65536)] {
            assert_eq!(MessageLimit(limit).piece(), piece);
        }
        assert!(MessageLimit(2048).has_room(1000, 1023));
        assert!(!MessageLimit(2048).has_room(1000, 1024));
        assert!(!MessageLimit(1 << 20).has_room(0, 65537));
    }
}
