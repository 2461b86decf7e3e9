//! A value that others wait for to change.
//!
//! Like `tokio::sync::watch`, which wakes those who wait in an order that chance decides, and chance has no seed there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A value that changes. Cloning shares it.
pub(crate) struct Signal<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// The value, and how often it has changed.
    value: Mutex<(T, u64)>,
    changed: Notify,
}

/// Somebody who waits.
pub(crate) struct Waiting<T> {
    signal: Signal<T>,
    seen: u64,
}

impl<T: Clone> Clone for Signal<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Signal<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            value: Mutex::new((value, 0)),
            changed: Notify::new(),
        }))
    }

    fn value(&self) -> MutexGuard<'_, (T, u64)> {
        self.0.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> T {
        self.value().0.clone()
    }

    /// Changes the value; what it was before.
    pub(crate) fn change(&self, change: impl FnOnce(&mut T)) -> T {
        let mut value = self.value();
        let before = value.0.clone();
        change(&mut value.0);
        value.1 += 1;
        drop(value);
        self.0.changed.notify_waiters();
        before
    }

    /// Somebody who has seen the value as it is now.
    pub(crate) fn waiting(&self) -> Waiting<T> {
        Waiting {
            seen: self.value().1,
            signal: self.clone(),
        }
    }
}

impl<T: Clone> Waiting<T> {
    /// The value, which is then seen.
    pub(crate) fn see(&mut self) -> T {
        let value = self.signal.value();
        self.seen = value.1;
        value.0.clone()
    }

    /// Waits for a value that was not seen; those who wait are woken in the order in which they came.
    pub(crate) async fn changed(&mut self) {
        loop {
            let mut changed = std::pin::pin!(self.signal.0.changed.notified());
            changed.as_mut().enable();
            let now = self.signal.value().1;
            if now != self.seen {
                self.seen = now;
                return;
            }
            changed.await;
        }
    }

    /// Waits for a value that fits.
    pub(crate) async fn until(&mut self, fits: impl Fn(&T) -> bool) {
        while !fits(&self.see()) {
            self.changed().await;
        }
    }
}
