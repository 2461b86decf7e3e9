//! Calls that this sidecar makes by itself: of the app, of external endpoints, and the probes of the app's health.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use invoke_core::trace::TraceContext;

use super::buckets::{Buckets, Histogram};
use super::family::{Family, Kind};
use super::grpc::{Messages, without_method};
use super::http::{verb, without_path};
use super::labels::{Column, NO_CODE, Part, Table, TableSettings};
use super::paths::PathLabels;
use super::settings::MetricsSettings;

const BY_PATH: &[(&str, Part)] = &[
    ("app_id", Part::App),
    ("method", Part::First),
    ("path", Part::Second),
    ("status", Part::Code),
];
const BY_RPC: &[(&str, Part)] = &[
    ("app_id", Part::App),
    ("grpc_client_method", Part::First),
    ("grpc_client_status", Part::CodeName),
];
const BY_METHOD: &[(&str, Part)] = &[("app_id", Part::App), ("grpc_client_method", Part::First)];

static COMPLETED: [Column<Histogram>; 2] = [
    Column {
        name: "dapr_http_client_completed_count",
        help: "Count of completed requests",
        kind: Kind::Counter,
        labels: BY_PATH,
        value: Histogram::count,
    },
    Column {
        name: "dapr_http_client_roundtrip_latency",
        help: "Time between first byte of request headers sent to last byte of response received, or terminal error",
        kind: Kind::Histogram,
        labels: BY_PATH,
        value: Histogram::value,
    },
];

static SENT: [Column<Histogram>; 1] = [Column {
    name: "dapr_http_client_sent_bytes",
    help: "Total bytes sent in request body (not including headers)",
    kind: Kind::Histogram,
    labels: BY_PATH,
    value: Histogram::value,
}];

static RECEIVED: [Column<Histogram>; 1] = [Column {
    name: "dapr_http_client_received_bytes",
    help: "Total bytes received in response bodies (not including headers but including error responses with bodies)",
    kind: Kind::Histogram,
    labels: &[("app_id", Part::App)],
    value: Histogram::value,
}];

static RPCS: [Column<Histogram>; 2] = [
    Column {
        name: "dapr_grpc_io_client_completed_rpcs",
        help: "Count of RPCs by method and status.",
        kind: Kind::Counter,
        labels: BY_RPC,
        value: Histogram::count,
    },
    Column {
        name: "dapr_grpc_io_client_roundtrip_latency",
        help: "Time between first byte of request sent to last byte of response received, or terminal error.",
        kind: Kind::Histogram,
        labels: BY_RPC,
        value: Histogram::value,
    },
];

static MESSAGES: [Column<Messages>; 2] = [
    Column {
        name: "dapr_grpc_io_client_sent_bytes_per_rpc",
        help: "Total bytes sent across all request messages per RPC.",
        kind: Kind::Histogram,
        labels: BY_METHOD,
        value: |messages| messages.sent.value(),
    },
    Column {
        name: "dapr_grpc_io_client_received_bytes_per_rpc",
        help: "Total bytes received across all response messages per RPC.",
        kind: Kind::Histogram,
        labels: BY_METHOD,
        value: |messages| messages.received.value(),
    },
];

const PROBES_HELP: &str = "Count of completed health probes";
const PROBES_LATENCY_HELP: &str = "Time between first byte of health probes headers sent to last byte of response received, or terminal error";

static HTTP_PROBES: [Column<Histogram>; 2] = [
    Column {
        name: "dapr_http_healthprobes_completed_count",
        help: PROBES_HELP,
        kind: Kind::Counter,
        labels: &[("app_id", Part::App), ("status", Part::Code)],
        value: Histogram::count,
    },
    Column {
        name: "dapr_http_healthprobes_roundtrip_latency",
        help: PROBES_LATENCY_HELP,
        kind: Kind::Histogram,
        labels: &[("app_id", Part::App), ("status", Part::Code)],
        value: Histogram::value,
    },
];

static GRPC_PROBES: [Column<Histogram>; 2] = [
    Column {
        name: "dapr_grpc_io_healthprobes_completed_count",
        help: PROBES_HELP,
        kind: Kind::Counter,
        labels: &[("app_id", Part::App), ("grpc_client_status", Part::CodeName)],
        value: Histogram::count,
    },
    Column {
        name: "dapr_grpc_io_healthprobes_roundtrip_latency",
        help: "Time between first byte of health probes sent to last byte of response received, or terminal error",
        kind: Kind::Histogram,
        labels: &[("app_id", Part::App), ("grpc_client_status", Part::CodeName)],
        value: Histogram::value,
    },
];

/// A call with HTTP.
#[derive(Clone, Copy, Debug)]
pub struct HttpCall<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The method path.
    pub path: &'a str,
    /// The span that it belongs to, if its trace is recorded.
    pub span: Option<&'a TraceContext>,
}

/// A unary call with gRPC that is over.
#[derive(Clone, Copy, Debug)]
pub struct GrpcCall<'a> {
    /// The full method.
    pub method: &'a str,
    /// The code of its status.
    pub status: i32,
    /// How long its message and that of its answer are, in bytes.
    pub bytes: [u64; 2],
    /// How long it took.
    pub latency: Duration,
    /// The span that it belongs to, if its trace is recorded.
    pub span: Option<&'a TraceContext>,
}

/// Measures the calls that a sidecar makes. Cloning shares the counters.
#[derive(Clone)]
pub struct AppMetrics(Arc<Inner>);

struct Inner {
    paths: Arc<PathLabels>,
    excludes_verbs: bool,
    completed: Table<Histogram>,
    sent: Table<Histogram>,
    received: Table<Histogram>,
    all_received: Arc<Histogram>,
    rpcs: Table<Histogram>,
    messages: Table<Messages>,
    http_probes: Table<Histogram>,
    grpc_probes: Table<Histogram>,
}

impl AppMetrics {
    /// No calls yet.
    pub fn new(settings: &MetricsSettings, paths: &Arc<PathLabels>) -> Self {
        let table = |columns: &'static [Column<Histogram>], buckets: &Buckets, fold, what| {
            let buckets = buckets.clone();
            let table = TableSettings {
                columns,
                make: Box::new(move || buckets.histogram()),
                fold,
                what,
            };
            Table::new(Arc::clone(&settings.app_id), settings.rules.clone(), table)
        };
        let (latencies, sizes) = (settings.latencies(), Buckets::sizes());
        let received = table(&RECEIVED, &sizes, without_method, "apps");
        let messages = TableSettings {
            columns: &MESSAGES[..],
            make: {
                let sizes = sizes.clone();
                Box::new(move || Messages::new(&sizes))
            },
            fold: without_method,
            what: "methods of gRPC calls",
        };
        Self(Arc::new(Inner {
            paths: Arc::clone(paths),
            excludes_verbs: settings.http.excludes_verbs,
            completed: table(&COMPLETED, &latencies, without_path, "paths of calls of the app"),
            sent: table(&SENT, &sizes, without_path, "paths of calls of the app"),
            all_received: received.series(["", ""], NO_CODE),
            received,
            rpcs: table(&RPCS, &latencies, without_method, "methods of gRPC calls"),
            messages: Table::new(Arc::clone(&settings.app_id), settings.rules.clone(), messages),
            http_probes: table(&HTTP_PROBES, &latencies, without_method, "statuses of probes"),
            grpc_probes: table(&GRPC_PROBES, &latencies, without_method, "statuses of probes"),
        }))
    }

    /// A call begins, with a body of so many bytes as far as that is known.
    pub fn http_begun(&self, call: HttpCall<'_>, bytes: u64) {
        self.of(&self.0.sent, call, NO_CODE, |series| series.observe_bytes(bytes));
    }

    /// The head of the answer is there.
    pub fn http_completed(&self, call: HttpCall<'_>, status: i32, latency: Duration) {
        self.of(&self.0.completed, call, status, |series| {
            series.observe_in(latency, call.span);
        });
    }

    /// The body of an answer had so many bytes.
    pub fn http_received(&self, bytes: u64) {
        self.0.all_received.observe_bytes(bytes);
    }

    fn of(&self, table: &Table<Histogram>, call: HttpCall<'_>, status: i32, count: impl FnOnce(&Histogram)) {
        let method = verb(call.method, self.0.excludes_verbs);
        self.0
            .paths
            .with_client(call.path, |path| table.count([method, path], status, count));
    }

    /// A unary gRPC call is over.
    pub fn grpc_completed(&self, call: GrpcCall<'_>) {
        let inner = &self.0;
        let (names, [sent, received]) = ([call.method, ""], call.bytes);
        inner.rpcs.count(names, call.status, |series| {
            series.observe_in(call.latency, call.span);
        });
        inner.messages.count(names, NO_CODE, |messages| {
            messages.sent.observe_bytes(sent);
            messages.received.observe_bytes(received);
        });
    }

    /// The health of an HTTP app was probed.
    pub fn http_probed(&self, status: i32, latency: Duration) {
        self.0
            .http_probes
            .count(["", ""], status, |series| series.observe(latency));
    }

    /// The health of a gRPC app was probed.
    pub fn grpc_probed(&self, status: i32, latency: Duration) {
        self.0
            .grpc_probes
            .count(["", ""], status, |series| series.observe(latency));
    }

    /// The families as they are now.
    pub fn families(&self) -> Vec<Family> {
        let inner = &self.0;
        let mut families = inner.messages.families();
        for table in [
            &inner.completed,
            &inner.sent,
            &inner.received,
            &inner.rpcs,
            &inner.http_probes,
            &inner.grpc_probes,
        ] {
            families.extend(table.families());
        }
        families
    }
}

impl fmt::Debug for AppMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppMetrics")
    }
}
