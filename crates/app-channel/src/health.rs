//! Whether the app is healthy, as its probes say.

mod probe;

use std::sync::Arc;
use std::time::Duration;

use lifecycle::Shutdown;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

pub use probe::Probe;

const SCOPE: &str = "dapr.apphealth";

/// How often an app is probed, and how many failures make it unhealthy.
#[derive(Clone, Copy, Debug)]
pub struct ProbeSettings {
    /// From the beginning of one probe to that of the next.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// After how many failures in a row the app is unhealthy.
    pub threshold: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The start is not over: calls are tried.
    Starting,
    Unhealthy,
    Healthy,
}

/// The health of an app. Cloning shares it.
#[derive(Clone, Debug)]
pub struct AppHealth(Arc<watch::Sender<State>>);

impl Default for AppHealth {
    /// Nobody has looked yet.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::Starting)))
    }
}

impl AppHealth {
    /// Whether calls are let through: unless probes say otherwise, they are.
    pub fn admits(&self) -> bool {
        *self.0.borrow() != State::Unhealthy
    }

    /// The app is there, and nobody probes it.
    pub fn assume_healthy(&self) {
        self.0.send_replace(State::Healthy);
    }

    /// From now on the app is unhealthy until a probe says otherwise.
    pub fn await_first_probe(&self) {
        self.0.send_replace(State::Unhealthy);
    }

    /// Waits until the app is healthy.
    pub async fn healthy(&self) {
        self.reached(|state| state == State::Healthy).await;
    }

    /// Waits until the app is anything but healthy.
    pub async fn unhealthy(&self) {
        self.reached(|state| state != State::Healthy).await;
    }

    async fn reached(&self, is_wanted: impl Fn(State) -> bool) {
        // The sender is here, so there is no error.
        let _ = self.0.subscribe().wait_for(|state| is_wanted(*state)).await;
    }

    /// Probes the app until the drain begins; then its health stays as it is.
    pub async fn watch(self, probe: Probe, settings: ProbeSettings, shutdown: Shutdown) {
        tracing::info!(target: SCOPE, "App health probes starting");
        let probing = async {
            let mut failures = settings.threshold;
            let mut ticks = interval(settings.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                self.note(
                    probe.run(settings.timeout).await,
                    &mut failures,
                    settings.threshold,
                );
            }
        };
        tokio::select! {
            () = shutdown.draining() => {}
            () = probing => {}
        }
        tracing::info!(target: SCOPE, "App health probes stopping");
    }

    /// A single success makes an app healthy; only failures in a row make it unhealthy.
    fn note(&self, outcome: Result<(), String>, failures: &mut u32, threshold: u32) {
        let was_healthy = *self.0.borrow() == State::Healthy;
        match outcome {
            Ok(()) => {
                *failures = 0;
                if !was_healthy {
                    tracing::info!(target: SCOPE, "App entered healthy status");
                    self.0.send_replace(State::Healthy);
                }
            }
            Err(reason) => {
                *failures = failures.saturating_add(1);
                if was_healthy && *failures >= threshold {
                    tracing::warn!(target: SCOPE, "App entered un-healthy status: {reason}");
                    self.0.send_replace(State::Unhealthy);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_in_a_row_count() {
        let health = AppHealth::default();
        assert!(health.admits(), "a start that is not over hinders nobody");
        health.await_first_probe();
        assert!(!health.admits());
        let mut failures = 3;
        for (outcome, is_healthy) in [
            (false, false),
            (true, true),
            (false, true),
            (false, true),
            (true, true),
            (false, true),
            (false, true),
            (false, false),
            (false, false),
            (true, true),
        ] {
            let outcome = outcome.then_some(()).ok_or_else(|| "down".to_owned());
            health.note(outcome, &mut failures, 3);
            assert_eq!(health.admits(), is_healthy);
        }
    }

    #[tokio::test]
    async fn changes_can_be_awaited() {
        let health = AppHealth::default();
        health.unhealthy().await;
        health.assume_healthy();
        health.healthy().await;
        health.await_first_probe();
        health.unhealthy().await;
    }
}
