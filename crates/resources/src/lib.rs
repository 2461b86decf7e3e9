//! The YAML that a sidecar reads, as typed values.
//!
//! [`Configuration`] is the resource that `--config` names: several files are layered over each other, variables of
//! the environment are expanded in their text, and every error names the file and the field. This crate does not
//! decide what a section *means*: the crates that implement it take the typed value. Reading is bounded in size,
//! depth and aliases, because a file may come from anybody who can write to a volume.
//!
//! [`load_resources`] reads the manifests of a kind from folders: [`Component`]s and [`HttpEndpoint`]s;
//! [`decode_resources`] reads them as the operator of Kubernetes sends them. [`SecretSource`] replaces references to
//! secrets and variables by their values. [`load_resiliency`] and [`decode_resiliency`] read policies. [`Folders`]
//! are read again and again; they keep the resources of a file that can no longer be read. [`inspect()`] tells all
//! that is wrong with a file, and where; [`schema`](schema()) is what the types read, as a JSON Schema. This crate
//! knows serde and figment, no servers.

mod access;
mod component;
mod configuration;
mod document;
mod encoding;
mod expand;
mod extensions;
mod field_error;
mod folders;
mod http_endpoint;
mod inspect;
mod item;
mod lenient;
mod manifest;
mod marked;
mod metric;
mod received;
mod resiliency;
mod routing;
mod schema;
mod secrets;
mod template;
#[cfg(test)]
mod testing;
mod tracing;
mod yaml;

pub use access::{AccessControl, Api, ApiRule, AppPolicy, Operation};
pub use component::Component;
pub use configuration::{
    ApiLogging, Configuration, ConfigurationError, Feature, Handler, NameResolution, Pipeline,
    load_configuration,
};
pub use expand::expand_environment;
pub use extensions::{AccessLogging, AppConnections, AppExtensions, Extensions, OtlpMetrics, OwnMetrics};
pub use folders::{Folders, is_yaml_name};
pub use http_endpoint::{EndpointTls, HttpEndpoint};
pub use inspect::{
    Content, Finding, Inspected, Inspection, Place, Severity, inspect, inspect_configuration,
    layered_configuration, text_of,
};
pub use item::{Item, SecretRef};
pub use manifest::{Filter, Head, Inert, LoadError, Loaded, Manifest, Resource, load_resources};
pub use metric::{Metric, MetricHttp, MetricLabel, MetricRule};
pub use received::{DecodeError, decode_configuration, decode_resources};
pub use resiliency::{
    CircuitBreakerPolicy, HedgePolicy, LoadedResiliency, Resiliency, RetryBudget, RetryPolicy,
    TargetPolicies, Trouble, decode_resiliency, load_resiliency,
};
pub use routing::{MirrorTo, RoutedApp, RoutingError, StickyBy};
pub use schema::{SCHEMA_KINDS, schema, schema_of_all};
pub use secrets::{References, SecretSource, SecretStore, SecretStoreError, Unresolved};
pub use template::{AccessField, Piece, Template, TemplateError};
pub use tracing::{Otel, OtelHeader, Tracing, Zipkin};
pub use yaml::{MAX_FILE, YamlError, first_document};
