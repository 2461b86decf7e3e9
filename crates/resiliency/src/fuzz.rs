//! What is private and judged by fuzz targets.

use crate::breaker::Counts;
use crate::codes::{Codes, HTTP};
use crate::trip::Trip;

/// Compiles an expression and evaluates it; whether it is met.
pub fn trip(text: &str, failures: u32) -> Option<bool> {
    let counts = Counts {
        requests: failures,
        total_failures: failures,
        consecutive_failures: failures,
        ..Counts::default()
    };
    Trip::compile(text).ok().map(|trip| trip.is_met(&counts))
}

/// Reads a list of codes; whether it has one.
pub fn codes(list: &str, code: i32) -> Option<bool> {
    Codes::parse(list, &HTTP).ok().map(|codes| codes.has(code))
}

/// Reads a duration, in nanoseconds.
pub fn duration(text: &str) -> Option<i64> {
    crate::duration::parse(text).ok()
}
