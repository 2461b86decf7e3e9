//! What makes a sidecar read again: files, the operator, the clock.

use std::collections::HashSet;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Shutdown, Tasks};
use operator::{Event, Kind};
use resources::Configuration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::reload::{RECONCILER, Reloader, SCOPE, Why};
use super::source::Source;
use super::watcher::Watcher;

/// How often all is read again, in case that something was missed.
const INTERVAL: Duration = Duration::from_secs(60);
/// As many events may wait while others are put in place.
const EVENTS: usize = 64;

/// Whether changes are looked for.
pub(super) fn is_enabled(configuration: &Configuration) -> bool {
    configuration
        .enabled_features()
        .iter()
        .any(|feature| feature == "HotReload")
}

/// What is listened to.
pub(super) enum Watch {
    /// Nothing: the feature is off.
    Off,
    On {
        files: Option<Watcher>,
        events: Option<mpsc::Receiver<Event>>,
        interval: Duration,
        next: Instant,
    },
}

impl Watch {
    pub(super) fn begin(reloader: &Reloader, shutdown: &Shutdown) -> Self {
        if !is_enabled(&reloader.found.configuration) {
            tracing::debug!(target: SCOPE, "Hot reloading disabled");
            return Self::Off;
        }
        tracing::info!(
            target: SCOPE,
            "Hot reloading enabled. Daprd will reload 'Component', 'Configuration', 'HTTPEndpoint' and 'Resiliency' \
             resources when they are added, updated or deleted."
        );
        let flags = &reloader.owned.flags;
        let (files, events) = match &*reloader.source {
            Source::Folders(files) => (watcher(&files.paths, &flags.list("config")), None),
            Source::Operator(_) => (
                None,
                Some(listen(&reloader.source, &reloader.lasting.connections, shutdown)),
            ),
        };
        tracing::info!(target: RECONCILER, "Starting to watch Component updates");
        for kind in ["Configuration", "HTTPEndpoint", "Resiliency"] {
            tracing::info!(target: RECONCILER, "Starting to watch {kind} updates for SIGHUP reload");
        }
        let given = go_text::parse_duration(flags.text("hot-reload-reconcile-interval")).ok();
        let given = given
            .and_then(|nanos| u64::try_from(nanos).ok())
            .filter(|nanos| *nanos > 0);
        let interval = given.map_or(INTERVAL, Duration::from_nanos);
        Self::On {
            files,
            events,
            interval,
            next: Instant::now() + interval,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        matches!(self, Self::On { .. })
    }

    /// The next reason to read again.
    pub(super) async fn next(&mut self) -> Why {
        let Self::On {
            files, events, next, ..
        } = self
        else {
            return pending().await;
        };
        let changed = async {
            match files {
                Some(files) => files.changed().await,
                None => pending().await,
            }
        };
        let told = async {
            match events {
                Some(events) => match events.recv().await {
                    Some(event) => event,
                    None => pending().await,
                },
                None => pending().await,
            }
        };
        tokio::select! {
            () = changed => Why::Changed,
            event = told => Why::Told(event),
            () = sleep_until(*next) => Why::Schedule,
        }
    }

    /// The time until the next look begins.
    pub(super) fn rest(&mut self) {
        if let Self::On { interval, next, .. } = self {
            *next = Instant::now() + *interval;
        }
    }

    /// The files that somebody is writing.
    pub(super) fn writing(&self) -> HashSet<PathBuf> {
        match self {
            Self::On {
                files: Some(files), ..
            } => files.writing(),
            _ => HashSet::new(),
        }
    }

    pub(super) fn renew(&mut self) {
        if let Self::On {
            files: Some(files), ..
        } = self
        {
            files.renew();
        }
    }
}

/// A watcher; without one all is read again from time to time.
fn watcher(folders: &[String], files: &[String]) -> Option<Watcher> {
    if folders.is_empty() && files.is_empty() {
        return None;
    }
    tracing::info!(
        target: "dapr.runtime.hotreload.loader.disk",
        "Watching directories: [{}]", folders.join(", ")
    );
    match Watcher::new(folders, files) {
        Ok(watcher) => Some(watcher),
        Err((folder, error)) => {
            tracing::warn!(
                target: SCOPE,
                "failed to create watcher: failed to add target {}: {error}; changes are only seen from time to time",
                folder.display()
            );
            None
        }
    }
}

/// The streams of the operator, each until the sidecar stops or nobody listens any more.
fn listen(source: &Arc<Source>, connections: &Tasks, shutdown: &Shutdown) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(EVENTS);
    for kind in Kind::ALL {
        let (source, shutdown, sender) = (Arc::clone(source), shutdown.clone(), sender.clone());
        connections.spawn(async move {
            let Source::Operator(kubernetes) = &*source else {
                return;
            };
            tokio::select! {
                () = shutdown.draining() => {}
                () = sender.closed() => {}
                () = kubernetes.operator.watch(kind, &kubernetes.namespace, &sender) => {}
            }
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use integration_tests::operator::{OperatorAnswer, Pushed};
    use integration_tests::sentry::Sentry;
    use tokio::sync::broadcast;
    use tokio::time::sleep;

    use super::*;
    use crate::sidecar::sent::tests::kubernetes;

    /// Whoever puts changes in place takes long. Some changes wait here, all others with the operator, and none is lost.
    #[tokio::test]
    async fn few_changes_wait_and_none_is_lost() {
        const CHANGES: usize = 300;
        let sentry = Sentry::start().await;
        let streams: HashMap<&str, broadcast::Sender<Pushed>> =
            ["Component", "Configuration", "HTTPEndpoint", "Resiliency"]
                .map(|kind| (kind, broadcast::Sender::new(CHANGES)))
                .into();
        let pushed = streams["Component"].clone();
        let (_operator, kubernetes) = kubernetes(&sentry, move |asked| {
            let kind = asked.method.strip_suffix("Update").unwrap_or_default();
            OperatorAnswer::Events(streams[kind].clone())
        })
        .await;
        let source = Arc::new(Source::Operator(Box::new(kubernetes)));
        let (_trigger, shutdown) = Shutdown::new();
        let connections = Tasks::new();
        let mut waiting = listen(&source, &connections, &shutdown);
        while pushed.receiver_count() < 1 {
            sleep(Duration::from_millis(1)).await;
        }
        for number in 0..CHANGES {
            let json = format!("{{\"metadata\":{{\"name\":\"{number}\"}}}}");
            pushed.send(Pushed::Event(1, json)).unwrap();
        }
        while waiting.len() < EVENTS {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(waiting.max_capacity(), EVENTS);
        let mut changes = 0;
        while changes < CHANGES {
            let event = waiting.recv().await.unwrap();
            changes += usize::from(matches!(event, Event::Changed(..)));
        }
    }
}
