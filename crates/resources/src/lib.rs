//! The YAML that a sidecar reads, as typed values.
//!
//! [`Configuration`] is the resource that `--config` names: several files are layered one over the other, the
//! environment is expanded in their text, and every error names the file and the field. What a section *means*
//! is not decided here: the crates that implement it take the typed value. Reading is bounded in size, depth
//! and aliases, because a file may come from anybody who can write to a volume.
//!
//! Later this crate also loads components, HTTP endpoints and resiliency policies from folders and from the
//! operator, and watches them. It knows serde and figment, no servers.

mod access;
mod configuration;
mod expand;
mod lenient;
#[cfg(test)]
mod testing;
mod yaml;

pub use access::{AccessControl, Api, ApiRule, AppPolicy, Operation};
pub use configuration::{
    ApiLogging, Configuration, ConfigurationError, Feature, Handler, Metric, NameResolution, Pipeline,
    Tracing, load_configuration,
};
pub use expand::expand_environment;
pub use yaml::{MAX_FILE, YamlError, first_document};
