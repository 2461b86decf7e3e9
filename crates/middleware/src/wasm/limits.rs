//! What a guest may take.

use std::time::Duration;

/// Bounds of a component. They do not depend on what the guest says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Instances that are lent at once.
    pub(super) instances: usize,
    /// Instances that are kept for later calls.
    pub(super) kept: usize,
    /// The memory of one instance, in bytes.
    pub(super) memory: usize,
    /// The memory of all instances together, in bytes.
    pub(super) all_memory: usize,
    /// Slices of time in which a guest runs for a request, or for an answer. A slice is between one and two ticks.
    pub(super) slices: u32,
    /// How long a guest sleeps for a request, or for an answer, in milliseconds.
    pub(super) sleep: u64,
    /// Bytes of a body that is kept for the guest, or that it writes.
    pub(super) body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances: 1024,
            kept: 64,
            memory: 64 << 20,
            all_memory: 512 << 20,
            slices: 200,
            sleep: 30_000,
            body: 16 << 20,
        }
    }
}

/// The longest module, in bytes.
pub(super) const MODULE: usize = 16 << 20;
/// How long a module is compiled.
pub(super) const COMPILE: Duration = Duration::from_secs(60);
/// Elements of all tables of an instance.
pub(super) const TABLE: usize = 1 << 17;
/// Bytes of what a guest prints for one call; more is left out.
pub(super) const PRINTED: usize = 64 << 10;
