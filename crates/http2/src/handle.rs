//! A call's hold on its stream.

use std::sync::Arc;

use crate::error::Reason;
use crate::state::{Shared, State};
use crate::stream::Key;

/// Keeps a stream; the last one to go cancels it if it is not over.
#[derive(Debug)]
pub(crate) struct StreamRef {
    shared: Arc<Shared>,
    key: Key,
}

impl StreamRef {
    /// Takes over a handle that the state counts already.
    pub(crate) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self { shared, key }
    }

    /// Does something with the stream, and wakes the connection if that gave it something to do.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State, Key) -> R) -> R {
        self.shared.with(|state| act(state, self.key))
    }

    /// The same without waking: [`Self::wake`] is to follow.
    pub(crate) fn quietly<R>(&self, act: impl FnOnce(&mut State, Key) -> R) -> R {
        act(&mut self.shared.lock(), self.key)
    }

    /// Wakes the connection if it has something to do.
    pub(crate) fn wake(&self) {
        self.shared.with(|_| ());
    }
}

impl Clone for StreamRef {
    fn clone(&self) -> Self {
        self.shared.lock().retain(self.key);
        Self::new(Arc::clone(&self.shared), self.key)
    }
}

impl Drop for StreamRef {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() {
            Reason::INTERNAL_ERROR
        } else {
            Reason::CANCEL
        };
        self.shared.with(|state| state.release(self.key, reason));
    }
}
