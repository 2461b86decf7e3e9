//! What the configuration and the environment want of pushed metrics.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::task::{Pushing, Worker};
use crate::metrics::Metrics;
use crate::otlp::{Collector, Endpoint, Protocol, TIMEOUT, VariableError, Variables};
use crate::traces::{Exporters, HttpPost, OtlpGrpc, Resource};

/// How often metrics go out unless somebody says otherwise.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long all messages of one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// More often nobody needs them.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const PATH: &str = "/v1/metrics";
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const SCOPE: &str = "dapr.runtime.diagnostics";

/// `spec.daprd.metrics.otlp`. Its `Debug` shows no value of a header, which may be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OtlpSpec {
    /// Whether metrics are pushed; `None` leaves that to the rest and to the environment.
    pub enabled: Option<bool>,
    /// `host:port`, or a URL; empty for none.
    pub endpoint: String,
    /// `grpc` or `http`; empty for what the environment says.
    pub protocol: String,
    /// Whether the connection is secured; it is, unless this says no.
    pub is_secure: Option<bool>,
    /// What goes along with each export.
    pub headers: Vec<(String, String)>,
    /// How long an export may take.
    pub timeout: Option<Duration>,
    /// How often metrics go out.
    pub interval: Option<Duration>,
}

impl fmt::Debug for OtlpSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpSpec")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Pushed metrics that cannot be set up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PushError {
    /// The protocol is none that is known.
    #[error("metrics by OTLP: the protocol {0:?} is neither grpc nor http")]
    Protocol(String),
    /// A variable or a file cannot be read. What is wrong with it may be a secret and is not shown.
    #[error("metrics by OTLP: {0}")]
    Variable(String),
}

impl From<VariableError> for PushError {
    fn from(VariableError(text): VariableError) -> Self {
        Self::Variable(text)
    }
}

/// Where metrics are pushed to, checked. It opens nothing.
#[derive(Clone, PartialEq)]
pub struct PushPlan {
    collector: Collector,
    resource: Vec<(String, String)>,
    interval: Duration,
    timeout: Duration,
}

impl fmt::Debug for PushPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushPlan")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl PushPlan {
    /// What `spec` and the variables that `variable` finds want for the sidecar of an app; `None` where nothing is to be
    /// pushed. What `spec` says comes first, then what is said of metrics, then what is said of everything.
    pub fn of(
        spec: &OtlpSpec,
        app_id: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, PushError> {
        let variables = Variables(variable, "METRICS");
        if !is_wanted(spec, &variables) {
            return Ok(None);
        }
        let is_http = match spec.protocol.as_str() {
            "" => variables.is_http(),
            "grpc" => false,
            "http" | "http/protobuf" => true,
            other => return Err(PushError::Protocol(other.to_owned())),
        };
        let endpoint = endpoint(spec, &variables, is_http);
        let is_plain = match spec.is_secure {
            Some(is_secure) => !is_secure,
            None => endpoint.is_plain || variables.is_insecure(),
        };
        let collector = Collector {
            authority: endpoint.authority,
            protocol: if is_http {
                Protocol::Http(endpoint.path)
            } else {
                Protocol::Grpc
            },
            is_secure: !is_plain,
            roots: variables.roots()?,
            headers: if spec.headers.is_empty() {
                variables.headers()?
            } else {
                spec.headers.clone()
            },
            timeout: match spec.timeout {
                Some(timeout) => timeout,
                None => variables.timeout()?.unwrap_or(TIMEOUT),
            },
            is_packed: variables.is_packed(),
        };
        let temporality = variables
            .of_exporter("TEMPORALITY_PREFERENCE")
            .unwrap_or_default();
        if !matches!(temporality.to_lowercase().as_str(), "" | "cumulative") {
            tracing::warn!(
                target: SCOPE,
                "metrics by OTLP are cumulative; OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE={temporality:?} has no effect"
            );
        }
        let interval = spec
            .interval
            .or_else(|| variables.millis("OTEL_METRIC_EXPORT_INTERVAL"))
            .unwrap_or(INTERVAL);
        Ok(Some(Self {
            collector,
            resource: variables.resource(app_id),
            interval: interval.max(SHORTEST_INTERVAL),
            timeout: variables
                .millis("OTEL_METRIC_EXPORT_TIMEOUT")
                .unwrap_or(EXPORT_TIMEOUT),
        }))
    }

    /// Begins to push what `metrics` shows. What cannot be set up is told in the log and does without: metrics must not
    /// decide whether the sidecar runs.
    pub fn begin(&self, metrics: &Metrics, exporters: &Exporters) -> Option<Pushing> {
        let collector = &self.collector;
        let worker = match &collector.protocol {
            Protocol::Grpc => OtlpGrpc::new(collector, EXPORT, exporters).map(Worker::grpc),
            Protocol::Http(path) => HttpPost::to_collector(collector, path, exporters).map(Worker::http),
        };
        match worker {
            Ok(worker) => {
                let resource = Resource::new(&self.resource);
                Some(worker.begin(metrics, resource, [self.interval, self.timeout], exporters))
            }
            Err(why) => {
                tracing::error!(target: SCOPE, "metrics are not pushed: {why}");
                None
            }
        }
    }
}

/// Off unless somebody asks for it: the address of a collector of everything is there for traces.
fn is_wanted<F: Fn(&str) -> Option<String>>(spec: &OtlpSpec, variables: &Variables<F>) -> bool {
    if let Some(enabled) = spec.enabled {
        return enabled;
    }
    if !spec.endpoint.is_empty() {
        return true;
    }
    match variables.get("OTEL_METRICS_EXPORTER") {
        Some(names) => names.split(',').any(|name| name.trim() == "otlp"),
        None => variables.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").is_some(),
    }
}

/// Where the collector is.
fn endpoint<F: Fn(&str) -> Option<String>>(
    spec: &OtlpSpec,
    variables: &Variables<F>,
    is_http: bool,
) -> Endpoint {
    if !spec.endpoint.is_empty() {
        return Endpoint::whole(&spec.endpoint, PATH);
    }
    variables.endpoint(PATH).unwrap_or_else(|| {
        let port = if is_http { 4318 } else { 4317 };
        Endpoint::whole(&format!("http://localhost:{port}"), PATH)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(spec: &OtlpSpec, known: &[(&str, &str)]) -> Result<Option<PushPlan>, PushError> {
        PushPlan::of(spec, "a", |name| {
            let found = known.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OWN: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
    const NAMES: &str = "OTEL_METRICS_EXPORTER";

    #[test]
    fn who_asks_for_it() {
        let enabled = |enabled| OtlpSpec {
            enabled: Some(enabled),
            ..OtlpSpec::default()
        };
        let none = OtlpSpec::default();
        for (spec, known, wanted) in [
            (&none, &[][..], None),
            (&none, &[(ALL, "http://c:1")], None),
            (&none, &[(NAMES, "prometheus")], None),
            (&none, &[(NAMES, "none"), (OWN, "http://c:1")], None),
            (
                &none,
                &[(NAMES, "otlp")],
                Some(("localhost:4317", Protocol::Grpc, false)),
            ),
            (
                &none,
                &[(NAMES, "prometheus, otlp"), (ALL, "http://c:1/x/")],
                Some(("c:1", Protocol::Grpc, false)),
            ),
            (
                &none,
                &[
                    (NAMES, "otlp"),
                    (ALL, "https://c:1/x/"),
                    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ],
                Some(("c:1", Protocol::Http("/x/v1/metrics".to_owned()), true)),
            ),
            (
                &none,
                &[
                    (OWN, "http://m:2/push"),
                    (ALL, "http://c:1"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ],
                Some(("m:2", Protocol::Http("/push".to_owned()), false)),
            ),
            (&enabled(false), &[(NAMES, "otlp")], None),
            (
                &enabled(true),
                &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
                Some(("localhost:4318", Protocol::Http(PATH.to_owned()), false)),
            ),
            (
                &OtlpSpec {
                    endpoint: "f:3".to_owned(),
                    protocol: "http".to_owned(),
                    ..OtlpSpec::default()
                },
                &[(OWN, "http://m:2")],
                Some(("f:3", Protocol::Http(PATH.to_owned()), true)),
            ),
        ] {
            let found = plan(spec, known).unwrap();
            let found = found.map(|plan| plan.collector);
            let found = found
                .as_ref()
                .map(|found| (&*found.authority, found.protocol.clone(), found.is_secure));
            assert_eq!(found, wanted, "{spec:?} {known:?}");
        }
    }

    #[test]
    fn what_else_is_said() {
        let found = plan(
            &OtlpSpec::default(),
            &[
                (NAMES, "otlp"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
                ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "c=d%20e"),
                ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1500"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
                ("OTEL_METRIC_EXPORT_TIMEOUT", "rubbish"),
                ("OTEL_SERVICE_NAME", "other"),
            ],
        );
        let found = found.unwrap().unwrap();
        assert_eq!(found.collector.headers, [("c".to_owned(), "d e".to_owned())]);
        assert_eq!(found.collector.timeout, Duration::from_millis(1500));
        assert!(found.collector.is_packed);
        assert_eq!(found.interval, Duration::from_secs(5));
        assert_eq!(found.timeout, EXPORT_TIMEOUT);
        assert_eq!(found.resource, [("service.name".to_owned(), "other".to_owned())]);
    }

    #[test]
    fn mistakes() {
        let spec = |protocol: &str| OtlpSpec {
            endpoint: "c:1".to_owned(),
            protocol: protocol.to_owned(),
            ..OtlpSpec::default()
        };
        assert_eq!(
            plan(&spec("udp"), &[]),
            Err(PushError::Protocol("udp".to_owned()))
        );
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/not/there"),
        ] {
            let error = plan(&spec("grpc"), &[(name, value)]).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
