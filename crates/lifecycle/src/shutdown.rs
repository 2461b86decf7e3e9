//! The drain signal.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Forced,
}

/// Tells those who hold a [`Shutdown`] to drain, then to stop at once.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<Phase>);

/// A signal that can be awaited. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

impl Shutdown {
    /// A signal and its trigger. A trigger that is dropped counts as forced.
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// Whether the drain began.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// Resolves when the drain begins: accept nothing new, finish what is in flight.
    pub async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Resolves when waiting is over: drop what is in flight.
    pub async fn forced(&self) {
        self.reached(Phase::Forced).await;
    }

    async fn reached(&self, phase: Phase) {
        // An error means that the trigger is gone, and then nobody waits for us any more.
        let _ = self.0.clone().wait_for(|now| *now >= phase).await;
    }
}

impl ShutdownTrigger {
    /// Begins the drain.
    pub fn begin_drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends the waiting.
    pub fn force(&self) {
        self.advance(Phase::Forced);
    }

    fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = *now < phase;
            *now = (*now).max(phase);
            later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_advance() {
        let (trigger, shutdown) = Shutdown::new();
        assert!(!shutdown.is_draining());
        trigger.begin_drain();
        shutdown.draining().await;
        trigger.force();
        trigger.begin_drain();
        shutdown.forced().await;
        assert!(shutdown.is_draining());
    }

    #[tokio::test]
    async fn a_lost_trigger_ends_the_waiting() {
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        shutdown.forced().await;
    }
}
