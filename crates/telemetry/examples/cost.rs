//! What metrics, spans and scrapes cost, without sockets: `cargo run --release -p telemetry --example cost`.
//!
//! Each line is the least time of many rounds, since a shared machine can only make a round longer. What is to be counted in
//! instructions is named, so that a tool that counts finds the function: `cost NAME ROUNDS` runs one of them alone.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that shows something to a person"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use invoke_core::attempts::Named;
use invoke_core::body::End;
use invoke_core::observe::{Api, Call, Entry, Exchange, Observe, OpenExchange, Request, Traced};
use invoke_core::trace::TraceContext;
use invoke_core::{AppRef, Head, MethodPath, Origin};
use lifecycle::Tasks;
use telemetry::metrics::{CallMetrics, Format, HttpMode, Metrics, MetricsSettings, PathLabels, Rules};
use telemetry::traces::{Exporters, Plan, TraceSpec, Traces};
use tokio::runtime::Runtime;
use transport::client::Proxies;

/// Fewer than a queue of spans takes.
const CALLS: u32 = 1000;
/// Lines with a value in the exposition, at least.
const SERIES: usize = 10_000;

fn metrics(has_exemplars: bool) -> CallMetrics {
    let settings = MetricsSettings {
        app_id: "app".into(),
        http: HttpMode {
            is_increased: true,
            ..HttpMode::default()
        },
        latencies: Vec::new(),
        rules: Rules::default(),
        records_error_codes: false,
        has_own: true,
        has_exemplars,
    };
    CallMetrics::new(&settings, &Arc::new(PathLabels::new(true, &[]).0))
}

fn traces(runtime: &Runtime) -> Traces {
    let _guard = runtime.enter();
    let spec = TraceSpec {
        sampling_rate: "0.0000000001".to_owned(),
        stdout: true,
        ..TraceSpec::default()
    };
    let exporters = Exporters::new("app", Tasks::new(), Tasks::new(), Proxies::default());
    Plan::of(spec, "app", |_| None)
        .unwrap()
        .begin(&exporters)
        .unwrap()
}

/// A call as the sidecar that makes it sees it: a request at the HTTP API, and an attempt.
fn call<O: Observe>(
    observer: &O,
    meters: &O::Meters,
    target: &AppRef,
    parent: Option<TraceContext>,
    path: &str,
) {
    let request = Request {
        api: Api::Http,
        method: &Method::GET,
        path,
        user_agent: None,
        content_length: None,
    };
    let headers = HeaderMap::new();
    let mut door = OpenExchange::new(observer.begin(Exchange::Door(request), None));
    let mut head = Head::new(MethodPath::parse("orders").unwrap(), Origin::Http);
    if parent.is_some() {
        let emitted = door.trace(Traced {
            entry: Entry::Http {
                method: &Method::GET,
                path,
                query: None,
                peer: None,
            },
            parent,
            state: None,
            headers: Some(&headers),
            deadline: None,
        });
        head.trace = emitted.or(parent);
        door.invokes("other", &head.method);
    }
    let exchange = Exchange::Attempt {
        target: Named::Peer(target),
        endpoint: None,
        call: Call::Invoked(&head),
    };
    let mut attempt = OpenExchange::new(observer.begin(exchange, Some(meters)));
    attempt.taken();
    attempt.status(200);
    attempt.end(End::Whole, 10);
    door.status(200);
    door.end(End::Whole, 10);
}

#[inline(never)]
fn counted_calls<O: Observe>(
    observer: &O,
    meters: &O::Meters,
    target: &AppRef,
    parent: Option<TraceContext>,
) {
    for _ in 0..CALLS {
        call(
            observer,
            meters,
            target,
            black_box(parent),
            "/v1.0/invoke/other/method/orders",
        );
    }
}

#[inline(never)]
fn counted_scrape(metrics: &Metrics, format: Format) -> usize {
    metrics.expose_as(format).len()
}

/// The least time of a call.
fn calls<O: Observe>(observer: &O, parent: Option<TraceContext>, rounds: u32, runtime: &Runtime) -> Duration {
    let target = AppRef::new("other", "default");
    let meters = observer.meters(Named::Peer(&target), "other");
    let mut least = Duration::MAX;
    for _ in 0..rounds {
        let begun = Instant::now();
        counted_calls(observer, &meters, &target, parent);
        least = least.min(begun.elapsed());
        // The queues are emptied.
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }
    least / CALLS
}

fn scrape(format: Format, rounds: u32) -> Duration {
    let calls = metrics(true);
    let target = AppRef::new("other", "default");
    let meters = calls.meters(Named::Peer(&target), "other");
    let parent = parent(1);
    // A request has a histogram, which is 37 lines, and two counters.
    for number in 0..SERIES / 37 {
        let path = format!("/v1.0/invoke/other/method/orders/{number}");
        call(&calls, &meters, &target, Some(parent), &path);
    }
    let registry = Metrics::new();
    registry.register(Box::new(move || calls.families()));
    let lines = registry
        .expose()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count();
    assert!(lines >= SERIES, "{lines}");
    let mut least = Duration::MAX;
    for _ in 0..rounds {
        let begun = Instant::now();
        black_box(counted_scrape(&registry, format));
        least = least.min(begun.elapsed());
    }
    least
}

fn parent(flags: u8) -> TraceContext {
    TraceContext {
        trace_id: [7; 16],
        span_id: [9; 8],
        flags,
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let wanted = args.next();
    let rounds: u32 = args.next().and_then(|rounds| rounds.parse().ok()).unwrap_or(50);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let show = |name: &str, least: Duration| println!("{name}: {:.3} µs", least.as_secs_f64() * 1e6);
    if is_wanted("none") {
        show("none", calls(&(), None, rounds, &runtime));
    }
    if is_wanted("measured") {
        show("measured", calls(&metrics(false), None, rounds, &runtime));
    }
    for (name, has_exemplars, flags) in [
        ("not-sampled", false, 0),
        ("not-sampled-exemplars", true, 0),
        ("sampled", false, 1),
        ("sampled-exemplars", true, 1),
    ] {
        if is_wanted(name) {
            let observer = (metrics(has_exemplars), traces(&runtime));
            show(name, calls(&observer, Some(parent(flags)), rounds, &runtime));
        }
    }
    for (name, format) in [
        ("scrape-text", Format::Text),
        ("scrape-openmetrics", Format::OpenMetrics),
        ("scrape-protobuf", Format::Protobuf),
    ] {
        if is_wanted(name) {
            show(name, scrape(format, rounds));
        }
    }
}
