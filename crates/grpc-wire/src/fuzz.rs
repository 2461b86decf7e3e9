//! Doors for the fuzz targets: the messages of a body, packed or not.

use bytes::Bytes;

use crate::{Encoding, GrpcStatus, MessageError};

/// Whether messages are found in pieces of a body, none longer than `max`.
///
/// # Errors
/// When one is longer.
pub fn scan(pieces: &[&[u8]], max: usize) -> Result<(), MessageError> {
    crate::scanner::scan(pieces, max)
}

/// What the packed messages in pieces of a body have in them, none longer than `max`, and whether the body may end there.
///
/// # Errors
/// When one is longer, or no packed message.
pub fn unpack(pieces: &[&[u8]], encoding: Encoding, max: usize) -> Result<(Vec<u8>, bool), GrpcStatus> {
    let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece));
    crate::unpack::unpack(pieces, encoding, max)
}
