//! The instances of a guest: lent to a call each, and kept for the next.

use std::sync::{Arc, Mutex, PoisonError};

use super::exchange::Exchange;
use super::guest::{Compiled, Fault, Guest};
use super::limits::Limits;
use super::state::Shared;

/// All instances of a guest.
pub(super) struct Pool {
    compiled: Compiled,
    shared: Arc<Shared>,
    /// Those that wait for a call. What was used last is used next: its memory is still in the cache.
    idle: Mutex<Vec<Guest>>,
}

/// Why a call gets no instance.
#[derive(Debug)]
pub(super) enum NoGuest {
    /// There are as many as there may be.
    AllLent(usize),
    /// A new one does not start.
    Failed(String),
}

/// An instance that is lent. One that is not given back is not used again: a guest that was stopped is in no state for
/// another call.
pub(super) struct Lease {
    guest: Guest,
    pool: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(compiled: Compiled, shared: Shared) -> Self {
        Self {
            compiled,
            shared: Arc::new(shared),
            idle: Mutex::default(),
        }
    }

    /// What the log calls the guest.
    pub(super) fn component(&self) -> &str {
        &self.shared.component
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// How many instances there are.
    #[cfg(test)]
    pub(super) fn instances(&self) -> &std::sync::atomic::AtomicUsize {
        &self.shared.instances
    }

    pub(super) async fn take(self: &Arc<Self>) -> Result<Lease, NoGuest> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let guest = match kept {
            Some(guest) => guest,
            // In a box: most calls need no room for it.
            None => match Box::pin(self.compiled.instantiate(&self.shared)).await {
                Some(Ok(guest)) => guest,
                Some(Err(fault)) => return Err(NoGuest::Failed(fault.to_string())),
                None => return Err(NoGuest::AllLent(self.limits().instances)),
            },
        };
        let pool = Arc::clone(self);
        Ok(Lease { guest, pool })
    }
}

impl Lease {
    /// Gives the guest a call.
    pub(super) fn begin(&mut self, mut exchange: Box<Exchange>) {
        let state = self.guest.state();
        exchange.enable(state.features);
        state.exchange = Some(exchange);
    }

    pub(super) async fn handle_request(&mut self) -> Result<u64, Fault> {
        self.guest.handle_request().await
    }

    pub(super) async fn handle_response(&mut self, context: u32) -> Result<(), Fault> {
        self.guest.handle_response(context).await
    }

    /// The call.
    pub(super) fn exchange(&mut self) -> Option<&mut Exchange> {
        self.guest.state().exchange.as_deref_mut()
    }

    /// How many bytes the guest printed.
    #[cfg(test)]
    pub(super) fn printed(&mut self) -> usize {
        self.guest.state().wasi.printed()
    }

    /// Takes the call back.
    pub(super) fn end(&mut self) -> Option<Box<Exchange>> {
        let state = self.guest.state();
        state.wasi.tell(&state.shared.component);
        state.exchange.take()
    }

    /// Gives the instance back.
    pub(super) fn give_back(self) {
        let Self { guest, pool } = self;
        let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < pool.limits().kept {
            idle.push(guest);
            return;
        }
        // Unmapping its memory is not for those who wait for the lock.
        drop(idle);
        drop(guest);
    }
}
