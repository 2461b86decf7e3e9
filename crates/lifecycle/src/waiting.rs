//! What a start waits for.

use std::sync::{Arc, Mutex, PoisonError};

/// Why a start is not over: somebody else is not there yet. Whoever interrupts it learns what it waited for. Cloning
/// shares it.
#[derive(Clone, Debug, Default)]
pub struct StartupWait(Arc<Mutex<Option<String>>>);

impl StartupWait {
    /// Waits from now on, or goes on to, for this reason.
    pub fn because(&self, reason: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// Waits no more.
    pub fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why it waits, if it does.
    pub fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_counts() {
        let waiting = StartupWait::default();
        let shared = waiting.clone();
        assert_eq!(shared.reason(), None);
        waiting.because("one");
        waiting.because("other");
        assert_eq!(shared.reason().as_deref(), Some("other"));
        waiting.over();
        assert_eq!(shared.reason(), None);
    }
}
