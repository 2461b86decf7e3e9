//! What is done while a server that is asked again and again does not answer as it should: pauses that grow, one warning,
//! and an end to trusting what was known.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause after a failure, and the longest.
pub(crate) const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// For how long what was found goes on to count while the server says nothing new.
pub(crate) const STALE: Duration = Duration::from_secs(600);

/// Failures in a row.
#[derive(Debug)]
pub(crate) struct Trouble {
    component: &'static str,
    /// Since when nothing was heard.
    since: Option<Instant>,
    count: u32,
}

impl Trouble {
    /// None yet. `component` is the name in the log.
    pub(crate) fn new(component: &'static str) -> Self {
        Self {
            component,
            since: None,
            count: 0,
        }
    }

    /// The server said what is the case now. Whether it goes on to work is another question: pauses stay long until
    /// [`over`](Self::over).
    #[cfg(feature = "kubernetes")]
    pub(crate) fn heard(&mut self) {
        self.since = None;
    }

    /// The server works again.
    pub(crate) fn over(&mut self) {
        (self.since, self.count) = (None, 0);
    }

    /// Whether what was known is too old to count.
    pub(crate) fn is_stale(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= STALE)
    }

    /// How long to wait after one more failure. The first one is logged as a warning.
    pub(crate) fn next(&mut self, failure: &str) -> Duration {
        let component = self.component;
        self.since.get_or_insert_with(Instant::now);
        if self.count == 0 {
            tracing::warn!(target: "dapr.contrib", component, "{failure}; it is tried again");
        } else {
            tracing::debug!(target: "dapr.contrib", component, "{failure}; it is tried again");
        }
        let (first, longest) = BACK_OFF;
        let pause = first.saturating_mul(1 << self.count.min(16)).min(longest);
        self.count = self.count.saturating_add(1);
        // Half of it is chance, so that the sidecars of a host do not come back at once.
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_bound_and_differ() {
        let mut trouble = Trouble::new("test");
        for wanted in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let pause = trouble.next("failed");
            let wanted = Duration::from_millis(wanted);
            assert!(pause >= wanted / 2 && pause <= wanted, "{pause:?} {wanted:?}");
        }
        let many: std::collections::HashSet<_> = (0..10).map(|_| trouble.next("failed")).collect();
        assert!(many.len() > 5, "{many:?}");
        trouble.over();
        assert!(trouble.next("failed") <= BACK_OFF.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_heard_between_two_failures_keeps_it_fresh() {
        let mut trouble = Trouble::new("test");
        trouble.next("failed");
        advance(STALE / 2).await;
        trouble.over();
        trouble.next("failed");
        advance(STALE * 2 / 3).await;
        assert!(!trouble.is_stale());
        advance(STALE / 2).await;
        assert!(trouble.is_stale());
    }
}
