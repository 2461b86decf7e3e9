//! Requests to stop the process that come from inside: the shutdown API.

use tokio::sync::mpsc;

/// How the process is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownRequest {
    /// Finish what is in flight, then end with exit code 0.
    Graceful,
    /// End at once with exit code 1.
    Force,
}

/// Where an API asks for the end of the process.
#[derive(Clone, Debug)]
pub struct ShutdownRequests(mpsc::UnboundedSender<ShutdownRequest>);

/// The two ends: for the APIs, and for the owner of the process.
pub fn shutdown_requests() -> (ShutdownRequests, mpsc::UnboundedReceiver<ShutdownRequest>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (ShutdownRequests(sender), receiver)
}

impl ShutdownRequests {
    /// Asks for the end. Nothing happens when the process is ending already.
    pub fn send(&self, request: ShutdownRequest) {
        // The receiver is gone only when the process ends.
        let _ = self.0.send(request);
    }
}
