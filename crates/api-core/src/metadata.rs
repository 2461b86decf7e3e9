//! What the sidecar tells about itself (`/v1.0/metadata`, `GetMetadata`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

/// How many values apps may leave here, and how many bytes they may have together.
const MAX_EXTENDED: usize = 1024;
const MAX_EXTENDED_BYTES: usize = 4 * 1024 * 1024;
const RUNTIME_VERSION: &str = "daprRuntimeVersion";

/// What is known at start.
#[derive(Clone, Debug, Default)]
pub struct MetadataSettings {
    /// The app id.
    pub app_id: String,
    /// The namespace.
    pub namespace: String,
    /// The version of this sidecar, `edge` or like `1.2.3`.
    pub version: String,
    /// The features that are on.
    pub features: Vec<String>,
    /// The components.
    pub components: Vec<ComponentInfo>,
    /// The names of the HTTP endpoints.
    pub http_endpoints: Vec<String>,
    /// The names of the resiliency resources.
    pub resiliencies: Vec<String>,
    /// How the app is reached.
    pub app: AppConnection,
}

/// A component, as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ComponentInfo {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its type.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// What it can do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// How the app is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppConnection {
    /// The port; 0 without an app.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u32,
    /// The protocol.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// The host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel_address: String,
    /// How many calls at once; 0 for any number.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_concurrency: u32,
    /// The health checks, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<AppHealth>,
}

/// The health checks of the app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppHealth {
    /// The path, for HTTP apps.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health_check_path: String,
    /// The interval, as Go writes durations.
    pub health_probe_interval: String,
    /// The time-out, as Go writes durations.
    pub health_probe_timeout: String,
    /// How many failures make the app unhealthy.
    pub health_threshold: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The metadata of this sidecar, with what apps and tools added.
#[derive(Debug)]
pub struct Metadata {
    settings: MetadataSettings,
    extended: Arc<RwLock<BTreeMap<String, String>>>,
    app_is_ready: Arc<AtomicBool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    id: &'a str,
    runtime_version: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    enabled_features: &'a [String],
    #[serde(skip_serializing_if = "<[ComponentInfo]>::is_empty")]
    components: &'a [ComponentInfo],
    extended: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    http_endpoints: Vec<Named<'a>>,
    app_connection_properties: &'a AppConnection,
    actor_runtime: ActorRuntime,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resiliencies: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActorRuntime {
    runtime_status: &'static str,
    host_ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<&'static str>,
}

impl Metadata {
    /// The metadata of a sidecar that has just started.
    pub fn new(settings: MetadataSettings) -> Self {
        let app_is_ready = Arc::new(AtomicBool::new(settings.app.port == 0));
        Self {
            settings,
            extended: Arc::default(),
            app_is_ready,
        }
    }

    /// The metadata of the same sidecar after its configuration changed: what apps and tools left goes on, in both.
    #[must_use]
    pub fn renewed(&self, settings: MetadataSettings) -> Self {
        Self {
            settings,
            extended: Arc::clone(&self.extended),
            app_is_ready: Arc::clone(&self.app_is_ready),
        }
    }

    /// The app was found, or is healthy.
    pub fn app_is_ready(&self) {
        self.app_is_ready.store(true, Ordering::Relaxed);
    }

    /// What was known at start.
    pub fn settings(&self) -> &MetadataSettings {
        &self.settings
    }

    /// The values that apps and tools left, and the version.
    pub fn extended(&self) -> BTreeMap<String, String> {
        let mut extended = self
            .extended
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        extended.insert(RUNTIME_VERSION.to_owned(), self.settings.version.clone());
        extended
    }

    /// Why a component of this name does nothing, to be added to an answer that says it is not there. `None` when no
    /// component has the name.
    pub fn why_not(&self, name: &str) -> Option<String> {
        let is_listed = self
            .settings
            .components
            .iter()
            .any(|component| component.name == name);
        is_listed.then(|| {
            format!("; the component {name} is listed and does nothing, because this sidecar serves service invocation only")
        })
    }

    /// Whether the app was found.
    pub fn is_app_ready(&self) -> bool {
        self.app_is_ready.load(Ordering::Relaxed)
    }

    /// The app id.
    pub fn app_id(&self) -> &str {
        &self.settings.app_id
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.settings.namespace
    }

    /// Keeps a value under a key until the process ends. The error says that there is no room for it.
    pub fn set(&self, key: &str, value: &str) -> Result<(), &'static str> {
        if key.is_empty() {
            return Ok(());
        }
        let mut extended = self.extended.write().unwrap_or_else(PoisonError::into_inner);
        let others = extended.iter().filter(|(known, _)| *known != key);
        let (count, bytes) = others.fold((0, 0), |(count, bytes), (key, value)| {
            (count + 1, bytes + key.len() + value.len())
        });
        if count >= MAX_EXTENDED || bytes + key.len() + value.len() > MAX_EXTENDED_BYTES {
            return Err("there is no room for more extended metadata");
        }
        extended.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// The JSON document, with a line end.
    pub fn to_json(&self) -> String {
        let settings = &self.settings;
        let extended = self.extended();
        let named = |names: &'_ [String]| names.to_vec();
        let (endpoints, resiliencies) = (named(&settings.http_endpoints), named(&settings.resiliencies));
        let actor_runtime = if self.is_app_ready() {
            ActorRuntime {
                runtime_status: "DISABLED",
                host_ready: false,
                placement: Some("placement: disconnected"),
            }
        } else {
            ActorRuntime {
                runtime_status: "INITIALIZING",
                host_ready: false,
                placement: None,
            }
        };
        let document = Document {
            id: &settings.app_id,
            runtime_version: &settings.version,
            enabled_features: &settings.features,
            components: &settings.components,
            extended,
            http_endpoints: endpoints.iter().map(|name| Named { name }).collect(),
            app_connection_properties: &settings.app,
            actor_runtime,
            resiliencies: resiliencies.iter().map(|name| Named { name }).collect(),
        };
        let mut json = serde_json::to_string(&document).unwrap_or_default();
        json.push('\n');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> MetadataSettings {
        MetadataSettings {
            app_id: "m".into(),
            version: "edge".into(),
            features: vec!["HotReload".into(), "WorkflowsRemoteActivityReminder".into()],
            app: AppConnection {
                protocol: "http".into(),
                channel_address: "127.0.0.1".into(),
                ..AppConnection::default()
            },
            ..MetadataSettings::default()
        }
    }

    #[test]
    fn without_an_app() {
        let metadata = Metadata::new(settings());
        assert_eq!(
            metadata.to_json(),
            "{\"id\":\"m\",\"runtimeVersion\":\"edge\",\
             \"enabledFeatures\":[\"HotReload\",\"WorkflowsRemoteActivityReminder\"],\
             \"extended\":{\"daprRuntimeVersion\":\"edge\"},\
             \"appConnectionProperties\":{\"protocol\":\"http\",\"channelAddress\":\"127.0.0.1\"},\
             \"actorRuntime\":{\"runtimeStatus\":\"DISABLED\",\"hostReady\":false,\
             \"placement\":\"placement: disconnected\"}}\n"
        );
    }

    #[test]
    fn with_an_app_and_values() {
        let mut settings = settings();
        settings.app.port = 80;
        settings.app.health = Some(AppHealth {
            health_probe_interval: "5s".into(),
            health_probe_timeout: "500ms".into(),
            health_threshold: 3,
            ..AppHealth::default()
        });
        let metadata = Metadata::new(settings);
        metadata.set("cliPID", "1").unwrap();
        metadata.set(RUNTIME_VERSION, "mine").unwrap();
        metadata.set("", "nothing").unwrap();
        let json = metadata.to_json();
        assert!(
            json.contains("\"extended\":{\"cliPID\":\"1\",\"daprRuntimeVersion\":\"edge\"}"),
            "{json}"
        );
        assert!(
            json.contains("\"actorRuntime\":{\"runtimeStatus\":\"INITIALIZING\",\"hostReady\":false}"),
            "{json}"
        );
        assert!(
            json.contains("\"port\":80") && json.contains("\"healthThreshold\":3"),
            "{json}"
        );
        metadata.app_is_ready();
        assert!(metadata.to_json().contains("DISABLED"));
    }

    #[test]
    fn what_was_left_outlives_a_change() {
        let first = Metadata::new(settings());
        first.set("k", "v").unwrap();
        let second = first.renewed(MetadataSettings {
            http_endpoints: vec!["e".into()],
            ..settings()
        });
        second.set("l", "w").unwrap();
        first.app_is_ready();
        for (metadata, has_endpoint) in [(&first, false), (&second, true)] {
            let json = metadata.to_json();
            assert_eq!(metadata.extended()["k"], "v");
            assert_eq!(metadata.extended()["l"], "w");
            assert_eq!(json.contains("httpEndpoints"), has_endpoint, "{json}");
            assert!(metadata.is_app_ready());
        }
    }

    #[test]
    fn components_that_do_nothing_say_why() {
        let mut settings = settings();
        settings.components.push(ComponentInfo {
            name: "store".into(),
            ..ComponentInfo::default()
        });
        let metadata = Metadata::new(settings);
        assert_eq!(metadata.why_not("other"), None);
        assert!(
            metadata
                .why_not("store")
                .unwrap()
                .contains("the component store is listed")
        );
    }

    #[test]
    fn values_are_bounded() {
        let metadata = Metadata::new(settings());
        for index in 0..MAX_EXTENDED {
            metadata.set(&index.to_string(), "x").unwrap();
        }
        assert!(metadata.set("one more", "x").is_err());
        metadata.set("0", "changed").unwrap();
        assert!(metadata.set("0", &"x".repeat(MAX_EXTENDED_BYTES)).is_err());
    }
}
