//! HPACK, the header compression of HTTP/2 (RFC 7541).
//!
//! One [`Decoder`] and one [`Encoder`] belong to a connection, and every block must pass through them in the
//! order of the wire: each side keeps a table of recent fields in step with the other.
//!
//! Reading knows all of HPACK. Writing leaves out the Huffman code: these connections run over loopback or a
//! cluster network, where a few bytes more cost less than packing and unpacking them.

mod decoder;
mod encoder;
mod huffman;
mod names;
mod table;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;

/// The size of a dynamic table until SETTINGS say otherwise (RFC 9113, 6.5.2).
const DEFAULT_TABLE_SIZE: usize = 4096;

/// What an entry counts for beyond its name and its value (RFC 7541, 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// A field that stands for a part of the request or status line (RFC 9113, 8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pseudo {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:status`
    Status,
}

impl Pseudo {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Method => ":method",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Status => ":status",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b":method" => Some(Self::Method),
            b":scheme" => Some(Self::Scheme),
            b":authority" => Some(Self::Authority),
            b":path" => Some(Self::Path),
            b":status" => Some(Self::Status),
            _ => None,
        }
    }
}

/// Takes the fields of a block, in their order.
pub(crate) trait Fields {
    /// A pseudo-header field. Its value holds no control characters, and is otherwise unchecked.
    fn pseudo(&mut self, name: Pseudo, value: Bytes);

    /// A regular field. The value is marked sensitive if its sender forbade indexing it (RFC 7541, 7.1.3).
    fn field(&mut self, name: HeaderName, value: HeaderValue);

    /// A field that HTTP/2 does not allow: an unknown pseudo name (`:protocol` too), a name with an upper
    /// case or otherwise bad character, a control character in the value.
    ///
    /// Decoding goes on, since the tables must stay in step, but the message is malformed (RFC 9113, 8.1.1).
    /// `size` is what the field counts for in a header list: name, value and 32 (RFC 9113, 6.5.2).
    fn malformed(&mut self, size: usize);
}

/// Why a block cannot be decoded. The tables are out of step after any of these, so each is a connection
/// error of type `COMPRESSION_ERROR` (RFC 9113, 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum HpackError {
    /// The block ends within a field.
    #[error("header block ends within a field")]
    Truncated,
    /// A number is longer than anything that could make sense (RFC 7541, 5.1).
    #[error("integer in a header block is too large")]
    IntegerOverflow,
    /// An index is zero or beyond the dynamic table (RFC 7541, 2.3.3).
    #[error("header block refers to a table entry that does not exist")]
    BadIndex,
    /// A string breaks the rules of the Huffman code (RFC 7541, 5.2).
    #[error("invalid Huffman code in a header block")]
    BadHuffman,
    /// A size update comes after a field or exceeds our setting (RFC 7541, 4.2 and 6.3).
    #[error("invalid dynamic table size update")]
    BadSizeUpdate,
}
