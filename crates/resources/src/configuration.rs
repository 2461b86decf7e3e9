//! The `Configuration` resource.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::value::{Dict, Map};
use go_text::io_words;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::access::{AccessControl, Api, without_empty_scalars};
use crate::encoding::text_of;
use crate::expand::expand_environment;
use crate::extensions::Extensions;
use crate::lenient;
use crate::metric::Metric;
use crate::routing::{self, RoutedApp, RoutingError};
use crate::tracing::Tracing;
use crate::yaml::{MAX_FILE, YamlError, first_document};

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// A file is not there, or cannot be read.
    #[error("{operation} {}: {}", .path.display(), io_words(.source))]
    Read {
        /// What failed: `stat` or `read`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is no YAML.
    #[error("{}: {source}", .path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: YamlError,
    },
    /// What was received is no JSON object.
    #[error("{origin}: {reason}")]
    Received {
        /// Which configuration, and of whom.
        origin: String,
        /// Why.
        reason: String,
    },
    /// A field has the wrong type; the text names it and its file.
    #[error("{0}")]
    Field(Box<figment::Error>),
    /// A store is named twice under `secrets.scopes`.
    #[error("{0} storeName is repeated in secrets configuration")]
    RepeatedStore(String),
    /// `defaultAccess` of a secret store is neither.
    #[error("defaultAccess {0} can be either allow or deny")]
    DefaultAccess(String),
}

/// A `Configuration`, all files together.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Configuration {
    /// `spec.tracing`.
    #[serde(deserialize_with = "lenient::section")]
    pub tracing: Tracing,
    /// `spec.metric`, over which `spec.metrics` is laid by [`Configuration::metric`].
    #[serde(deserialize_with = "lenient::section")]
    metric: Metric,
    #[serde(deserialize_with = "lenient::section")]
    metrics: Metric,
    /// `spec.httpPipeline`.
    #[serde(deserialize_with = "lenient::section")]
    pub http_pipeline: Pipeline,
    /// `spec.appHttpPipeline`.
    #[serde(deserialize_with = "lenient::section")]
    pub app_http_pipeline: Pipeline,
    /// `spec.nameResolution`.
    #[serde(deserialize_with = "lenient::section")]
    pub name_resolution: NameResolution,
    /// `spec.accessControl`; `None` when it is set to nothing.
    #[serde(deserialize_with = "lenient::optional_section")]
    pub access_control: Option<AccessControl>,
    /// `spec.api`.
    #[serde(deserialize_with = "lenient::section")]
    pub api: Api,
    /// `spec.features`, with those that are on unless they are named.
    #[serde(deserialize_with = "lenient::sections")]
    features: Vec<Feature>,
    /// `spec.daprd`, which Dapr's `daprd` does not know.
    #[serde(deserialize_with = "lenient::section")]
    pub daprd: Extensions,
    #[serde(deserialize_with = "lenient::section")]
    logging: Logging,
    #[serde(deserialize_with = "lenient::section")]
    secrets: Secrets,
    #[serde(deserialize_with = "lenient::section")]
    components: ComponentRules,
    /// `spec.routing`, which is not among Dapr's.
    #[schemars(schema_with = "routing::schema")]
    routing: Value,
}

/// Middleware in order.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pipeline {
    /// The first is outermost.
    #[serde(deserialize_with = "lenient::sections")]
    pub handlers: Vec<Handler>,
}

/// One middleware of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Handler {
    /// The component.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// Its type.
    #[serde(rename = "type", deserialize_with = "lenient::text")]
    pub kind: String,
    /// Its version.
    #[serde(deserialize_with = "lenient::text")]
    pub version: String,
}

/// How apps are found.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NameResolution {
    /// The resolver; empty for the one of the mode.
    #[serde(deserialize_with = "lenient::text")]
    pub component: String,
    /// Its version.
    #[serde(deserialize_with = "lenient::text")]
    pub version: String,
    /// Its own settings.
    pub configuration: Value,
    /// What the balancer is to prefer. It is not among Dapr's.
    #[schemars(schema_with = "balancing")]
    pub balancing: Value,
}

/// What the section may have; whoever balances reads it.
fn balancing(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "What the balancer is to prefer; not among Dapr's.",
        "type": "object",
        "properties": {
            "zone": { "type": "string" },
            "slowStart": { "type": ["string", "integer", "null"] },
            "mostEndpoints": { "type": "integer", "minimum": 8, "maximum": 4096 },
        },
    })
}

/// A feature that is on or off.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Feature {
    /// Its name.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// Whether it is on.
    #[serde(deserialize_with = "lenient::boolean")]
    pub enabled: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct Logging {
    #[serde(deserialize_with = "lenient::section")]
    api_logging: ApiLogging,
}

/// Which calls of the API are logged, and how.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ApiLogging {
    /// Whether calls are logged.
    #[serde(deserialize_with = "lenient::boolean")]
    pub enabled: Option<bool>,
    /// Whether paths are replaced by the names of APIs.
    #[serde(rename = "obfuscateURLs", deserialize_with = "lenient::boolean")]
    pub obfuscate_urls: Option<bool>,
    /// Whether health checks are left out.
    #[serde(deserialize_with = "lenient::boolean")]
    pub omit_health_checks: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
struct Secrets {
    #[serde(deserialize_with = "lenient::sections")]
    scopes: Vec<SecretScope>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
struct SecretScope {
    #[serde(deserialize_with = "lenient::text")]
    store_name: String,
    #[serde(deserialize_with = "lenient::text")]
    default_access: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
struct ComponentRules {
    #[serde(deserialize_with = "lenient::texts")]
    deny: Vec<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Document {
    #[serde(deserialize_with = "lenient::section")]
    spec: Configuration,
}

/// Features that are on unless a file says otherwise.
const DEFAULT_FEATURES: [&str; 2] = ["HotReload", "WorkflowsRemoteActivityReminder"];

/// Reads the files one over the other: maps are merged key by key, lists and scalars are replaced, `null` takes
/// back. `lookup` finds environment variables.
pub fn load_configuration(
    paths: &[String],
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Configuration, ConfigurationError> {
    let mut documents = Vec::new();
    for path in paths {
        documents.push((path.clone(), read(Path::new(path), &lookup)?));
    }
    of_documents(documents)
}

/// Lays documents over the defaults, one over the other; each comes with the name that errors give it.
pub(crate) fn layered(documents: Vec<(String, Value)>) -> Result<Configuration, Box<figment::Error>> {
    let defaults = serde_json::json!({
        "spec": { "accessControl": { "trustDomain": "public" } }
    });
    let mut figment = Figment::from(Layer {
        name: "defaults".to_owned(),
        value: defaults,
    });
    for (name, value) in documents {
        figment = figment.merge(Layer { name, value });
    }
    figment
        .extract()
        .map(|document: Document| document.spec)
        .map_err(Box::new)
}

/// The same, and what is wrong with its values.
pub(crate) fn of_documents(documents: Vec<(String, Value)>) -> Result<Configuration, ConfigurationError> {
    let configuration = layered(documents).map_err(ConfigurationError::Field)?;
    match configuration.secret_mistakes().into_iter().next() {
        Some((_, _, error)) => Err(error),
        None => Ok(configuration),
    }
}

fn read(path: &Path, lookup: impl Fn(&str) -> Option<String>) -> Result<Value, ConfigurationError> {
    let failed = |operation| {
        move |source| ConfigurationError::Read {
            operation,
            path: path.to_owned(),
            source,
        }
    };
    let metadata = fs::metadata(path).map_err(failed("stat"))?;
    let invalid = |source| ConfigurationError::Yaml {
        path: path.to_owned(),
        source,
    };
    if metadata.len() > MAX_FILE {
        return Err(invalid(YamlError::TooLarge(metadata.len())));
    }
    let text = fs::read(path).and_then(text_of).map_err(failed("read"))?;
    match first_document(&expand_environment(&text, lookup)).map_err(invalid)? {
        mut object @ Value::Object(_) => {
            without_empty_scalars(&mut object);
            Ok(object)
        }
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        _ => Err(invalid(YamlError::Invalid("the document is no map".to_owned()))),
    }
}

/// One file as a layer of the configuration.
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) value: Value,
}

impl figment::Provider for Layer {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(self.name.clone()).interpolater(|_, path| path.join("."))
    }

    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        let dict = figment::value::Value::serialize(&self.value)?
            .into_dict()
            .unwrap_or_default();
        Ok(figment::Profile::Default.collect(dict))
    }
}

impl Configuration {
    /// The apps whose calls are routed.
    pub fn routed(&self) -> Result<Vec<RoutedApp>, RoutingError> {
        routing::routed(&self.routing)
    }

    /// What is measured: `spec.metrics` laid over `spec.metric`.
    pub fn metric(&self) -> Metric {
        self.metrics.over(&self.metric)
    }

    /// The components that must not be loaded: a type, or a type and a version after a slash.
    pub fn denied_components(&self) -> &[String] {
        &self.components.deny
    }

    /// How calls of the API are logged.
    pub fn api_logging(&self) -> &ApiLogging {
        &self.logging.api_logging
    }

    /// The features that are on: the list in order, then the defaults that it does not mention.
    pub fn enabled_features(&self) -> Vec<String> {
        let mut enabled: Vec<String> = Vec::new();
        for feature in &self.features {
            if feature.enabled == Some(true) {
                if !enabled.contains(&feature.name) {
                    enabled.push(feature.name.clone());
                }
            } else {
                enabled.retain(|name| *name != feature.name);
            }
        }
        let mentioned = |name: &str| self.features.iter().any(|feature| feature.name == name);
        enabled.extend(
            DEFAULT_FEATURES
                .iter()
                .filter(|name| !mentioned(name))
                .map(ToString::to_string),
        );
        enabled
    }

    /// What is wrong with the scopes of secrets, each with its position and the field.
    pub fn secret_mistakes(&self) -> Vec<(usize, &'static str, ConfigurationError)> {
        let scopes = &self.secrets.scopes;
        let mut mistakes = Vec::new();
        for (index, scope) in scopes.iter().enumerate() {
            let mut earlier = scopes[..index].iter();
            if earlier.any(|earlier| earlier.store_name == scope.store_name) {
                let error = ConfigurationError::RepeatedStore(scope.store_name.clone());
                mistakes.push((index, "storeName", error));
            }
            let access = scope.default_access.to_lowercase();
            if !["", "allow", "deny"].contains(&access.as_str()) {
                let error = ConfigurationError::DefaultAccess(scope.default_access.clone());
                mistakes.push((index, "defaultAccess", error));
            }
        }
        mistakes
    }

    /// The stores that have a scope, in order.
    pub fn secret_scopes(&self) -> impl Iterator<Item = &str> {
        self.secrets.scopes.iter().map(|scope| scope.store_name.as_str())
    }

    /// The features that are named, in order.
    pub fn named_features(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|feature| feature.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::load;

    #[test]
    fn nothing_is_a_configuration() {
        let configuration = load(&[]).unwrap();
        assert_eq!(configuration.enabled_features(), DEFAULT_FEATURES);
        assert_eq!(configuration.access_control, Some(AccessControl::default()));
        assert_eq!(configuration.metric().enabled, Some(true));
        assert_eq!(load(&[""]).unwrap(), configuration);
        assert_eq!(
            load(&["kind: Component\n"]).unwrap(),
            configuration,
            "the kind is not looked at"
        );
    }

    #[test]
    fn values() {
        let configuration = load(&["spec:\n  nameResolution:\n    component: $COMPONENT\n    configuration:\n      \
             connectionString: x\n  tracing:\n    samplingRate: 1\n  metric:\n    enabled: off\n  unknown: 1\n  \
             logging:\n    apiLogging:\n      enabled: yes\n      obfuscateURLs: true\n"])
        .unwrap();
        assert_eq!(configuration.name_resolution.component, "sqlite");
        assert_eq!(
            configuration.name_resolution.configuration["connectionString"],
            "x"
        );
        assert_eq!(configuration.tracing.sampling_rate, "1");
        assert_eq!(configuration.metric().enabled, Some(false));
        assert_eq!(configuration.api_logging().enabled, Some(true));
        assert_eq!(configuration.api_logging().obfuscate_urls, Some(true));
    }

    #[test]
    fn collectors() {
        let configuration = load(&["spec:\n  tracing:\n    otel:\n      endpointAddress: a:4317\n      protocol: grpc\n      \
             isSecure: false\n      timeout: 30s\n      headers: ['x-key=a=b', lonely, {name: x-other, value: 5}]\n"])
        .unwrap();
        let otel = configuration.tracing.otel;
        assert_eq!((otel.is_secure, otel.timeout.as_str()), (Some(false), "30s"));
        let headers: Vec<_> = otel
            .headers
            .iter()
            .map(|header| (&*header.name, &*header.value))
            .collect();
        assert_eq!(headers, [("x-key", "a=b"), ("", ""), ("x-other", "5")]);
        assert!(!format!("{otel:?}").contains("a=b"), "values may be secrets");
        let error = load(&["spec:\n  tracing:\n    otel:\n      headers: [[hush]]\n"]).unwrap_err();
        assert!(!error.contains("hush"), "{error}");
    }

    #[test]
    fn later_files_are_laid_over_earlier_ones() {
        let first = "spec:\n  features:\n  - {name: A, enabled: true}\n  - {name: HotReload, enabled: false}\n  \
                     accessControl:\n    trustDomain: td\n";
        let second =
            "spec:\n  features:\n  - {name: B, enabled: true}\n  accessControl:\n    defaultAction: deny\n";
        let configuration = load(&[first]).unwrap();
        assert_eq!(
            configuration.enabled_features(),
            ["A", "WorkflowsRemoteActivityReminder"]
        );
        let configuration = load(&[first, second]).unwrap();
        assert_eq!(
            configuration.enabled_features(),
            ["B", "HotReload", "WorkflowsRemoteActivityReminder"],
            "a list is replaced"
        );
        let access = configuration.access_control.unwrap();
        assert_eq!(
            (access.trust_domain.as_str(), access.default_action.as_deref()),
            ("td", Some("deny"))
        );
        assert_eq!(load(&["spec:\n  accessControl:\n"]).unwrap().access_control, None);
    }

    #[test]
    fn mistakes_name_file_and_field() {
        let error = load(&["spec:\n  metric:\n    enabled: maybe\n"]).unwrap_err();
        assert!(
            error.contains("FILE") && error.contains("metric") && error.contains("maybe"),
            "{error}"
        );
        let error = load(&["spec:\n  tracing: [a]\n"]).unwrap_err();
        assert!(error.contains("FILE") && error.contains("tracing"), "{error}");
        let error = load(&["a: b: c\n"]).unwrap_err();
        assert!(error.starts_with("FILE: yaml: "), "{error}");
        let error = load_configuration(&["/nonexistent/x.yaml".to_owned()], |_| None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "stat /nonexistent/x.yaml: no such file or directory"
        );
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().display().to_string();
        let error = load_configuration(std::slice::from_ref(&folder), |_| None).unwrap_err();
        assert_eq!(error.to_string(), format!("read {folder}: is a directory"));
    }

    #[test]
    fn secret_scopes_are_checked() {
        let twice = "spec:\n  secrets:\n    scopes:\n    - storeName: a\n    - storeName: a\n";
        assert_eq!(
            load(&[twice]).unwrap_err(),
            "a storeName is repeated in secrets configuration"
        );
        let odd = "spec:\n  secrets:\n    scopes:\n    - storeName: a\n      defaultAccess: maybe\n";
        assert_eq!(
            load(&[odd]).unwrap_err(),
            "defaultAccess maybe can be either allow or deny"
        );
    }
}
