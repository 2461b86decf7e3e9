//! What an instance has with it: the call it is lent to, what it printed, and what it may still take.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use wasmtime::{Memory, ResourceLimiter};

use super::exchange::Exchange;
use super::limits::{Limits, TABLE};
use super::wasi::Wasi;

/// What all instances of a guest share.
#[derive(Debug)]
pub(super) struct Shared {
    /// What the log calls it.
    pub(super) component: String,
    /// `guestConfig`.
    pub(super) config: Box<[u8]>,
    /// `strictSandbox`.
    pub(super) is_strict: bool,
    pub(super) limits: Limits,
    /// The clock of a strict sandbox, in nanoseconds: it goes on when it is read, and only then.
    pub(super) wall: AtomicI64,
    /// Instances that there are.
    pub(super) instances: AtomicUsize,
    /// Bytes of memory of all of them.
    memory: AtomicUsize,
}

/// Why a guest is stopped.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Halt {
    /// It asked the host for what it cannot have.
    #[error("{0}")]
    Refused(String),
    /// It ended itself.
    #[error("module closed with exit_code({0})")]
    Exit(u32),
    /// It did not end.
    #[error("wasm: the guest ran longer than {0} ms and was stopped")]
    TooLong(u128),
    /// It slept too long.
    #[error("wasm: the guest slept longer than {0} ms and was stopped")]
    Slept(u64),
}

/// The state of an instance.
pub(super) struct State {
    pub(super) shared: Arc<Shared>,
    /// `memory`, once it was looked up.
    pub(super) memory: Option<Memory>,
    pub(super) wasi: Wasi,
    /// The call that the instance is lent to.
    pub(super) exchange: Option<Box<Exchange>>,
    /// What the guest switched on before its first call.
    pub(super) features: u32,
    /// How many slices of time are left.
    pub(super) slices: u32,
    /// How many milliseconds of sleep are left.
    pub(super) sleep: u64,
    /// Bytes of `Shared::memory` that are its own.
    taken: usize,
}

impl Shared {
    pub(super) fn new(component: String, config: Box<[u8]>, is_strict: bool, limits: Limits) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            component,
            config,
            is_strict,
            limits,
            wall: AtomicI64::new(i64::try_from(now.as_secs()).unwrap_or_default() * 1_000_000_000),
            instances: AtomicUsize::new(0),
            memory: AtomicUsize::new(0),
        }
    }
}

impl State {
    /// That of a new instance, which counts from now on; `None` if there are as many as there may be.
    pub(super) fn new(shared: &Arc<Shared>) -> Option<Self> {
        if !add_within(&shared.instances, 1, shared.limits.instances) {
            return None;
        }
        Some(Self {
            shared: Arc::clone(shared),
            memory: None,
            wasi: Wasi::default(),
            exchange: None,
            features: 0,
            slices: 0,
            sleep: 0,
            taken: 0,
        })
    }

    /// The call, for functions that need one.
    pub(super) fn exchange(&mut self) -> Result<&mut Exchange, Halt> {
        let none = || Halt::Refused("there is no request while the guest starts".to_owned());
        self.exchange.as_deref_mut().ok_or_else(none)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.shared.memory.fetch_sub(self.taken, Ordering::Relaxed);
        self.shared.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let limits = &self.shared.limits;
        let more = desired.saturating_sub(current);
        let fits = desired <= limits.memory && add_within(&self.shared.memory, more, limits.all_memory);
        if fits {
            self.taken += more;
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE)
    }

    fn tables(&self) -> usize {
        16
    }
}

/// Adds to a number that must not become larger than a bound.
fn add_within(number: &AtomicUsize, more: usize, bound: usize) -> bool {
    let add = |now: usize| now.checked_add(more).filter(|next| *next <= bound);
    number
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
        .is_ok()
}
