//! Requests to stop the process that come from inside: the shutdown API.

use tokio::sync::watch;

/// How the process is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownRequest {
    /// Finish what is in flight, then end with exit code 0.
    Graceful,
    /// End at once with exit code 1.
    Force,
}

/// Where an API asks for the end of the process. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ShutdownRequests(watch::Sender<Option<ShutdownRequest>>);

/// The owner's end. It holds one request: whoever asks again and again fills no queue.
#[derive(Debug)]
pub struct ShutdownReceiver(watch::Receiver<Option<ShutdownRequest>>);

/// The two ends: for the APIs, and for the owner of the process.
pub fn shutdown_requests() -> (ShutdownRequests, ShutdownReceiver) {
    let (sender, receiver) = watch::channel(None);
    (ShutdownRequests(sender), ShutdownReceiver(receiver))
}

impl ShutdownRequests {
    /// Asks for the end. Nothing happens when the process is ending already.
    ///
    /// A request that nobody has received yet is replaced, except that nothing takes [`ShutdownRequest::Force`] back.
    pub fn send(&self, request: ShutdownRequest) {
        self.0.send_if_modified(|last| {
            let is_new = *last != Some(ShutdownRequest::Force);
            if is_new {
                *last = Some(request);
            }
            is_new
        });
    }
}

impl ShutdownReceiver {
    /// The next request; `None` when nobody can ask any more. A call that is dropped loses none.
    pub async fn recv(&mut self) -> Option<ShutdownRequest> {
        self.0.changed().await.ok()?;
        *self.0.borrow_and_update()
    }
}

#[cfg(test)]
mod tests {
    use ShutdownRequest::{Force, Graceful};

    use super::*;

    #[tokio::test]
    async fn many_requests_are_one_and_the_strongest_stays() {
        let (requests, mut asked) = shutdown_requests();
        for _ in 0..1000 {
            requests.send(Graceful);
        }
        assert_eq!(asked.recv().await, Some(Graceful));
        requests.send(Graceful);
        requests.send(Force);
        requests.send(Graceful);
        assert_eq!(asked.recv().await, Some(Force));
        drop(requests);
        assert_eq!(asked.recv().await, None);
    }
}
