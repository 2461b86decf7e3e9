//! Doors for the fuzz targets: a connection of HTTP, and the messages of gRPC.

pub use crate::server::serve_one;

use bytes::Bytes;

use crate::grpc::{Encoding, GrpcStatus, MessageError};

/// Whether messages are found in pieces of a body, none longer than `max`.
///
/// # Errors
/// When one is longer.
pub fn scan(pieces: &[&[u8]], max: usize) -> Result<(), MessageError> {
    crate::grpc::scan(pieces, max)
}

/// What the packed messages in pieces of a body have in them, none longer than `max`, and whether the body may end there.
///
/// # Errors
/// When one is longer, or no packed message.
pub fn unpack(pieces: &[&[u8]], encoding: Encoding, max: usize) -> Result<(Vec<u8>, bool), GrpcStatus> {
    let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece));
    crate::grpc::unpack(pieces, encoding, max)
}
