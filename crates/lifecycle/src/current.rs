//! A value that is replaced as a whole while others use it.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// The current one of a row of values. Cloning shares it.
///
/// A user takes the value once and keeps it for the whole of its work: nothing changes under it. Replacing the value is
/// one store. The old value is dropped with its last user.
#[derive(Debug)]
pub struct Current<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Current<T> {
    /// The first value.
    pub fn new(first: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// The value that is current now.
    pub fn take(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Puts the next one in place.
    pub fn replace(&self, next: T) {
        self.0.store(Arc::new(next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_stays() {
        let current = Current::new(1);
        let taken = current.take();
        current.clone().replace(2);
        assert_eq!((*taken, *current.take()), (1, 2));
    }
}
