//! What is read from the environment, once, at start.

use std::time::Duration;

use http::HeaderName;
use transport::client::Proxies;

use crate::flags::Settings;

/// What stands between this host and the web (`HTTP_PROXY` and the like), and what of it is of no use, for the log.
pub fn proxies() -> (Proxies, Vec<String>) {
    Proxies::of(variable)
}

/// A variable that is there and is text.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The environment of a sidecar.
#[derive(Clone)]
pub struct Environment {
    /// `NAMESPACE`, or `default`.
    pub namespace: String,
    /// `POD_NAME`, if it is set.
    pub pod_name: Option<String>,
    /// `DAPR_HOST_IP`.
    pub host_ip: Option<String>,
    /// `DAPR_API_TOKEN`.
    pub api_token: String,
    /// `APP_API_TOKEN`.
    pub app_token: String,
    /// `DAPR_HTTP_DISABLE_H2C`.
    pub disables_h2c: bool,
    /// `DAPRD_ACCESS_LOG`: the template of the access log, or `true` for the usual one. Dapr's daprd does not know it.
    pub access_log: Option<String>,
    /// `DAPR_GRPC_MAX_CONN_IDLE` and `DAPR_GRPC_CONN_COLLECTOR_INTERVAL`.
    pub purge: internal_grpc::PurgeConfig,
    /// `DAPRD_DEADLINE_HEADER`: by which header HTTP apps say and are told how much time is left. Dapr's daprd does not
    /// know it.
    pub deadline_header: Option<HeaderName>,
    /// `DAPRD_APP_MOST_CALLS` and `DAPRD_APP_MAX_AGE`: how many calls a connection to the app serves, and until which
    /// age, as it is written. Dapr's daprd does not know them.
    pub app_connections: (Option<String>, Option<String>),
}

/// What the environment says about identity. Unset and empty are not the same everywhere.
#[derive(Clone, Default)]
pub struct SecurityVariables {
    /// `DAPR_TRUST_ANCHORS`: PEM.
    pub trust_anchors: Option<String>,
    /// `DAPRD_TRUST_ANCHORS_FILE`: a file with PEM that is watched. Dapr's daprd does not know it.
    pub trust_anchors_file: Option<String>,
    /// `DAPR_SENTRY_TOKEN_FILE`.
    pub token_file: Option<String>,
    /// `SENTRY_LOCAL_IDENTITY`.
    pub local_identity: Option<String>,
    /// `DAPR_CONTROLPLANE_TRUST_DOMAIN`.
    pub control_plane_trust_domain: Option<String>,
    /// `DAPR_CONTROLPLANE_NAMESPACE`.
    pub control_plane_namespace: Option<String>,
    /// `DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK`.
    pub skips_user_check: bool,
}

impl SecurityVariables {
    /// Reads them.
    pub fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok();
        Self {
            trust_anchors: text("DAPR_TRUST_ANCHORS"),
            trust_anchors_file: text("DAPRD_TRUST_ANCHORS_FILE").filter(|file| !file.is_empty()),
            token_file: text("DAPR_SENTRY_TOKEN_FILE"),
            local_identity: text("SENTRY_LOCAL_IDENTITY"),
            control_plane_trust_domain: text("DAPR_CONTROLPLANE_TRUST_DOMAIN"),
            control_plane_namespace: text("DAPR_CONTROLPLANE_NAMESPACE"),
            skips_user_check: text("DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK").as_deref() == Some("true"),
        }
    }
}

impl Environment {
    /// Reads it. Values that cannot be are told in the log and replaced by the default.
    pub fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok();
        let defaults = internal_grpc::PurgeConfig::default();
        Self {
            namespace: text("NAMESPACE").unwrap_or_else(|| "default".to_owned()),
            pod_name: text("POD_NAME"),
            host_ip: text("DAPR_HOST_IP"),
            api_token: text("DAPR_API_TOKEN").unwrap_or_default(),
            app_token: text("APP_API_TOKEN").unwrap_or_default(),
            disables_h2c: go_text::is_truthy(text("DAPR_HTTP_DISABLE_H2C").unwrap_or_default()),
            access_log: text("DAPRD_ACCESS_LOG").filter(|text| !text.is_empty()),
            purge: internal_grpc::PurgeConfig {
                max_idle: duration("DAPR_GRPC_MAX_CONN_IDLE", defaults.max_idle),
                interval: duration("DAPR_GRPC_CONN_COLLECTOR_INTERVAL", defaults.interval),
            },
            deadline_header: text("DAPRD_DEADLINE_HEADER").and_then(|name| header_name(&name)),
            app_connections: (text("DAPRD_APP_MOST_CALLS"), text("DAPRD_APP_MAX_AGE")),
        }
    }
}

/// `NAMESPACE` as it is given; empty for none.
pub fn given_namespace() -> String {
    std::env::var("NAMESPACE").unwrap_or_default()
}

/// Headers that mean something to HTTP, which would then mean something else.
const TAKEN: [&str; 6] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
];

/// The name of a header that apps may use for themselves; what cannot be one is told in the log.
fn header_name(text: &str) -> Option<HeaderName> {
    if text.is_empty() {
        return None;
    }
    let is_free = |name: &HeaderName| {
        let name = name.as_str();
        !TAKEN.contains(&name) && !["dapr-", "grpc-"].iter().any(|prefix| name.starts_with(prefix))
    };
    let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(is_free);
    if name.is_none() {
        tracing::warn!(
            target: "dapr.runtime",
            "Ignoring {text:?} in DAPRD_DEADLINE_HEADER: it is no name of a header that apps may use"
        );
    }
    name
}

fn duration(name: &str, default: Duration) -> Duration {
    let Ok(text) = std::env::var(name) else {
        return default;
    };
    match go_text::parse_duration(&text).ok().and_then(go_text::positive) {
        Some(given) => given,
        None => {
            tracing::warn!(
                target: "dapr.runtime.grpc.manager",
                "Ignoring invalid duration {text:?} in {name}; using default {}", go_text::format_duration(default)
            );
            default
        }
    }
}

/// A variable as configuration files see it: those that a sidecar sets for them come before those of the process.
pub fn lookup(
    settings: &Settings,
    metrics_port: &str,
    internal_port: u16,
    host_address: &str,
) -> impl Fn(&str) -> Option<String> {
    let own = [
        ("APP_ID", settings.app_id.clone()),
        ("APP_PORT", settings.app.port_shown.to_string()),
        ("HOST_ADDRESS", host_address.to_owned()),
        ("DAPR_PORT", internal_port.to_string()),
        ("DAPR_GRPC_PORT", settings.grpc_port.to_string()),
        ("DAPR_HTTP_PORT", settings.http_port.to_string()),
        ("DAPR_METRICS_PORT", metrics_port.to_owned()),
        (
            "DAPR_PROFILE_PORT",
            settings.profile_port.unwrap_or(7777).to_string(),
        ),
    ];
    move |name: &str| {
        let own = own
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone());
        own.or_else(|| std::env::var(name).ok())
    }
}
