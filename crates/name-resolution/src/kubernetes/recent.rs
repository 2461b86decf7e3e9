//! What happened to a namespace a short while ago.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many namespaces are remembered at once.
const NAMESPACES: usize = 256;

/// Remembers namespaces for a while. Of more than there is room for some are not remembered.
#[derive(Debug)]
pub(super) struct Recent {
    lasts: Duration,
    noted: Mutex<HashMap<String, Instant>>,
}

impl Recent {
    /// `lasts` is for how long one is remembered.
    pub(super) fn new(lasts: Duration) -> Self {
        Self {
            lasts,
            noted: Mutex::default(),
        }
    }

    /// Whether the namespace is remembered.
    pub(super) fn has(&self, namespace: &str) -> bool {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.get(namespace).is_some_and(|at| at.elapsed() < self.lasts)
    }

    /// Remembers the namespace from now on, unless it is remembered: whether it was not.
    pub(super) fn note(&self, namespace: &str) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|_, at| at.elapsed() < self.lasts);
        if noted.contains_key(namespace) {
            return false;
        }
        if noted.len() < NAMESPACES {
            noted.insert(namespace.to_owned(), Instant::now());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_noted_is_forgotten_after_a_while() {
        let recent = Recent::new(Duration::from_secs(60));
        assert!(!recent.has("a") && recent.note("a") && recent.has("a"));
        assert!(!recent.has("b"));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(
            !recent.note("a"),
            "to be noted twice does not make it last longer"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!recent.has("a") && recent.note("a"));
        for namespace in 0..2 * NAMESPACES {
            recent.note(&namespace.to_string());
        }
        assert_eq!(recent.noted.lock().unwrap().len(), NAMESPACES);
    }
}
