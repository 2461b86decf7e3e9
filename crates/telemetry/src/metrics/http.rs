//! Requests to the HTTP API and to the public port.

use std::sync::Arc;
use std::time::{Duration, Instant};

use invoke_core::observe::Request;
use invoke_core::trace::TraceContext;
use percent_encoding::percent_decode_str;

use super::buckets::{Buckets, Histogram};
use super::family::{Family, Kind};
use super::labels::{Column, Entry, Names, Part, Table, TableSettings};
use super::paths::PathLabels;
use super::settings::MetricsSettings;

const BY_PATH: &[(&str, Part)] = &[
    ("app_id", Part::App),
    ("method", Part::First),
    ("path", Part::Second),
    ("status", Part::Code),
];
const BY_APP: &[(&str, Part)] = &[("app_id", Part::App)];

/// The last of them is shown with increased cardinality alone.
static REQUESTS: [Column<Histogram>; 3] = [
    Column {
        name: "dapr_http_server_request_count",
        help: "Count of HTTP requests processed by the server.",
        kind: Kind::Counter,
        labels: BY_PATH,
        value: Histogram::count,
    },
    Column {
        name: "dapr_http_server_latency",
        help: "HTTP request end-to-end latency in server.",
        kind: Kind::Histogram,
        labels: BY_PATH,
        value: Histogram::value,
    },
    Column {
        name: "dapr_http_server_response_count",
        help: "The number of HTTP responses",
        kind: Kind::Counter,
        labels: BY_PATH,
        value: Histogram::count,
    },
];

static BODIES: [Column<Bodies>; 2] = [
    Column {
        name: "dapr_http_server_request_bytes",
        help: "HTTP request body size if set as ContentLength (uncompressed) in server.",
        kind: Kind::Histogram,
        labels: BY_APP,
        value: |bodies| bodies.requests.value(),
    },
    Column {
        name: "dapr_http_server_response_bytes",
        help: "HTTP response body size (uncompressed) in server.",
        kind: Kind::Histogram,
        labels: BY_APP,
        value: |bodies| bodies.responses.value(),
    },
];

struct Bodies {
    requests: Histogram,
    responses: Histogram,
}

/// What there are too many of is counted without its path.
pub(super) fn without_path([method, _]: Names<'_>) -> Names<'_> {
    [method, ""]
}

/// The label `method`.
pub(super) fn verb(method: &str, excludes_verbs: bool) -> &str {
    if excludes_verbs {
        return "";
    }
    match method {
        "GET" | "PUT" | "POST" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS" | "CONNECT" | "TRACE" => method,
        _ => "UNKNOWN",
    }
}

/// The families of requests.
pub(super) struct HttpServer {
    paths: Arc<PathLabels>,
    excludes_verbs: bool,
    requests: Table<Histogram>,
    bodies: Table<Bodies>,
    all_bodies: Arc<Bodies>,
}

/// A request that is measured.
pub(super) struct Measured {
    entry: Arc<Entry<Histogram>>,
    begun: Instant,
    length: u64,
    status: i32,
}

impl Measured {
    pub(super) fn status(&mut self, status: i32) {
        self.status = status;
    }
}

impl HttpServer {
    pub(super) fn new(settings: &MetricsSettings, paths: Arc<PathLabels>) -> Self {
        let shown = if settings.http.is_increased { 3 } else { 2 };
        let (latencies, sizes) = (settings.latencies(), Buckets::sizes());
        let requests = TableSettings {
            columns: &REQUESTS[..shown],
            make: Box::new(move || latencies.histogram()),
            fold: without_path,
            what: "paths of HTTP requests",
        };
        let bodies = TableSettings {
            columns: &BODIES[..],
            make: Box::new(move || Bodies {
                requests: sizes.histogram(),
                responses: sizes.histogram(),
            }),
            fold: |names| names,
            what: "apps",
        };
        let bodies = Table::new(Arc::clone(&settings.app_id), settings.rules.clone(), bodies);
        Self {
            paths,
            excludes_verbs: settings.http.excludes_verbs,
            requests: Table::new(Arc::clone(&settings.app_id), settings.rules.clone(), requests),
            all_bodies: bodies.series(["", ""], super::labels::NO_CODE),
            bodies,
        }
    }

    pub(super) fn begin(&self, request: Request<'_>) -> Measured {
        let path = percent_decode_str(request.path).decode_utf8_lossy();
        let method = verb(request.method.as_str(), self.excludes_verbs);
        let length = request.content_length.and_then(|length| length.to_str().ok());
        Measured {
            entry: self.requests.entry([method, &self.paths.of_server(&path)]),
            begun: Instant::now(),
            length: length.and_then(|length| length.trim().parse().ok()).unwrap_or(0),
            // Nobody was told anything.
            status: 0,
        }
    }

    pub(super) fn end(&self, request: &Measured, bytes: u64, span: Option<&TraceContext>) {
        let latency: Duration = request.begun.elapsed();
        self.requests.with(&request.entry, request.status, |series| {
            series.observe_in(latency, span);
        });
        self.all_bodies.requests.observe_bytes(request.length);
        self.all_bodies.responses.observe_bytes(bytes);
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = self.requests.families();
        families.extend(self.bodies.families());
        families
    }
}
