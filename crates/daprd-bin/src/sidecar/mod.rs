//! A sidecar from its start to its end.

mod access;
mod apis;
mod app;
mod components;
mod endpoints;
mod kube_store;
mod names;
mod parts;
mod security;
mod source;
mod start;

use std::io;
use std::time::{Duration, Instant};

use access_control::{BrokenPolicies, Policy};
use app_channel::{App, External};
use identity::{IdentityError, SpiffeError};
use internal_grpc::Client;
use invoke_core::{BuiltInRetry, Outbound};
use lifecycle::{ShutdownRequest, shutdown_requests};
use name_resolution::host;
use operator::OperatorError;
use resources::ConfigurationError;
use telemetry::log::Log;
use telemetry::server::MetricsError;
use thiserror::Error;
use transport::listen::BindError;

use crate::flags::{Flags, Options, Settings};
use crate::observer::Observers;
use crate::signals::{Request, Signals};
use parts::Parts;
pub use security::check_security;
use start::start;

/// The scope of log lines about the sidecar as a whole.
pub const SCOPE: &str = "dapr.runtime";

/// What keeps a sidecar from running, printed after `Fatal error from runtime: `.
#[derive(Debug, Error)]
pub enum Fatal {
    /// The process cannot have what it needs of the operating system.
    #[error("{0}")]
    Runtime(#[source] io::Error),
    /// The flags contradict each other, or a value cannot be.
    #[error("{0}")]
    Settings(String),
    /// Sidecars in Kubernetes must not be root.
    #[error(
        "current user UID(0) is root. Dapr must be run as a non-root user in Kubernetes environments. To override \
         this check, set the environment variable 'DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK=true'"
    )]
    Root,
    /// The control plane has no trust domain.
    #[error("control plane trust domain is required")]
    NoTrustDomain,
    /// It has one that cannot be.
    #[error("invalid control plane trust domain: {0}")]
    TrustDomain(#[source] SpiffeError),
    /// The operator is to be asked by a sidecar that cannot prove who it is.
    #[error("the operator cannot be asked without an identity")]
    NoIdentity,
    /// There is no certificate to show, or nobody to trust.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The configuration cannot be used.
    #[error("error loading configuration: {0}")]
    Configuration(#[from] ConfigurationError),
    /// The operator cannot be reached.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The operator has no such configuration.
    #[error("error loading configuration: {0}")]
    OperatorConfiguration(#[source] OperatorError),
    /// The access control policies of the configuration cannot be used.
    #[error(transparent)]
    Policies(#[from] BrokenPolicies),
    /// The address of the host is not known.
    #[error("failed to determine host address: {0}")]
    HostAddress(#[from] host::NoAddress),
    /// The metrics port cannot be opened.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// None of the listen addresses can be bound.
    #[error("could not listen on any endpoint")]
    NoListener,
    /// None of the listen addresses can be bound for profiling.
    #[error("could not listen on any endpoint for profiling API")]
    NoProfilingListener,
    /// A socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A server cannot be started.
    #[error("failed to start {server}: {source}")]
    Server {
        /// Which.
        server: &'static str,
        /// Why not.
        source: Box<Fatal>,
    },
    /// TLS to the app cannot be set up.
    #[error("failed to set up TLS to the app: {0}")]
    AppTls(#[from] transport::tls::OriginTlsError),
    /// Components keep the sidecar from starting.
    #[error(transparent)]
    Components(#[from] components::ComponentsError),
    /// The services of a server cannot be described.
    #[error("failed to describe gRPC services: {0}")]
    Reflection(String),
    /// The channel to the app cannot be made.
    #[error(transparent)]
    AppChannel(#[from] app_channel::ChannelError),
}

/// How a sidecar ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it should.
    Gracefully,
    /// At once, because somebody asked for that.
    Forced,
    /// With a last word.
    Fatally(String),
    /// A second signal came while it stopped.
    BySignalDuringShutdown(String),
}

type Sidecar = Outbound<App, Policy, Client, External, BuiltInRetry, Observers>;

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
    let started = tokio::select! {
        started = start(flags, options, settings, log, requests, &mut parts, begun) => Some(started),
        request = signals.next() => {
            tell(request);
            match request {
                Request::Restart => None,
                Request::Stop(_) => {
                    parts.end_at_once().await;
                    return Ok(Some(Ended::Gracefully));
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
                tracing::info!(target: SCOPE, "Shutdown requested via API");
                Stop::ByApi
            }
        },
    };
    if stop == Stop::Force {
        return Ok(Some(force().await));
    }
    let ended = parts.stop(settings, stop, signals, &mut asked).await;
    Ok(if stop == Stop::Restart && ended == Ended::Gracefully {
        None
    } else {
        Some(ended)
    })
}

/// Why a sidecar stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    BySignal,
    ByApi,
    Restart,
    Force,
}

fn tell(request: Request) {
    match request {
        Request::Stop(name) => {
            tracing::info!(target: "dapr.signals", "Received signal '{name}'; beginning shutdown");
        }
        Request::Restart => tracing::info!(target: "dapr.signals", "Received signal 'hangup'; restarting"),
    }
}

/// The answer to the request goes out first.
async fn force() -> Ended {
    tracing::warn!(
        target: SCOPE,
        "Force shutdown requested, exiting immediately without graceful shutdown"
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ended::Forced
}
