//! Trust that ends while connections are open which were made on the strength of it.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts how often somebody ceased to be trusted. Connections that were made before are used no more then: their calls
/// finish, and new ones go to connections on which both sides are verified anew. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Withdrawals(Arc<watch::Sender<u64>>);

impl Default for Withdrawals {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Withdrawals {
    /// Somebody is not trusted any more.
    pub fn withdraw(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// How often that was so.
    pub fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits until it was so more often than this.
    pub(crate) async fn after(self, count: u64) {
        let mut told = self.0.subscribe();
        // It cannot close while `self` is here.
        let _ = told.wait_for(|now| *now > count).await;
    }
}
