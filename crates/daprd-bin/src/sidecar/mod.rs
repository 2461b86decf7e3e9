//! A sidecar from its start to its end.

mod access;
mod apis;
mod app;
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
mod policies;
mod ports;
mod security;
mod source;
mod start;
mod traces;

use std::time::Instant;

use lifecycle::{ShutdownRequest, shutdown_requests};
use telemetry::log::Log;

use crate::fatal::Fatal;
use crate::flags::{Flags, Options, Settings};
use crate::scope::SCOPE;
use crate::signals::{Request, Signals};
pub use ended::Ended;
use ended::Stop;
use given::Given;
use parts::Parts;
pub use security::check_security;
use start::start;

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
    let mut parts = Parts::new();
    let given = Given {
        flags,
        options,
        settings,
        log,
    };
    let waiting = parts.waiting.clone();
    let started = tokio::select! {
        started = start(given, requests, &mut parts, begun) => Some(started),
        request = signals.next() => {
            tell(request);
            match request {
                Request::Restart => None,
                Request::Stop(_) => {
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
            }
        }
    };
    match started {
        None => {
            parts.end_at_once().await;
            return Ok(None);
        }
        Some(Err(error)) => {
            parts.end_at_once().await;
            return Err(error);
        }
        Some(Ok(())) => {}
    }
    let stop = tokio::select! {
        request = signals.next() => {
            tell(request);
            match request {
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
    };
    if stop == Stop::Force {
        return Ok(Some(parts::force().await));
    }
    let ended = parts.stop(settings, stop, signals, &mut asked).await;
    Ok(if stop == Stop::Restart && ended == Ended::Gracefully {
        None
    } else {
        Some(ended)
    })
}

fn tell(request: Request) {
    match request {
        Request::Stop(name) => {
            tracing::info!(target: "dapr.signals", "Received signal '{name}'; beginning shutdown");
        }
        Request::Restart => tracing::info!(target: "dapr.signals", "Received signal 'hangup'; restarting"),
    }
}
