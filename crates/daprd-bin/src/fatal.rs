//! What keeps a sidecar from running.

use std::io;
use std::path::PathBuf;

use access_control::BrokenPolicies;
use identity::{IdentityError, SpiffeError};
use name_resolution::host;
use operator::OperatorError;
use resources::{ConfigurationError, DecodeError, LoadError, RoutingError, TemplateError};
use telemetry::push::PushError;
use telemetry::server::MetricsError;
use telemetry::traces::TraceError;
use thiserror::Error;
use transport::listen::BindError;

use crate::sidecar::{NamesError, ReuseError};

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
    /// The start was called off while it waited for somebody.
    #[error("{0}")]
    Interrupted(String),
    /// The configuration cannot be used.
    #[error("error loading configuration: {0}")]
    Configuration(#[from] ConfigurationError),
    /// Calls cannot be shared out as the configuration has it.
    #[error("error loading configuration: {0}")]
    Routing(#[from] RoutingError),
    /// Connections to the app cannot be used again as the configuration has it.
    #[error("error loading configuration: {0}")]
    Reuse(#[from] ReuseError),
    /// Others cannot be found as the configuration, which changed, has it.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The operator cannot be reached.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The operator has no such configuration.
    #[error("error loading configuration: {0}")]
    OperatorConfiguration(#[source] OperatorError),
    /// The access control policies of the configuration cannot be used.
    #[error(transparent)]
    Policies(#[from] BrokenPolicies),
    /// Metrics cannot be pushed as the configuration or the environment wants.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The template of the access log that the environment has cannot be used.
    #[error("DAPRD_ACCESS_LOG: {0}")]
    AccessLog(#[from] TemplateError),
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
    #[error("failed to load components: {0}")]
    Components(#[from] ComponentsError),
    /// A component that changed cannot be used.
    #[error("{0}")]
    ChangedComponent(#[source] ComponentsError),
    /// Resources that changed contradict each other.
    #[error("failed to load resources from disk: {0}")]
    Reload(#[source] LoadError),
    /// A folder of resources cannot be watched.
    #[error("failed to create watcher: failed to add target {}: {reason}", .path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why not, as Go says it.
        reason: String,
    },
    /// The services of a server cannot be described.
    #[error("failed to describe gRPC services: {0}")]
    Reflection(String),
    /// Traces cannot be set up as they are configured.
    #[error(transparent)]
    Tracing(#[from] TraceError),
    /// The channel to the app cannot be made.
    #[error(transparent)]
    AppChannel(#[from] app_channel::ChannelError),
}

/// Components that keep the sidecar from starting.
#[derive(Debug, Error)]
pub enum ComponentsError {
    /// A folder cannot be read, or a name is given twice.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The operator does not give them.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The operator gives something else.
    #[error("error deserializing component: {0}")]
    Decode(#[from] DecodeError),
    /// A component is of no category that Dapr knows.
    #[error("process component {name} error: incorrect type {kind}")]
    Category {
        /// Its name.
        name: String,
        /// Its type.
        kind: String,
    },
    /// A component cannot be used as it is set up.
    #[error(
        "process component {name} error: [INIT_COMPONENT_FAILURE]: initialization error occurred for {log_name}: {cause}"
    )]
    Init {
        /// Its name.
        name: String,
        /// How the log names it.
        log_name: String,
        /// Why.
        cause: String,
    },
    /// A component of Dapr that this program does not have, and that nothing may go on without, whatever its manifest
    /// says of errors.
    #[error("process component {name} error: {cause}")]
    NotBuilt {
        /// Its name.
        name: String,
        /// Why.
        cause: String,
    },
}
