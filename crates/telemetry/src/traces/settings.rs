//! What a configuration says about traces.

use std::fmt;
use std::time::Duration;

/// `spec.tracing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceSpec {
    /// How many traces are sampled, as it is written; empty where it is not.
    pub sampling_rate: String,
    /// Whether spans are logged.
    pub stdout: bool,
    /// The URL of a Zipkin collector; empty for none.
    pub zipkin: String,
    /// The OpenTelemetry collector.
    pub otel: OtelSpec,
}

/// `spec.tracing.otel`. Its `Debug` shows no value of a header, which may be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OtelSpec {
    /// `grpc` or `http`.
    pub protocol: String,
    /// `host:port`; empty for none.
    pub endpoint: String,
    /// Whether the connection is secured; it is, unless this says no.
    pub is_secure: Option<bool>,
    /// What goes along with each export.
    pub headers: Vec<(String, String)>,
    /// How long an export may take.
    pub timeout: Option<Duration>,
}

impl fmt::Debug for OtelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("OtelSpec")
            .field("protocol", &self.protocol)
            .field("endpoint", &self.endpoint)
            .field("is_secure", &self.is_secure)
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// How spans are handed to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batching {
    /// How many spans may wait.
    pub(super) queue: usize,
    /// How many go out at once.
    pub(super) batch: usize,
    /// How long a span waits for others.
    pub(super) delay: Duration,
    /// How long handing a batch over may take, with all that is tried.
    pub(super) timeout: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            queue: 2048,
            batch: 512,
            delay: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        }
    }
}
