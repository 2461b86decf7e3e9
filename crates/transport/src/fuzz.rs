//! Doors for the fuzz targets: a connection of HTTP, and the messages of gRPC.

pub use crate::server::serve_one;

use crate::grpc::MessageError;

/// Whether messages are found in pieces of a body, none longer than `max`.
///
/// # Errors
/// When one is longer.
pub fn scan(pieces: &[&[u8]], max: usize) -> Result<(), MessageError> {
    crate::grpc::scan(pieces, max)
}
