//! Identity: whether one is needed, what it takes, and what it is used for.

use std::sync::Arc;

use identity::{AnchorSource, ControlPlane, Counters, Failed, Identity, IdentityError, Mode, TokenSource};
use identity::{Settings as IdentitySettings, TrustDomain};
use rustix::process::geteuid;
use telemetry::metrics::{Family, Kind, Metrics, Sample};
use transport::tls::{ClientTls, ServerTls};

use super::parts::Parts;
use crate::environment::{Environment, SecurityVariables};
use crate::fatal::Fatal;
use crate::flags::{Flags, Settings};
use crate::scope::SCOPE;

/// Refuses what would be unsafe to ignore, before anything else is done.
pub fn check_security(flags: &Flags) -> Result<(), Fatal> {
    let variables = SecurityVariables::read();
    let mode = mode(flags);
    if mode == Mode::Kubernetes {
        check_user(&variables)?;
    }
    control_plane(flags, &variables)?;
    if !needs_identity(flags) {
        tracing::warn!(
            target: "dapr.runtime.security",
            "mTLS is disabled. Skipping certificate request and tls validation"
        );
    }
    Ok(())
}

fn mode(flags: &Flags) -> Mode {
    match flags.text("mode") {
        "kubernetes" => Mode::Kubernetes,
        _ => Mode::Standalone,
    }
}

/// In Kubernetes the control plane is always spoken to over mTLS, whatever is used between sidecars.
fn needs_identity(flags: &Flags) -> bool {
    mode(flags) == Mode::Kubernetes || flags.is_on("enable-mtls")
}

fn check_user(variables: &SecurityVariables) -> Result<(), Fatal> {
    let user = geteuid();
    if user.is_root() && !variables.skips_user_check {
        return Err(Fatal::Root);
    }
    tracing::info!(target: SCOPE, "Running in Kubernetes environment as user {}", user.as_raw());
    Ok(())
}

/// A flag that was given wins over its variable, and the variable over the default, even when it is empty.
fn control_plane(flags: &Flags, variables: &SecurityVariables) -> Result<ControlPlane, Fatal> {
    let chosen = |flag: &str, variable: &Option<String>| match variable {
        Some(variable) if !flags.is_given(flag) => variable.clone(),
        _ => flags.text(flag).to_owned(),
    };
    let trust_domain = chosen(
        "control-plane-trust-domain",
        &variables.control_plane_trust_domain,
    );
    if trust_domain.is_empty() {
        return Err(Fatal::NoTrustDomain);
    }
    Ok(ControlPlane {
        trust_domain: TrustDomain::parse(&trust_domain).map_err(Fatal::TrustDomain)?,
        namespace: chosen("control-plane-namespace", &variables.control_plane_namespace),
    })
}

/// The identity of this sidecar, and what is secured with it.
pub(super) struct Security {
    identity: Option<Identity>,
    mode: Mode,
    /// Whether sidecars prove to each other who they are.
    is_mutual: bool,
    counters: Arc<Counters>,
}

impl Security {
    /// Gets the first certificate if one is needed. Until then no port is open. From then on it is kept fresh.
    pub(super) async fn establish(
        flags: &Flags,
        settings: &Settings,
        environment: &Environment,
        parts: &Parts,
    ) -> Result<Self, Fatal> {
        let counters = Arc::<Counters>::default();
        let is_mutual = flags.is_on("enable-mtls");
        let identity = if needs_identity(flags) {
            let wanted = identity_settings(flags, settings, environment)?;
            let identity = Identity::obtain(wanted, Arc::clone(&counters), &parts.waiting).await?;
            parts.connections.spawn(identity.clone().keep_fresh());
            Some(identity)
        } else {
            None
        };
        Ok(Self {
            identity,
            mode: mode(flags),
            is_mutual,
            counters,
        })
    }

    /// How connections to other sidecars are secured, if they are.
    pub(super) fn of_client(&self) -> Option<ClientTls> {
        self.mutual().map(Identity::peer_tls)
    }

    /// How connections of other sidecars are secured, if they are.
    pub(super) fn of_server(&self) -> Option<ServerTls> {
        self.mutual().map(Identity::server_tls)
    }

    /// Whether this sidecar is in a pod.
    pub(super) fn is_kubernetes(&self) -> bool {
        self.mode == Mode::Kubernetes
    }

    /// How the connection to the operator is secured: always, whatever is used between sidecars.
    pub(super) fn of_operator(&self) -> Result<ClientTls, Fatal> {
        let identity = self.identity.as_ref().ok_or(Fatal::NoIdentity)?;
        Ok(identity
            .control_plane_tls("dapr-operator")
            .map_err(IdentityError::ControlPlane)?)
    }

    fn mutual(&self) -> Option<&Identity> {
        self.identity.as_ref().filter(|_| self.is_mutual)
    }

    /// When the certificate expires, in seconds since 1970, if there is one.
    pub(super) fn expiry(&self) -> Option<Box<dyn Fn() -> u64 + Send + Sync>> {
        self.identity.as_ref()?;
        let counters = Arc::clone(&self.counters);
        Some(Box::new(move || {
            u64::try_from(counters.expiry()).unwrap_or_default()
        }))
    }

    /// Shows what happens to the certificate.
    pub(super) fn register(&self, metrics: &Metrics, app_id: &str) {
        if self.identity.is_none() {
            return;
        }
        let (counters, app_id) = (Arc::clone(&self.counters), format!("app_id={app_id:?}"));
        metrics.register(Box::new(move || families(&counters, &app_id)));
    }
}

fn identity_settings(
    flags: &Flags,
    settings: &Settings,
    environment: &Environment,
) -> Result<IdentitySettings, Fatal> {
    let variables = SecurityVariables::read();
    let control_plane = control_plane(flags, &variables)?;
    let local_identity = variables.local_identity.filter(|id| !id.is_empty());
    Ok(IdentitySettings {
        app_id: local_identity.unwrap_or_else(|| settings.app_id.clone()),
        namespace: environment.namespace.clone(),
        sentry_address: flags.text("sentry-address").to_owned(),
        control_plane,
        anchors: AnchorSource {
            value: variables.trust_anchors,
            file: variables.trust_anchors_file.map(Into::into),
        },
        token: TokenSource::new(mode(flags), variables.token_file),
        jwt_audiences: flags.list("sentry-request-jwt-audiences"),
    })
}

fn families(counters: &Counters, app_id: &str) -> Vec<Family> {
    let family = |name, help, value: f64| Family {
        name,
        help,
        kind: Kind::Counter,
        samples: vec![Sample::number(app_id, value)],
    };
    let failed = Failed::ALL.into_iter().map(|why| (why, counters.failed(why)));
    let failed = failed
        .filter(|(_, count)| *count > 0)
        .map(|(why, count)| Sample::number(format!("{app_id},reason=\"{}\"", why.label()), count as f64));
    vec![
        family(
            "dapr_runtime_mtls_init_total",
            "The number of successful mTLS authenticator initialization.",
            1.0,
        ),
        family(
            "dapr_runtime_mtls_workload_cert_rotated_total",
            "The number of the successful workload certificate rotations.",
            counters.rotated() as f64,
        ),
        Family {
            name: "dapr_runtime_mtls_workload_cert_rotated_fail_total",
            help: "The number of the failed workload certificate rotations.",
            kind: Kind::Counter,
            samples: failed.collect(),
        },
    ]
}
