//! What the configuration and the environment want together.

use std::fmt;

use http::Uri;

use super::error::TraceError;
use super::export::{Destination, Exporters};
use super::grpc::{EXPORT, OtlpGrpc};
use super::observer::Traces;
use super::otlp::Resource;
use super::post::HttpPost;
use super::sampler::Sampler;
use super::settings::{Batching, OtelSpec, TraceSpec};
use crate::otlp::{Collector, Endpoint, Protocol, TIMEOUT, Variables};

const SCOPE: &str = "dapr.runtime";

/// Which traces are recorded and who is told of them, checked. It opens nothing.
#[derive(Clone, PartialEq)]
pub struct Plan {
    app_id: String,
    /// `None` where this sidecar makes no spans: it passes on what it gets.
    is_active: bool,
    sampler: Sampler,
    stdout: bool,
    zipkin: Option<Uri>,
    collector: Option<Collector>,
    batching: Batching,
    most_attributes: usize,
    resource: Vec<(String, String)>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("is_active", &self.is_active)
            .field("sampler", &self.sampler)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// What `spec` and the variables that `variable` finds want for the sidecar of an app.
    pub fn of(
        mut spec: TraceSpec,
        app_id: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, TraceError> {
        let variables = Variables(variable, "TRACES");
        let is_of_file = !spec.otel.endpoint.is_empty();
        let path = if is_of_file {
            None
        } else {
            of_variables(&mut spec, &variables)?
        };
        let collector = collector(&spec.otel, path, is_of_file, &variables)?;
        let zipkin = zipkin(&spec.zipkin)?;
        let has_exporter = spec.stdout || zipkin.is_some() || collector.is_some();
        let is_off = spec.sampling_rate.parse::<f64>() == Ok(0.0);
        Ok(Self {
            app_id: app_id.to_owned(),
            is_active: !is_off && (has_exporter || !spec.sampling_rate.is_empty()),
            sampler: Sampler::new(&spec.sampling_rate),
            stdout: spec.stdout,
            zipkin,
            collector,
            batching: variables.batching(),
            most_attributes: variables.most_attributes(),
            resource: variables.resource(app_id),
        })
    }

    /// The collector of OpenTelemetry, if there is to be one.
    #[cfg(test)]
    pub(super) fn collector(&self) -> Option<&Collector> {
        self.collector.as_ref()
    }

    /// The sampler in the words of OpenTelemetry, for the log.
    pub fn sampler(&self) -> impl fmt::Display + '_ {
        &self.sampler
    }

    /// The observer, with its exporters at work; `None` where no spans are made. What cannot be set up is told in the log
    /// and does without: traces must not decide whether the sidecar runs.
    pub fn begin(&self, exporters: &Exporters) -> Option<Traces> {
        if !self.is_active {
            return None;
        }
        let mut queues = Vec::new();
        let mut begin = |name: &'static str, destination: Result<Destination, String>| match destination {
            Ok(destination) => queues.push(exporters.begin(name, destination, self.batching)),
            Err(why) => tracing::error!(target: SCOPE, "spans are not exported to {name}: {why}"),
        };
        if self.stdout {
            begin("stdout", Ok(Destination::Stdout));
        }
        if let Some(url) = &self.zipkin {
            let post = HttpPost::new(url, None, exporters);
            begin(
                "zipkin",
                post.map(|post| Destination::Zipkin(post, self.resource.clone())),
            );
        }
        if let Some(collector) = &self.collector {
            let resource = Resource::new(&self.resource);
            let destination = match &collector.protocol {
                Protocol::Grpc => {
                    OtlpGrpc::new(collector, EXPORT, exporters).map(|grpc| Destination::Grpc(grpc, resource))
                }
                Protocol::Http(path) => HttpPost::to_collector(collector, path, exporters)
                    .map(|post| Destination::Http(post, resource)),
            };
            begin("otel", destination);
        }
        Some(Traces::new(
            &self.app_id,
            self.sampler,
            self.most_attributes,
            queues,
        ))
    }
}

/// Takes from the environment what a configuration without a collector leaves open. The answer is the path of a collector
/// that is spoken to with HTTP.
fn of_variables<F: Fn(&str) -> Option<String>>(
    spec: &mut TraceSpec,
    variables: &Variables<F>,
) -> Result<Option<String>, TraceError> {
    let mut path = None;
    if let Some(endpoint) = variables.endpoint(TRACES) {
        spec.otel.endpoint = endpoint.authority;
        path = Some(endpoint.path);
        if spec.sampling_rate.is_empty() {
            "1".clone_into(&mut spec.sampling_rate);
        }
        let protocol = if variables.is_http() { "http" } else { "grpc" };
        protocol.clone_into(&mut spec.otel.protocol);
    }
    spec.otel.headers.extend(variables.headers()?);
    if let Some(timeout) = variables.timeout()? {
        spec.otel.timeout = Some(timeout);
    }
    Ok(path)
}

const TRACES: &str = "/v1/traces";

fn collector<F: Fn(&str) -> Option<String>>(
    otel: &OtelSpec,
    path: Option<String>,
    is_of_file: bool,
    variables: &Variables<F>,
) -> Result<Option<Collector>, TraceError> {
    if otel.endpoint.is_empty() || otel.protocol.is_empty() {
        return Ok(None);
    }
    // A scheme and a path have no place in the file; Dapr exports nothing then, without a word.
    let endpoint = Endpoint::whole(&otel.endpoint, TRACES);
    let protocol = match otel.protocol.as_str() {
        "grpc" => Protocol::Grpc,
        "http" => Protocol::Http(path.unwrap_or(endpoint.path)),
        other => return Err(TraceError::Protocol(other.to_owned())),
    };
    let is_of_variables = otel.headers.is_empty() && is_of_file;
    // Nothing but a scheme or a variable can make a connection plain that the file does not.
    let is_plain = otel.is_secure == Some(false)
        || variables
            .endpoint(TRACES)
            .is_some_and(|endpoint| endpoint.is_plain)
        || variables.is_insecure();
    Ok(Some(Collector {
        authority: endpoint.authority,
        protocol,
        is_secure: !is_plain,
        roots: variables.roots()?,
        headers: if is_of_variables {
            variables.valid_headers()
        } else {
            let named = otel.headers.iter().filter(|(name, _)| !name.is_empty());
            named.cloned().collect()
        },
        timeout: match otel.timeout {
            Some(timeout) => timeout,
            None if is_of_file => variables.timeout().ok().flatten().unwrap_or(TIMEOUT),
            None => TIMEOUT,
        },
        is_packed: variables.is_packed(),
    }))
}

fn zipkin(url: &str) -> Result<Option<Uri>, TraceError> {
    if url.is_empty() {
        return Ok(None);
    }
    let invalid = |url: &str, reason: &str| TraceError::Zipkin {
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    let Ok(uri) = url.parse::<Uri>() else {
        return Err(invalid(url, "it cannot be read"));
    };
    match (uri.scheme_str(), uri.authority()) {
        (Some(_), Some(authority)) if authority.as_str().contains('@') => Err(invalid(
            "(not shown)",
            "a user and a password in the address are not supported",
        )),
        (Some("http" | "https"), Some(_)) => Ok(Some(uri)),
        (Some(_), Some(_)) => Err(invalid(url, "unsupported protocol scheme")),
        _ => Err(invalid(url, "no scheme or host")),
    }
}
