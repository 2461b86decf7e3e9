//! A sidecar from its start to its end.

mod access;
mod apis;
mod app;
mod capabilities;
mod changes;
mod components;
mod doors;
mod enabled;
mod ended;
mod endpoints;
mod generation;
mod given;
mod kube_store;
mod metrics;
mod middleware;
mod names;
mod notices;
mod parts;
mod placeholders;
mod policies;
mod ports;
mod pushed;
mod reload;
mod reuse;
mod security;
mod sent;
mod source;
mod start;
mod traces;
mod watch;
mod watcher;

use std::pin::Pin;
use std::time::Instant;

use lifecycle::{ShutdownReceiver, ShutdownRequest, shutdown_requests};
use telemetry::log::Log;

use crate::fatal::Fatal;
use crate::flags::{Flags, Options, Settings};
use crate::scope::SCOPE;
use crate::signals::{Request, Signals};
pub use access::lists_of as api_lists_of;
pub use components::usable as check_component;
pub use ended::Ended;
use ended::Stop;
pub use endpoints::settings_of as endpoint_settings;
use given::CommandLine;
pub use kube_store::is_one as is_kubernetes_store;
pub use metrics::rules as metric_rules;
pub use names::NamesError;
use parts::Parts;
use reload::Owner;
pub use reuse::{ReuseBounds, ReuseError};
pub use security::check_security;
use start::start;
pub use traces::{plan as trace_plan, push_plan};

/// Runs a sidecar until it ends; `None` asks for another one.
pub async fn run(
    flags: &Flags,
    options: &Options,
    settings: &Settings,
    log: &Log,
    signals: &mut Signals,
) -> Result<Option<Ended>, Fatal> {
    let begun = Instant::now();
    let (requests, mut asked) = shutdown_requests();
    let (mut reloads, ends) = reload::ends();
    let mut parts = Parts::new(ends);
    let given = CommandLine {
        flags,
        options,
        settings,
        log,
    };
    let waiting = parts.waiting.clone();
    let first = begin(
        Box::pin(start(given, requests, &mut parts, begun)),
        signals,
        &mut reloads,
    )
    .await;
    let (stop, fatal) = match first {
        First::Started(Ok(())) => serve(signals, &mut reloads, &mut asked).await,
        First::Started(Err(error)) => {
            parts.end_at_once().await;
            return Err(error);
        }
        First::Restart => {
            parts.end_at_once().await;
            return Ok(None);
        }
        First::Stop => {
            tracing::info!(target: SCOPE, "Dapr is shutting down");
            parts.say_closing();
            parts.end_at_once().await;
            tracing::info!(target: SCOPE, "Dapr runtime stopped");
            // Without somebody whom it needs a sidecar has not started, whoever ends it.
            return match waiting.reason() {
                Some(reason) => Err(Fatal::Interrupted(reason)),
                None => Ok(Some(Ended::Gracefully)),
            };
        }
        First::Fault(fatal) => (Stop::ByFault, Some(fatal)),
    };
    if stop == Stop::Force {
        return Ok(Some(parts::force().await));
    }
    let ended = parts.stop(settings, stop, signals, &mut asked).await;
    if let Some(fatal) = fatal.or_else(|| reloads.fatal()) {
        return Err(fatal);
    }
    Ok(if stop == Stop::Restart && ended == Ended::Gracefully {
        None
    } else {
        Some(ended)
    })
}

/// What comes first of a start.
enum First {
    Started(Result<(), Fatal>),
    Restart,
    Stop,
    Fault(Fatal),
}

async fn begin(
    mut start: Pin<Box<impl Future<Output = Result<(), Fatal>>>>,
    signals: &mut Signals,
    reloads: &mut Owner,
) -> First {
    loop {
        tokio::select! {
            started = &mut start => return First::Started(started),
            request = signals.next() => {
                tell(request);
                match request {
                    // Who serves already, and waits for its app, goes on with that.
                    Request::Restart if reloads.hang_up() => {}
                    Request::Restart => return First::Restart,
                    Request::Stop(_) => return First::Stop,
                }
            }
            fatal = reloads.fault() => return First::Fault(fatal),
        }
    }
}

/// Waits for the reason to stop.
async fn serve(
    signals: &mut Signals,
    reloads: &mut Owner,
    asked: &mut ShutdownReceiver,
) -> (Stop, Option<Fatal>) {
    loop {
        let stop = tokio::select! {
            request = signals.next() => {
                tell(request);
                match request {
                    Request::Restart if reloads.hang_up() => continue,
                    Request::Restart => Stop::Restart,
                    Request::Stop(_) => Stop::BySignal,
                }
            }
            request = asked.recv() => match request {
                Some(ShutdownRequest::Force) => Stop::Force,
                Some(ShutdownRequest::Graceful) | None => {
                    tracing::info!(target: "dapr.api", "Shutdown requested via API");
                    Stop::ByApi
                }
            },
            fatal = reloads.fault() => return (Stop::ByFault, Some(fatal)),
        };
        return (stop, None);
    }
}

fn tell(request: Request) {
    match request {
        Request::Stop(name) => {
            tracing::info!(target: "dapr.signals", "Received signal '{name}'; beginning shutdown");
        }
        Request::Restart => tracing::info!(target: "dapr.signals", "Received signal 'hangup'; restarting"),
    }
}
