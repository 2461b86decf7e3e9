//! How often a call allocates memory. Time is noise on a shared machine, allocations are not: each piece of the way
//! of a call, and each whole sidecar, has a number here that it must not exceed.
//!
//! A change that needs fewer lowers the number. A change that needs more says why, and raises it.
#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and shows what it counted"
)]

mod pieces;
mod sidecars;

/// Checks the allocations of something that was done `times` times.
#[track_caller]
fn at_most(limit: f64, what: &str, allocations: u64, times: u64) {
    let of_each = allocations as f64 / times as f64;
    println!("{what}: {of_each:.2} allocations, {limit} allowed");
    assert!(
        of_each <= limit,
        "{what} allocates {of_each:.2} times, {limit} are allowed"
    );
}
