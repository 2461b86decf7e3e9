//! What calls have learnt about the sidecar at an endpoint.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Shared by all copies of an endpoint. It is no part of what an endpoint is: two of them are equal whatever was learnt.
#[derive(Clone, Debug, Default)]
pub(super) struct Learnt(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// In bytes, 0 while nothing was told.
    longest_message: AtomicUsize,
    /// What only the client that made it can name.
    kept: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Learnt {
    pub(super) fn longest_message(&self) -> Option<usize> {
        match self.0.longest_message.load(Ordering::Relaxed) {
            0 => None,
            bytes => Some(bytes),
        }
    }

    pub(super) fn set_longest_message(&self, bytes: Option<usize>) {
        let bytes = bytes.unwrap_or(0);
        let longest_message = &self.0.longest_message;
        // Calls share this word, and nearly all find in it what they know.
        if longest_message.load(Ordering::Relaxed) != bytes {
            longest_message.store(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn kept<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.kept.get_or_init(|| Box::new(make())).downcast_ref()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learnt")
            .field("longest_message", &self.longest_message)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Learnt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Learnt {}

impl Hash for Learnt {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
