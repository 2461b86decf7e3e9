//! Calls of the gRPC API, and of what other sidecars call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use invoke_core::trace::TraceContext;

use super::buckets::{Buckets, Histogram};
use super::family::{Family, Kind};
use super::labels::{Column, NO_CODE, Names, Part, Table, TableSettings};
use super::settings::MetricsSettings;

const BY_STATUS: &[(&str, Part)] = &[
    ("app_id", Part::App),
    ("grpc_server_method", Part::First),
    ("grpc_server_status", Part::CodeName),
];
const BY_METHOD: &[(&str, Part)] = &[("app_id", Part::App), ("grpc_server_method", Part::First)];

static CALLS: [Column<Histogram>; 2] = [
    Column {
        name: "dapr_grpc_io_server_completed_rpcs",
        help: "Distribution of bytes sent per RPC, by method.",
        kind: Kind::Counter,
        labels: BY_STATUS,
        value: Histogram::count,
    },
    Column {
        name: "dapr_grpc_io_server_server_latency",
        help: "Time between first byte of request received to last byte of response sent, or terminal error.",
        kind: Kind::Histogram,
        labels: BY_STATUS,
        value: Histogram::value,
    },
];

static MESSAGES: [Column<Messages>; 2] = [
    Column {
        name: "dapr_grpc_io_server_received_bytes_per_rpc",
        help: "Total bytes received across all messages per RPC.",
        kind: Kind::Histogram,
        labels: BY_METHOD,
        value: |messages| messages.received.value(),
    },
    Column {
        name: "dapr_grpc_io_server_sent_bytes_per_rpc",
        help: "Total bytes sent in across all response messages per RPC.",
        kind: Kind::Histogram,
        labels: BY_METHOD,
        value: |messages| messages.sent.value(),
    },
];

/// The lengths of messages, in both directions.
pub(super) struct Messages {
    pub(super) received: Histogram,
    pub(super) sent: Histogram,
}

impl Messages {
    pub(super) fn new(sizes: &Buckets) -> Self {
        Self {
            received: sizes.histogram(),
            sent: sizes.histogram(),
        }
    }
}

/// What there are too many of is counted without its method.
pub(super) fn without_method(_: Names<'_>) -> Names<'_> {
    ["", ""]
}

/// The families of calls.
pub(super) struct GrpcServer {
    calls: Table<Histogram>,
    messages: Table<Messages>,
}

/// A call that is measured if the door finds out what it is.
pub(super) struct Measured {
    begun: Instant,
    found: Option<MeasuredMethod>,
    status: Option<i32>,
}

struct MeasuredMethod {
    calls: Arc<super::labels::Entry<Histogram>>,
    /// The messages of the method, and the length of the one that came.
    unary: Option<(Arc<super::labels::Entry<Messages>>, u64)>,
}

impl Measured {
    pub(super) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            found: None,
            status: None,
        }
    }

    pub(super) fn status(&mut self, status: i32) {
        self.status = Some(status);
    }
}

impl GrpcServer {
    pub(super) fn new(settings: &MetricsSettings) -> Self {
        let (latencies, sizes) = (settings.latencies(), Buckets::sizes());
        let calls = TableSettings {
            columns: &CALLS[..],
            make: Box::new(move || latencies.histogram()),
            fold: without_method,
            what: "methods of gRPC calls",
        };
        let messages = TableSettings {
            columns: &MESSAGES[..],
            make: Box::new(move || Messages::new(&sizes)),
            fold: without_method,
            what: "methods of gRPC calls",
        };
        Self {
            calls: Table::new(Arc::clone(&settings.app_id), settings.rules.clone(), calls),
            messages: Table::new(Arc::clone(&settings.app_id), settings.rules.clone(), messages),
        }
    }

    /// The call is unary; its message has so many bytes.
    pub(super) fn unary(&self, call: &mut Measured, method: &str, message: u64) {
        call.found = Some(MeasuredMethod {
            calls: self.calls.entry([method, ""]),
            unary: Some((self.messages.entry([method, ""]), message)),
        });
    }

    /// The call is one of an app.
    pub(super) fn relayed(&self, call: &mut Measured, method: &str) {
        call.found = Some(MeasuredMethod {
            calls: self.calls.entry([method, ""]),
            unary: None,
        });
    }

    pub(super) fn end(&self, call: &Measured, bytes: u64, span: Option<&TraceContext>) {
        let Some(found) = &call.found else { return };
        let status = call.status.unwrap_or(invoke_core::error::code::CANCELLED);
        let latency: Duration = call.begun.elapsed();
        self.calls
            .with(&found.calls, status, |series| series.observe_in(latency, span));
        if let Some((entry, received)) = &found.unary {
            self.messages.with(entry, NO_CODE, |messages| {
                messages.received.observe_bytes(*received);
                messages.sent.observe_bytes(bytes);
            });
        }
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = self.calls.families();
        families.extend(self.messages.families());
        families
    }
}
