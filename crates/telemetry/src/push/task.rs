//! The task that pushes.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::encode::{Span, messages, nanos};
use crate::metrics::Metrics;
use crate::traces::{Exporters, HttpPost, OtlpGrpc, Refused, Resource};

const SCOPE: &str = "dapr.runtime.diagnostics";

/// Metrics that are pushed. When it is dropped they go out once more, and no further.
#[derive(Debug)]
pub struct Pushing {
    _end: oneshot::Sender<()>,
}

/// Who is pushed to.
enum Destination {
    Grpc(OtlpGrpc),
    Http(HttpPost),
    /// One that takes so long for each message, and notes when it got them.
    #[cfg(test)]
    Slow(Duration, std::sync::Arc<std::sync::Mutex<Vec<Instant>>>),
}

/// Gathers and hands over.
pub(super) struct Worker {
    destination: Destination,
    /// Whether the last export failed, which the log has.
    is_failing: bool,
}

fn late() -> Result<(), String> {
    Err("it does not answer in time".to_owned())
}

impl Worker {
    pub(super) fn grpc(grpc: OtlpGrpc) -> Self {
        Self::new(Destination::Grpc(grpc))
    }

    pub(super) fn http(post: HttpPost) -> Self {
        Self::new(Destination::Http(post))
    }

    fn new(destination: Destination) -> Self {
        Self {
            destination,
            is_failing: false,
        }
    }

    pub(super) fn begin(
        mut self,
        metrics: &Metrics,
        resource: Resource,
        [interval, patience]: [Duration; 2],
        exporters: &Exporters,
    ) -> Pushing {
        let (end, mut ended) = oneshot::channel();
        let metrics = metrics.clone();
        exporters.tasks().spawn(async move {
            let mut next = Instant::now() + interval;
            loop {
                tokio::select! {
                    _ = &mut ended => break,
                    () = sleep_until(next) => {}
                }
                let exported = tokio::select! {
                    // What is on its way is in the last export, too, and a collector that hangs must not hold up the end.
                    _ = &mut ended => break,
                    exported = timeout(patience, self.export(&metrics, &resource)) => exported,
                };
                self.tell(exported.unwrap_or_else(|_| late()));
                // What was missed is not caught up with.
                next = (next + interval).max(Instant::now());
            }
            let exported = timeout(patience, self.export(&metrics, &resource)).await;
            self.tell(exported.unwrap_or_else(|_| late()));
        });
        Pushing { _end: end }
    }

    async fn export(&self, metrics: &Metrics, resource: &Resource) -> Result<(), String> {
        let (metrics, resource) = (metrics.clone(), resource.clone());
        // It reads files of the system and makes large messages.
        let gathered = tokio::task::spawn_blocking(move || {
            let span = Span {
                start: nanos(metrics.began()),
                now: nanos(SystemTime::now()),
            };
            messages(&resource, &metrics.gather(), span)
        });
        for message in gathered.await.map_err(|error| error.to_string())? {
            self.send(message).await.map_err(|refused| refused.why)?;
        }
        Ok(())
    }

    async fn send(&self, message: Bytes) -> Result<(), Refused> {
        match &self.destination {
            Destination::Grpc(grpc) => grpc.send(message).await,
            Destination::Http(post) => post.send(message).await,
            #[cfg(test)]
            Destination::Slow(time, got) => {
                got.lock().unwrap().push(Instant::now());
                tokio::time::sleep(*time).await;
                Ok(())
            }
        }
    }

    /// Says in the log when it does not work any more, and when it works again.
    fn tell(&mut self, exported: Result<(), String>) {
        match exported {
            Ok(()) if self.is_failing => {
                tracing::info!(target: SCOPE, "metrics are pushed again");
                self.is_failing = false;
            }
            Err(why) if !self.is_failing => {
                tracing::warn!(target: SCOPE, "metrics cannot be pushed: {why}");
                self.is_failing = true;
            }
            Ok(()) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
