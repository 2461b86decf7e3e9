//! Doors for the fuzz targets: a connection of HTTP, and the head of an answer.

use std::time::Duration;

pub use crate::server::serve_one;

use crate::client::fuzz as h1;

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
