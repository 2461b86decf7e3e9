//! Where resources come from: folders and files, or the operator of Kubernetes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lifecycle::StartupWait;
use operator::{Operator, OperatorError, Settings as OperatorSettings};
use resources::{
    Component, Configuration, DecodeError, Filter, Folders, HttpEndpoint, Inert, LoadError, LoadedResiliency,
    Resiliency, SecretSource, SecretStore, Trouble, decode_configuration, decode_resiliency,
    decode_resources, load_configuration,
};

use super::kube_store;
use super::security::Security;
use super::sent::{Listed, Sent};
use crate::environment;
use crate::fatal::{ComponentsError, Fatal};
use crate::flags::{Flags, Settings};
use crate::scope::SCOPE;

/// Where a sidecar has its resources from, and what it has read of them.
#[derive(Debug)]
pub(super) enum Source {
    /// Folders of manifests.
    Folders(Files),
    /// The operator.
    Operator(Box<Kubernetes>),
}

/// Folders, and what was in them when they were read last.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) paths: Vec<String>,
    read: Mutex<Folders>,
}

impl Files {
    fn new(paths: Vec<String>) -> Self {
        Self {
            read: Mutex::new(Folders::read(&paths, None)),
            paths,
        }
    }

    fn held(&self) -> Folders {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the folders again. Reads disks: not for a task among others.
    fn read_again(&self, tells_all: bool, writing: &HashSet<PathBuf>) -> Result<(), LoadError> {
        let read = Folders::read_but(&self.paths, Some(&self.held()), writing);
        if let Some(error) = read.unreadable() {
            return Err(error);
        }
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) =
            if tells_all { read.anew() } else { read };
        Ok(())
    }
}

/// The operator, what it is asked with, and what it has sent.
#[derive(Debug)]
pub(super) struct Kubernetes {
    pub(super) operator: Operator,
    /// `NAMESPACE`, or `default`.
    pub(super) namespace: String,
    /// Whether the secrets of Kubernetes are a component by themselves.
    has_secret_store: bool,
    sent: Mutex<Sent>,
}

impl Kubernetes {
    /// Nothing is asked for yet.
    pub(super) fn new(operator: Operator, namespace: &str, has_secret_store: bool) -> Self {
        Self {
            operator,
            namespace: namespace.to_owned(),
            has_secret_store,
            sent: Mutex::default(),
        }
    }

    pub(super) fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// In Kubernetes the operator must be there before anything else is known.
    pub(super) async fn of(
        flags: &Flags,
        security: &Security,
        namespace: &str,
        waiting: &StartupWait,
    ) -> Result<Self, Fatal> {
        if security.is_kubernetes() {
            tracing::info!(target: SCOPE, "Initializing the operator client");
            let settings = OperatorSettings {
                address: flags.text("control-plane-address").to_owned(),
                tls: security.of_operator()?,
            };
            let operator = Operator::connect(settings, waiting).await?;
            let has_secret_store = !flags.is_on("disable-builtin-k8s-secret-store");
            let kubernetes = Kubernetes::new(operator, namespace, has_secret_store);
            return Ok(Self::Operator(Box::new(kubernetes)));
        }
        let mut folders = flags.list("resources-path");
        if folders.is_empty() && flags.is_given("components-path") {
            folders.push(flags.text("components-path").to_owned());
        }
        Ok(Self::Folders(Files::new(folders)))
    }

    /// Folders that are to be watched must be there.
    pub(super) fn check(&self) -> Result<(), Fatal> {
        let Self::Folders(files) = self else {
            return Ok(());
        };
        match files.held().unreadable() {
            Some(LoadError::Folder { path, source }) => {
                let reason = match source.kind() {
                    io::ErrorKind::NotFound => "no such file or directory",
                    io::ErrorKind::PermissionDenied => "permission denied",
                    _ => return Ok(()),
                };
                let reason = reason.to_owned();
                Err(Fatal::Watch { path, reason })
            }
            _ => Ok(()),
        }
    }

    /// Whether it is the operator.
    pub(super) fn is_kubernetes(&self) -> bool {
        matches!(self, Self::Operator(_))
    }

    /// Where what resources refer to comes from: these stores, and the variables of this environment.
    pub(super) fn secrets(&self, stores: HashMap<String, SecretStore>) -> SecretSource {
        SecretSource {
            stores,
            is_kubernetes: self.is_kubernetes(),
            allowed_variables: std::env::var("DAPR_ENV_KEYS").unwrap_or_default(),
        }
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
        if self.is_kubernetes() && named.len() > 1 {
            tracing::warn!(
                target: SCOPE,
                "Multiple configurations are not supported in Kubernetes mode; only the first one will be loaded"
            );
        }
        let configuration = self.read_configuration(flags, lookup).await?;
        tracing::info!(target: SCOPE, "Enabled features: {}", configuration.enabled_features().join(" "));
        Ok(configuration)
    }

    /// The same, and nothing is said about it.
    pub(super) async fn read_configuration(
        &self,
        flags: &Flags,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Configuration, Fatal> {
        let named = flags.list("config");
        match (self, named.first()) {
            (Self::Operator(kubernetes), Some(name)) => {
                // The namespace as it is given: without one the operator knows the namespace by our certificate.
                let namespace = environment::given_namespace();
                let received = kubernetes.operator.configuration(name, &namespace);
                let received = received.await.map_err(Fatal::OperatorConfiguration)?;
                Ok(decode_configuration(name, &received)?)
            }
            _ => Ok(load_configuration(&named, lookup)?),
        }
    }

    /// Components for this sidecar.
    pub(super) async fn components(
        &self,
        settings: &Settings,
    ) -> Result<Vec<Arc<Component>>, ComponentsError> {
        if let Self::Operator(kubernetes) = self {
            let received = kubernetes.operator.components(&kubernetes.namespace).await?;
            kubernetes.sent().components = Listed::of(received);
        }
        self.held_components(settings)
    }

    /// The same, as they were read last.
    pub(super) fn held_components(
        &self,
        settings: &Settings,
    ) -> Result<Vec<Arc<Component>>, ComponentsError> {
        let namespace = environment::given_namespace();
        let filter = filter(settings, &namespace);
        match self {
            Self::Folders(files) => {
                let loaded = files.held().load(filter)?;
                tell(&loaded.warnings);
                Ok(loaded.resources)
            }
            Self::Operator(kubernetes) => {
                let received = decode_resources(&kubernetes.sent().components.documents(), filter)?;
                let own = kubernetes
                    .has_secret_store
                    .then(|| Arc::new(kube_store::component()));
                Ok(own.into_iter().chain(received).collect())
            }
        }
    }

    /// Resiliency policies for this sidecar. What cannot be had or read is in the log, and nothing of it is fatal.
    pub(super) async fn resiliency(&self, settings: &Settings) -> Vec<Arc<Resiliency>> {
        if let Self::Operator(kubernetes) = self {
            match kubernetes.operator.resiliency(&kubernetes.namespace).await {
                Ok(received) => kubernetes.sent().resiliency = Listed::of(received),
                Err(error) => tracing::error!(target: SCOPE, "Error listing resiliency policies: {error}"),
            }
        }
        self.held_resiliency(settings, true)
    }

    /// The same, as they were read last. What is wrong with those of the operator is told when `tells_all`.
    pub(super) fn held_resiliency(&self, settings: &Settings, tells_all: bool) -> Vec<Arc<Resiliency>> {
        let loaded: LoadedResiliency = match self {
            Self::Folders(files) => files.held().resiliency(&settings.app_id),
            Self::Operator(kubernetes) => {
                let mut loaded =
                    decode_resiliency(&kubernetes.sent().resiliency.documents(), &settings.app_id);
                loaded.troubles.retain(|_| tells_all);
                loaded
            }
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
    pub(super) async fn http_endpoints(&self, settings: &Settings) -> Vec<Arc<HttpEndpoint>> {
        tracing::info!(target: SCOPE, "Loading endpoints…");
        let listed = match self {
            Self::Folders(_) => Ok(()),
            Self::Operator(kubernetes) => kubernetes.list_endpoints().await,
        };
        let endpoints = listed.and_then(|()| self.held_endpoints(settings));
        endpoints.unwrap_or_else(|error| {
            tracing::warn!(target: SCOPE, "failed to load HTTP endpoints: {error}");
            Vec::new()
        })
    }

    /// The same, as they were read last.
    pub(super) fn held_endpoints(
        &self,
        settings: &Settings,
    ) -> Result<Vec<Arc<HttpEndpoint>>, EndpointsError> {
        let namespace = environment::given_namespace();
        let filter = filter(settings, &namespace);
        match self {
            Self::Folders(files) => {
                let loaded = files.held().load(filter)?;
                tell(&loaded.warnings);
                Ok(loaded.resources)
            }
            Self::Operator(kubernetes) => Ok(decode_resources(
                &kubernetes.sent().endpoints.documents(),
                filter,
            )?),
        }
    }

    /// Configurations among the resources, which have no effect there.
    pub(super) fn held_configurations(&self) -> Vec<Inert> {
        match self {
            Self::Folders(files) => files.held().configurations(),
            Self::Operator(_) => Vec::new(),
        }
    }

    /// Reads folders again; there is nothing to read when resources come from the operator. `tells_all`: what is wrong is
    /// told once more. Files that somebody is writing stay as they were. Reads disks: not for a task among others.
    pub(super) fn read_again(&self, tells_all: bool, writing: &HashSet<PathBuf>) -> Result<(), LoadError> {
        match self {
            Self::Folders(files) => files.read_again(tells_all, writing),
            Self::Operator(_) => Ok(()),
        }
    }
}

/// Endpoints that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndpointsError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("error deserializing http endpoint: {0}")]
    Decode(#[from] DecodeError),
}

/// Without a namespace, resources of every namespace are for this sidecar.
pub(super) fn filter<'a>(settings: &'a Settings, namespace: &'a str) -> Filter<'a> {
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
