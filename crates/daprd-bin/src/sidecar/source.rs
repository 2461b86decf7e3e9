//! Where resources come from: folders and files, or the operator of Kubernetes.

use std::fmt::Display;

use lifecycle::Waiting;
use operator::{Operator, OperatorError, Settings as OperatorSettings};
use resources::{
    Component, Configuration, DecodeError, Filter, HttpEndpoint, LoadedResiliency, Resiliency, Trouble,
    decode_configuration, decode_resiliency, decode_resources, load_configuration, load_resiliency,
    load_resources,
};

use super::kube_store;
use super::security::Security;
use crate::environment;
use crate::fatal::{ComponentsError, Fatal};
use crate::flags::{Flags, Settings};
use crate::scope::SCOPE;

/// Where a sidecar has its resources from. What watches them later begins here, too.
#[derive(Debug)]
pub(super) enum Source {
    /// Folders of manifests.
    Folders(Vec<String>),
    /// The operator.
    Operator(Box<Kubernetes>),
}

/// The operator, and what it is asked with.
#[derive(Debug)]
pub(super) struct Kubernetes {
    operator: Operator,
    /// `NAMESPACE`, or `default`.
    namespace: String,
    /// Whether the secrets of Kubernetes are a component by themselves.
    has_secret_store: bool,
}

impl Source {
    /// In Kubernetes the operator must be there before anything else is known.
    pub(super) async fn of(
        flags: &Flags,
        security: &Security,
        namespace: &str,
        waiting: &Waiting,
    ) -> Result<Self, Fatal> {
        if security.is_kubernetes() {
            tracing::info!(target: SCOPE, "Initializing the operator client");
            let settings = OperatorSettings {
                address: flags.text("control-plane-address").to_owned(),
                tls: security.of_operator()?,
            };
            return Ok(Self::Operator(Box::new(Kubernetes {
                operator: Operator::connect(settings, waiting).await?,
                namespace: namespace.to_owned(),
                has_secret_store: !flags.is_on("disable-builtin-k8s-secret-store"),
            })));
        }
        let mut folders = flags.list("resources-path");
        if folders.is_empty() && flags.is_given("components-path") {
            folders.push(flags.text("components-path").to_owned());
        }
        Ok(Self::Folders(folders))
    }

    /// Whether it is the operator.
    pub(super) fn is_kubernetes(&self) -> bool {
        matches!(self, Self::Operator(_))
    }

    /// What `--config` names. `lookup` finds the variables of files.
    pub(super) async fn configuration(
        &self,
        flags: &Flags,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Configuration, Fatal> {
        let named = flags.list("config");
        if named.is_empty() {
            tracing::info!(target: SCOPE, "loading default configuration");
        }
        let configuration = match (self, named.first()) {
            (Self::Operator(kubernetes), Some(name)) => {
                if named.len() > 1 {
                    tracing::warn!(
                        target: SCOPE,
                        "Multiple configurations are not supported in Kubernetes mode; only the first one will be loaded"
                    );
                }
                // The namespace as it is given: without one the operator knows the namespace by our certificate.
                let namespace = environment::given_namespace();
                let received = kubernetes.operator.configuration(name, &namespace);
                let received = received.await.map_err(Fatal::OperatorConfiguration)?;
                decode_configuration(name, &received)?
            }
            _ => load_configuration(&named, lookup)?,
        };
        tracing::info!(target: SCOPE, "Enabled features: {}", configuration.enabled_features().join(" "));
        Ok(configuration)
    }

    /// Components for this sidecar.
    pub(super) async fn components(&self, settings: &Settings) -> Result<Vec<Component>, ComponentsError> {
        let namespace = environment::given_namespace();
        let filter = filter(settings, &namespace);
        match self {
            Self::Folders(folders) => {
                let loaded = load_resources(folders, filter)?;
                tell(&loaded.warnings);
                Ok(loaded.resources)
            }
            Self::Operator(kubernetes) => {
                let received = kubernetes.operator.components(&kubernetes.namespace).await?;
                let received = decode_resources(&received, filter)?;
                let own = kubernetes.has_secret_store.then(kube_store::component);
                Ok(own.into_iter().chain(received).collect())
            }
        }
    }

    /// Resiliency policies for this sidecar. What cannot be had or read is in the log, and nothing of it is fatal.
    pub(super) async fn resiliency(&self, settings: &Settings) -> Vec<Resiliency> {
        let loaded = match self {
            Self::Folders(folders) => load_resiliency(folders, &settings.app_id),
            Self::Operator(kubernetes) => match kubernetes.operator.resiliency(&kubernetes.namespace).await {
                Ok(received) => decode_resiliency(&received, &settings.app_id),
                Err(error) => {
                    tracing::error!(target: SCOPE, "Error listing resiliency policies: {error}");
                    LoadedResiliency::default()
                }
            },
        };
        for trouble in &loaded.troubles {
            match trouble {
                Trouble::Error(text) => tracing::error!(target: SCOPE, "{text}"),
                Trouble::Warning(text) => tracing::warn!(target: SCOPE, "{text}"),
            }
        }
        loaded.resources
    }

    /// HTTP endpoints for this sidecar. When they cannot be had, there are none.
    pub(super) async fn http_endpoints(&self, settings: &Settings) -> Vec<HttpEndpoint> {
        tracing::info!(target: SCOPE, "Loading endpoints…");
        let namespace = environment::given_namespace();
        let filter = filter(settings, &namespace);
        let none = |error: &dyn Display| {
            tracing::warn!(target: SCOPE, "failed to load HTTP endpoints: {error}");
            Vec::new()
        };
        match self {
            Self::Folders(folders) => match load_resources(folders, filter) {
                Ok(loaded) => {
                    tell(&loaded.warnings);
                    loaded.resources
                }
                Err(error) => none(&error),
            },
            Self::Operator(kubernetes) => received_endpoints(kubernetes, filter)
                .await
                .unwrap_or_else(|error| none(&error)),
        }
    }
}

/// Endpoints that cannot be had of the operator.
#[derive(Debug, thiserror::Error)]
enum EndpointsError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("error deserializing http endpoint: {0}")]
    Decode(#[from] DecodeError),
}

async fn received_endpoints(
    kubernetes: &Kubernetes,
    filter: Filter<'_>,
) -> Result<Vec<HttpEndpoint>, EndpointsError> {
    let received = kubernetes.operator.http_endpoints(&kubernetes.namespace).await?;
    Ok(decode_resources(&received, filter)?)
}

/// Without a namespace, resources of every namespace are for this sidecar.
fn filter<'a>(settings: &'a Settings, namespace: &'a str) -> Filter<'a> {
    Filter {
        namespace,
        app_id: &settings.app_id,
    }
}

fn tell(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(target: SCOPE, "{warning}");
    }
}
