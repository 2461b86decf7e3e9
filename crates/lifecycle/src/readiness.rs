//! Who is not ready yet.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The list behind `/v1.0/healthz`. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    unready: AtomicUsize,
    latches: Mutex<Vec<(&'static str, Arc<AtomicBool>)>>,
}

/// One name on the list. It is not ready until it says so.
#[derive(Debug)]
pub struct Latch {
    list: Readiness,
    is_ready: Arc<AtomicBool>,
}

impl Readiness {
    /// An empty list: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a name on the list, not ready.
    pub fn register(&self, name: &'static str) -> Latch {
        let is_ready = Arc::new(AtomicBool::new(false));
        self.0.unready.fetch_add(1, Ordering::SeqCst);
        let mut latches = self.0.latches.lock().unwrap_or_else(PoisonError::into_inner);
        latches.push((name, Arc::clone(&is_ready)));
        Latch {
            list: self.clone(),
            is_ready,
        }
    }

    /// Whether nobody is unready. Takes no lock.
    pub fn is_ready(&self) -> bool {
        self.0.unready.load(Ordering::SeqCst) == 0
    }

    /// Who is not ready, in the order of registration.
    pub fn unready(&self) -> Vec<&'static str> {
        let latches = self.0.latches.lock().unwrap_or_else(PoisonError::into_inner);
        latches
            .iter()
            .filter(|(_, ready)| !ready.load(Ordering::SeqCst))
            .map(|(name, _)| *name)
            .collect()
    }
}

impl Latch {
    /// Says that this one is ready.
    pub fn ready(&self) {
        if !self.is_ready.swap(true, Ordering::SeqCst) {
            self.list.0.unready.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Says that this one is not ready any more.
    pub fn not_ready(&self) {
        if self.is_ready.swap(false, Ordering::SeqCst) {
            self.list.0.unready.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latch_counts_once() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let runtime = readiness.register("runtime");
        let server = readiness.register("grpc-api-server");
        assert_eq!(readiness.unready(), ["runtime", "grpc-api-server"]);
        runtime.ready();
        runtime.ready();
        assert_eq!(readiness.unready(), ["grpc-api-server"]);
        server.ready();
        assert!(readiness.is_ready());
        server.not_ready();
        server.not_ready();
        assert!(!readiness.is_ready());
        server.ready();
        assert!(readiness.is_ready());
    }
}
