//! A span.

use std::borrow::Cow;
use std::time::SystemTime;

use invoke_core::trace::TraceContext;

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Client,
    Server,
}

/// The name of an attribute.
pub(super) type Key = Cow<'static, str>;

/// An operation that is over.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) context: TraceContext,
    /// The span that it is a part of; zeros for none.
    pub(super) parent: [u8; 8],
    pub(super) state: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    pub(super) attributes: Vec<(Key, String)>,
    /// How many attributes there was no room for.
    pub(super) dropped: u32,
    /// Why it failed, if it did.
    pub(super) error: Option<String>,
}

impl Span {
    /// An attribute by its name.
    pub(super) fn attribute(&self, key: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// About how many bytes of memory it holds.
    pub(super) fn size(&self) -> usize {
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(key, value)| key.len() + value.len() + 64)
            .sum();
        let error = self.error.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.state.len() + self.name.len() + error + attributes
    }

    /// When something was, in nanoseconds since 1970.
    pub(super) fn nanos(time: SystemTime) -> u64 {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}
