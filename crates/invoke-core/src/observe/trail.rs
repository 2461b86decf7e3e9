//! What attempts leave behind for whoever watches the whole call.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::trace::TraceContext;

/// What became known of a call on its way. A door makes one if somebody who watches it wants to know; the head of the call
/// carries it to where attempts are made.
#[derive(Debug, Default)]
pub struct Trail {
    attempts: AtomicU32,
    last: Mutex<LastAttempt>,
}

/// The attempt that was made last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastAttempt {
    /// The app that was called.
    pub target: Option<Arc<str>>,
    /// The address of its sidecar, if it has some.
    pub endpoint: Option<Arc<str>>,
    /// The trace context that went along.
    pub trace: Option<TraceContext>,
}

impl Trail {
    /// An attempt begins.
    pub fn attempt(&self, attempt: LastAttempt) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        *self.last_attempt() = attempt;
    }

    /// How many there were.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// The last of them.
    pub fn last(&self) -> LastAttempt {
        self.last_attempt().clone()
    }

    fn last_attempt(&self) -> MutexGuard<'_, LastAttempt> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_attempt_counts() {
        let trail = Trail::default();
        assert_eq!((trail.attempts(), trail.last()), (0, LastAttempt::default()));
        for address in ["a:1", "b:2"] {
            trail.attempt(LastAttempt {
                endpoint: Some(address.into()),
                ..LastAttempt::default()
            });
        }
        assert_eq!(trail.attempts(), 2);
        assert_eq!(trail.last().endpoint.as_deref(), Some("b:2"));
    }
}
