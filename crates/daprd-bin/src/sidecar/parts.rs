//! What runs in a sidecar, and how it ends.

use std::time::Duration;

use app_channel::AppHealth;
use lifecycle::{
    Latch, Readiness, Shutdown, ShutdownReceiver, ShutdownRequest, ShutdownTrigger, StartupWait, Tasks,
};
use tokio::time::Instant;
use transport::Descriptors;

use super::ended::{Ended, Stop};
use super::names::Directory;
use super::pushed::Pushed;
use super::reload::Ends;
use crate::flags::Settings;
use crate::scope::SCOPE;
use crate::signals::Signals;

/// What runs, and what ends it.
pub(super) struct Parts {
    /// Servers and what belongs to them.
    pub(super) tasks: Tasks,
    /// Connections to apps and peers: they outlive the servers, whose calls use them.
    pub(super) connections: Tasks,
    /// Those who export spans: they end when everybody has left them what was recorded.
    pub(super) exporters: Tasks,
    /// Metrics that are pushed.
    pub(super) pushed: Pushed,
    pub(super) readiness: Readiness,
    trigger: ShutdownTrigger,
    pub(super) shutdown: Shutdown,
    /// Whom the start waits for.
    pub(super) waiting: StartupWait,
    /// Where others find this sidecar, once it is registered.
    pub(super) directory: Option<Directory>,
    /// The health of the app, once the start is over.
    pub(super) app: Option<AppHealth>,
    pub(super) server_latches: Vec<Latch>,
    /// Where HTTP is served.
    pub(super) http_addresses: Vec<String>,
    /// What the connections of callers may take.
    pub(super) descriptors: Descriptors,
    /// For whoever puts changes in place, until that one is there.
    pub(super) reloads: Option<Ends>,
}

impl Parts {
    /// Nothing runs yet.
    pub(super) fn new(reloads: Ends) -> Self {
        let (trigger, shutdown) = Shutdown::new();
        Self {
            tasks: Tasks::new(),
            connections: Tasks::new(),
            exporters: Tasks::new(),
            pushed: Pushed::default(),
            readiness: Readiness::new(),
            trigger,
            shutdown,
            waiting: StartupWait::default(),
            directory: None,
            app: None,
            server_latches: Vec::new(),
            http_addresses: Vec::new(),
            descriptors: Descriptors::of_process(),
            reloads: Some(reloads),
        }
    }

    /// Ends a sidecar that has not served yet.
    pub(super) async fn end_at_once(&self) {
        if let Some(directory) = &self.directory {
            directory.close().await;
        }
        self.trigger.begin_drain();
        self.trigger.force();
        self.tasks.abort_all();
        self.connections.abort_all();
        self.exporters.abort_all();
        self.tasks.wait().await;
    }

    /// Ends a sidecar that serves.
    pub(super) async fn stop(
        &mut self,
        settings: &Settings,
        stop: Stop,
        signals: &mut Signals,
        asked: &mut ShutdownReceiver,
    ) -> Ended {
        let impatient = async {
            let name = signals.next_stop().await;
            Ended::BySignalDuringShutdown(format!(
                "Received signal '{name}' during shutdown; exiting immediately"
            ))
        };
        let forced = async {
            while let Some(request) = asked.recv().await {
                if request == ShutdownRequest::Force {
                    return force().await;
                }
            }
            // Nobody is left who could ask.
            std::future::pending().await
        };
        let drained = async {
            if stop == Stop::BySignal {
                self.block(settings).await;
            }
            self.drain(settings.grace).await
        };
        tokio::select! {
            ended = drained => ended,
            ended = impatient => ended,
            ended = forced => ended,
        }
    }

    /// Goes on as before for a while, if that is wanted.
    async fn block(&self, settings: &Settings) {
        let Some(duration) = settings.block_shutdown else {
            return;
        };
        let shown = go_text::format_duration(duration);
        tracing::info!(
            target: SCOPE,
            "Blocking graceful shutdown for {shown} or until app reports unhealthy..."
        );
        let unhealthy = async {
            match (&self.app, settings.app.port) {
                (Some(app), _) => app.unhealthy().await,
                // An app that was never there is not healthy.
                (None, Some(_)) => {}
                (None, None) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = unhealthy => {
                tracing::info!(target: SCOPE, "App reported unhealthy, entering shutdown...");
            }
            () = tokio::time::sleep(duration) => {
                tracing::info!(target: SCOPE, "Block shutdown period expired, entering shutdown...");
            }
        }
    }

    /// Others are told first; then nothing new is accepted; then what is in flight ends. The grace period bounds
    /// the whole of it.
    async fn drain(&self, grace: Option<Duration>) -> Ended {
        tracing::info!(target: SCOPE, "Dapr is shutting down");
        for latch in &self.server_latches {
            latch.not_ready();
        }
        self.say_closing();
        let until = grace.map(|grace| Instant::now() + grace);
        let finish = async {
            if let Some(directory) = &self.directory {
                directory.close().await;
            }
            self.trigger.begin_drain();
            self.tasks.wait().await;
        };
        let in_time = match grace {
            None => {
                finish.await;
                true
            }
            Some(grace) => tokio::time::timeout(grace, finish).await.is_ok(),
        };
        if !in_time {
            return Ended::Fatally("Graceful shutdown timeout exceeded, forcing shutdown".to_owned());
        }
        self.flush(until).await;
        self.connections.abort_all();
        self.connections.wait().await;
        tracing::info!(target: SCOPE, "Dapr runtime stopped");
        Ended::Gracefully
    }
}

impl Parts {
    /// Says which ports of HTTP are closed.
    pub(super) fn say_closing(&self) {
        for address in &self.http_addresses {
            tracing::info!(target: "dapr.runtime.http", "Closing HTTP server {address}…");
        }
    }

    /// Waits for those who export spans and metrics, but not beyond the grace period: a collector that does not answer is
    /// no reason to fail.
    async fn flush(&self, until: Option<Instant>) {
        self.pushed.end();
        if self.exporters.is_empty() {
            return;
        }
        end_exporters(&self.exporters, until).await;
    }
}

/// How long collectors are waited for where the grace period has no end.
const LONGEST_FLUSH: Duration = Duration::from_secs(30);

async fn end_exporters(exporters: &Tasks, until: Option<Instant>) {
    let until = until.unwrap_or_else(|| Instant::now() + LONGEST_FLUSH);
    if tokio::time::timeout_at(until, exporters.wait()).await.is_err() {
        tracing::warn!(target: SCOPE, "spans are lost: their collector took longer than the shutdown may");
        exporters.abort_all();
    }
}

/// Ends at once, after the answer to the request went out.
pub(super) async fn force() -> Ended {
    tracing::warn!(
        target: SCOPE,
        "Force shutdown requested, exiting immediately without graceful shutdown"
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ended::Forced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_does_not_answer_is_not_waited_for_for_ever() {
        for (grace, wanted) in [(None, LONGEST_FLUSH), (Some(5), Duration::from_secs(5))] {
            let exporters = Tasks::new();
            exporters.spawn(std::future::pending());
            let begun = Instant::now();
            let until = grace.map(|seconds| begun + Duration::from_secs(seconds));
            end_exporters(&exporters, until).await;
            // The clock goes on in steps of a millisecond.
            let took = begun.elapsed();
            assert!(
                (wanted..wanted + Duration::from_millis(10)).contains(&took),
                "{grace:?} {took:?}"
            );
            exporters.wait().await;
        }
    }
}
