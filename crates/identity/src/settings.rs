//! What the identity of a sidecar depends on.

use std::path::PathBuf;

use crate::spiffe::{SpiffeError, SpiffeId, TrustDomain};
use crate::token::TokenSource;

/// Where a sidecar runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On a host of its own.
    Standalone,
    /// In a pod.
    Kubernetes,
}

/// Where the services of the control plane live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    /// Their trust domain.
    pub trust_domain: TrustDomain,
    /// Their namespace.
    pub namespace: String,
}

impl ControlPlane {
    /// The id of one of its services, such as `dapr-sentry`.
    pub fn id(&self, service: &str) -> Result<SpiffeId, SpiffeError> {
        SpiffeId::of(&self.trust_domain, &self.namespace, service)
    }

    /// Whether a workload is one of its services, which live in its trust domain.
    pub(crate) fn has(&self, app_id: &str, namespace: &str) -> bool {
        namespace == self.namespace
            && matches!(
                app_id,
                "dapr-operator" | "dapr-placement" | "dapr-injector" | "dapr-sentry" | "dapr-scheduler"
            )
    }
}

/// Where trust anchors come from; of the two, both if both are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnchorSource {
    /// PEM.
    pub value: Option<String>,
    /// A file with PEM, which is watched.
    pub file: Option<PathBuf>,
}

/// What the identity of a sidecar depends on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The id of the app, or what stands in its place for sentry.
    pub app_id: String,
    /// The namespace of the app.
    pub namespace: String,
    /// `host:port` of sentry.
    pub sentry_address: String,
    /// Where sentry itself lives.
    pub control_plane: ControlPlane,
    /// Whom to believe.
    pub anchors: AnchorSource,
    /// How to show sentry who we are.
    pub token: TokenSource,
    /// The audiences for which sentry is asked for a JWT each.
    pub jwt_audiences: Vec<String>,
}
