//! Doors for the fuzz targets: a connection of HTTP, the head of an answer, and the messages of gRPC.

use std::time::Duration;

use bytes::Bytes;

pub use crate::server::serve_one;

use crate::client::fuzz as h1;
use crate::grpc::{Encoding, GrpcStatus, MessageError};

/// Whether messages are found in pieces of a body, none longer than `max`.
///
/// # Errors
/// When one is longer.
pub fn scan(pieces: &[&[u8]], max: usize) -> Result<(), MessageError> {
    crate::grpc::scan(pieces, max)
}

/// Mends the status line of an answer.
pub fn mend(read: &mut [u8]) {
    h1::mend(read);
}

/// What is wrong with the head of an answer.
pub fn wrong(head: &[u8]) -> Option<String> {
    h1::wrong(head)
}

/// The time in the value of a `Keep-Alive` header.
pub fn keep_alive(value: &[u8]) -> Option<Duration> {
    h1::timeout(value)
}

/// What the packed messages in pieces of a body have in them, none longer than `max`, and whether the body may end there.
///
/// # Errors
/// When one is longer, or no packed message.
pub fn unpack(pieces: &[&[u8]], encoding: Encoding, max: usize) -> Result<(Vec<u8>, bool), GrpcStatus> {
    let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece));
    crate::grpc::unpack(pieces, encoding, max)
}
