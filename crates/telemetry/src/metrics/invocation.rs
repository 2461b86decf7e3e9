//! Calls between sidecars, seen from both ends.

use std::sync::Arc;
use std::time::Instant;

use ::http::header::{HeaderMap, HeaderName};
use invoke_core::error::{Cause, InvokeError, code};
use invoke_core::headers::CALLER_APP_ID;
use invoke_core::observe::Call;
use invoke_core::trace::TraceContext;

use super::attempts::{Attempts, Outcome, Outcomes};
use super::buckets::{Counter, Histogram};
use super::family::{Family, Kind};
use super::labels::{Column, Entry, NO_CODE, Names, Part, Table, TableSettings};
use super::settings::MetricsSettings;

const DAPR_STREAM: HeaderName = HeaderName::from_static("dapr-stream");
const UNARY: &str = "unary";
const STREAMING: &str = "streaming";
/// The caller that does not say who it is.
const UNKNOWN: &str = "unknown";
/// The app in whose name those are counted that there are too many of.
const OTHER: &str = "other";

const ANSWERS: &str = "dapr_runtime_service_invocation_res_recv_total";
const ANSWERS_HELP: &str = "The number of responses received via service invocation.";

static SENT: [Column<Counter>; 1] = [Column {
    name: "dapr_runtime_service_invocation_req_sent_total",
    help: "The number of requests sent via service invocation.",
    kind: Kind::Counter,
    labels: &[
        ("app_id", Part::App),
        ("dst_app_id", Part::First),
        ("type", Part::Second),
    ],
    value: Counter::value,
}];

static ANSWERED: [Column<Histogram>; 2] = [
    Column {
        name: ANSWERS,
        help: ANSWERS_HELP,
        kind: Kind::Counter,
        labels: &[
            ("app_id", Part::App),
            ("src_app_id", Part::First),
            ("status", Part::Code),
            ("type", Part::Always(UNARY)),
        ],
        value: Histogram::count,
    },
    Column {
        name: "dapr_runtime_service_invocation_res_recv_latency_ms",
        help: "The latency of service invocation response.",
        kind: Kind::Histogram,
        labels: &[
            ("app_id", Part::App),
            ("src_app_id", Part::First),
            ("status", Part::Code),
        ],
        value: Histogram::value,
    },
];

static STREAMS: [Column<Counter>; 1] = [Column {
    name: ANSWERS,
    help: ANSWERS_HELP,
    kind: Kind::Counter,
    labels: &[
        ("app_id", Part::App),
        ("src_app_id", Part::First),
        ("status", Part::Code),
        ("type", Part::Always(STREAMING)),
    ],
    value: Counter::value,
}];

static RECEIVED: [Column<Counter>; 1] = [Column {
    name: "dapr_runtime_service_invocation_req_recv_total",
    help: "The number of requests received via service invocation.",
    kind: Kind::Counter,
    labels: &[("app_id", Part::App), ("src_app_id", Part::First)],
    value: Counter::value,
}];

static RETURNED: [Column<Counter>; 1] = [Column {
    name: "dapr_runtime_service_invocation_res_sent_total",
    help: "The number of responses sent via service invocation.",
    kind: Kind::Counter,
    labels: &[
        ("app_id", Part::App),
        ("dst_app_id", Part::First),
        ("status", Part::Code),
    ],
    value: Counter::value,
}];

/// The families of calls between sidecars.
pub(super) struct Invocations {
    sent: Table<Counter>,
    answered: Table<Histogram>,
    streams: Table<Counter>,
    received: Table<Counter>,
    returned: Table<Counter>,
    /// Dapr has no such family.
    attempts: Option<Attempts>,
}

/// What is counted for a target, found once.
#[derive(Debug)]
pub(super) struct Target {
    unary: Arc<Entry<Counter>>,
    streaming: Arc<Entry<Counter>>,
    answered: Arc<Entry<Histogram>>,
    streams: Arc<Entry<Counter>>,
    attempts: Option<Arc<Entry<Outcomes>>>,
}

/// An attempt towards a target.
pub(super) struct Attempt {
    target: Arc<Target>,
    begun: Instant,
    is_streaming: bool,
    is_proxied: bool,
    status: Option<i32>,
    /// How it ended, once that is known.
    outcome: Option<Outcome>,
}

/// A call of another sidecar.
pub(super) struct Received {
    caller: Arc<Entry<Counter>>,
    is_taken: bool,
}

fn other([_, kind]: Names<'_>) -> Names<'_> {
    [OTHER, kind]
}

impl Invocations {
    pub(super) fn new(settings: &MetricsSettings) -> Self {
        let counters = |columns: &'static [Column<Counter>], what| {
            let table = TableSettings {
                columns,
                make: Box::new(Counter::default),
                fold: other,
                what,
            };
            Table::new(Arc::clone(&settings.app_id), settings.rules.clone(), table)
        };
        let latencies = settings.latencies();
        let answered = TableSettings {
            columns: &ANSWERED[..],
            make: Box::new(move || latencies.histogram()),
            fold: other,
            what: "apps that are called",
        };
        Self {
            sent: counters(&SENT, "apps that are called"),
            answered: Table::new(Arc::clone(&settings.app_id), settings.rules.clone(), answered),
            streams: counters(&STREAMS, "apps that are called"),
            received: counters(&RECEIVED, "apps that call"),
            returned: counters(&RETURNED, "apps that call"),
            attempts: settings.has_own.then(|| Attempts::new(settings)),
        }
    }

    /// What is counted for a target that Dapr's families call by `name` and our own by `app`.
    pub(super) fn target(&self, name: &str, app: &str) -> Target {
        Target {
            unary: self.sent.entry([name, UNARY]),
            streaming: self.sent.entry([name, STREAMING]),
            answered: self.answered.entry([name, ""]),
            streams: self.streams.entry([name, ""]),
            attempts: self.attempts.as_ref().map(|attempts| attempts.target(app)),
        }
    }

    /// An attempt begins. Like Dapr's, it counts as sent from here on, also when no connection can be had.
    pub(super) fn attempt(&self, target: &Arc<Target>, call: Call<'_>) -> Attempt {
        let (is_proxied, is_streaming) = match call {
            Call::Invoked(_) => (false, false),
            Call::Proxied(head) => (true, is_stream(&head.headers)),
        };
        let kind = if is_streaming {
            &target.streaming
        } else {
            &target.unary
        };
        self.sent.with(kind, NO_CODE, Counter::add_one);
        Attempt {
            target: Arc::clone(target),
            begun: Instant::now(),
            is_streaming,
            is_proxied,
            status: None,
            outcome: None,
        }
    }

    /// Counts how an attempt ended, once.
    fn ended(&self, attempt: &mut Attempt, outcome: Outcome) {
        if attempt.outcome.replace(outcome).is_none()
            && let (Some(attempts), Some(target)) = (&self.attempts, &attempt.target.attempts)
        {
            attempts.count(target, outcome);
        }
    }

    /// Whether that was all there is to measure.
    pub(super) fn status(&self, attempt: &mut Attempt, status: i32, span: Option<&TraceContext>) -> bool {
        self.ended(attempt, Outcome::of_status(status));
        if attempt.is_proxied {
            attempt.status = Some(status);
            return attempt.is_streaming;
        }
        self.answer(attempt, status, span);
        true
    }

    pub(super) fn failed(&self, attempt: &mut Attempt, error: &InvokeError) {
        self.ended(attempt, Outcome::of_error(error));
        if !attempt.is_proxied {
            return;
        }
        let status = error.rpc_code().unwrap_or(match error.cause {
            Cause::DeadlineExceeded => code::DEADLINE_EXCEEDED,
            Cause::Cancelled => code::CANCELLED,
            Cause::NoApp => code::UNAVAILABLE,
            _ => code::UNKNOWN,
        });
        if attempt.is_streaming {
            self.streams
                .with(&attempt.target.streams, status, Counter::add_one);
        } else {
            attempt.status = Some(status);
        }
    }

    pub(super) fn end(&self, attempt: &mut Attempt, span: Option<&TraceContext>) {
        self.ended(attempt, Outcome::Cancelled);
        if attempt.is_proxied && !attempt.is_streaming {
            self.answer(attempt, attempt.status.unwrap_or(code::CANCELLED), span);
        }
    }

    fn answer(&self, attempt: &Attempt, status: i32, span: Option<&TraceContext>) {
        let latency = attempt.begun.elapsed();
        self.answered.with(&attempt.target.answered, status, |series| {
            series.observe_in(latency, span);
        });
    }

    /// A call of another sidecar. What is proxied is not counted here, as in Dapr.
    pub(super) fn received(&self, call: Call<'_>) -> Option<Received> {
        let Call::Invoked(head) = call else { return None };
        let caller = head.headers.get(CALLER_APP_ID);
        let caller = caller.and_then(|caller| caller.to_str().ok()).unwrap_or(UNKNOWN);
        Some(Received {
            caller: self.returned.entry([caller, ""]),
            is_taken: false,
        })
    }

    pub(super) fn let_in(&self, received: &mut Received) {
        if !received.is_taken {
            received.is_taken = true;
            let caller = received.caller.name();
            self.received.count([caller, ""], NO_CODE, Counter::add_one);
        }
    }

    pub(super) fn returned(&self, received: &Received, status: i32) {
        if received.is_taken {
            self.returned.with(&received.caller, status, Counter::add_one);
        }
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = self.answered.families();
        families.extend(self.attempts.iter().flat_map(Attempts::families));
        for table in [&self.sent, &self.streams, &self.received, &self.returned] {
            families.extend(table.families());
        }
        families
    }
}

/// Whether the metadata of a proxied call says that it is a stream, in the words that Dapr takes for true.
fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(DAPR_STREAM).is_some_and(go_text::is_truthy)
}
