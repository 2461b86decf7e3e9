//! What an app can unpack.

use std::sync::atomic::{AtomicU8, Ordering};

use grpc_wire::{Accepted, Encoding, GrpcStatus};
use http::HeaderMap;
use invoke_core::error::code;

/// What the app said last that it can unpack; nothing as long as it said nothing.
///
/// A library for gRPC lists it with the answers of a server (`grpc-accept-encoding`). gRPC for Go does not, and refuses
/// what it cannot unpack, so that an app which is silent gets messages that are not packed.
#[derive(Debug, Default)]
pub(super) struct Takes(AtomicU8);

impl Takes {
    pub(super) fn has(&self, encoding: Encoding) -> bool {
        Accepted::from_bits(self.0.load(Ordering::Relaxed)).has(encoding)
    }

    /// Reads the head of an answer. The app behind the port may be another program than before: the last word counts.
    /// `is_packed` tells whether what it answers went to it packed.
    pub(super) fn learn(&self, answer: &HeaderMap, is_packed: bool) {
        let takes = match Accepted::told(answer) {
            Some(takes) => takes,
            // A status without an answer need not list it. If that says that it cannot be done, though, it cannot.
            None => match GrpcStatus::code_in(answer) {
                None => Accepted::default(),
                Some(code::UNIMPLEMENTED) if is_packed => Accepted::default(),
                Some(_) => return,
            },
        };
        // Calls share this word, and nearly all find in it what they know.
        if self.0.load(Ordering::Relaxed) != takes.bits() {
            self.0.store(takes.bits(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_last_word_counts() {
        const LIST: (&str, &str) = ("grpc-accept-encoding", "identity,gzip");
        let takes = Takes::default();
        assert!(!takes.has(Encoding::Gzip));
        for (answer, is_packed, has) in [
            (&[][..], false, false),
            (&[LIST], false, true),
            (&[("grpc-status", "5")], true, true),
            (&[("grpc-status", "12")], false, true),
            (&[("grpc-status", "12")], true, false),
            (&[LIST, ("grpc-status", "5")], true, true),
            (&[], true, false),
            (&[LIST], true, true),
            (&[("grpc-accept-encoding", "identity")], true, false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in answer {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            takes.learn(&headers, is_packed);
            assert_eq!(takes.has(Encoding::Gzip), has, "{answer:?} {is_packed}");
            assert!(takes.has(Encoding::Identity));
        }
    }
}
