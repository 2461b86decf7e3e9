//! Exchanges of all kinds and ends, and what is shown of them.

use ::http::header::{HeaderMap, HeaderValue};
use ::http::uri::PathAndQuery;
use invoke_core::body::End;
use invoke_core::observe::OpenExchange;
use invoke_core::{AppRef, Caller, Delivery, Fault, Head, MethodPath, Origin, ProxiedHead, RpcStatus};

use super::*;
use crate::metrics::{HttpMode, Metrics, Rules};

fn metrics() -> CallMetrics {
    metrics_with(false)
}

fn metrics_with(has_exemplars: bool) -> CallMetrics {
    let settings = MetricsSettings {
        app_id: "me".into(),
        http: HttpMode::default(),
        latencies: vec![1],
        rules: Rules::default(),
        records_error_codes: false,
        has_own: true,
        has_exemplars,
    };
    CallMetrics::new(&settings, &Arc::new(PathLabels::new(false, &[]).0))
}

/// The counts of calls between sidecars, without the beginning that they share.
fn shown(calls: &CallMetrics) -> Vec<String> {
    let (registry, calls) = (Metrics::default(), calls.clone());
    registry.register(Box::new(move || calls.families()));
    let text = registry.expose();
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix("dapr_runtime_service_invocation_")?;
        let is_detail = line.contains("_bucket{") || line.contains("_sum{") || line.contains("latency");
        (!is_detail).then(|| line.replace("app_id=\"me\",", ""))
    });
    lines.collect()
}

fn head() -> Head {
    Head::new(MethodPath::parse("m").unwrap(), Origin::Http)
}

fn proxied(stream: Option<&'static str>) -> ProxiedHead {
    let mut headers = HeaderMap::new();
    if let Some(stream) = stream {
        headers.insert("dapr-stream", HeaderValue::from_static(stream));
    }
    ProxiedHead {
        path: PathAndQuery::from_static("/a.B/C"),
        headers,
        trace: None,
        deadline: None,
        trail: None,
    }
}

fn unavailable() -> InvokeError {
    InvokeError::new(
        Fault::Peer,
        Delivery::No,
        RpcStatus::new(code::UNAVAILABLE, "gone"),
    )
}

/// What became of an exchange.
#[derive(Clone, Copy)]
enum Fate {
    Answered(i32),
    Failed,
    /// The caller went away.
    Dropped,
}

fn end(mut open: OpenExchange<Option<CallTicket>>, fate: Fate) {
    match fate {
        Fate::Answered(status) => {
            open.taken();
            open.status(status);
            open.end(End::Whole, 0);
        }
        Fate::Failed => open.failed(&unavailable()),
        Fate::Dropped => drop(open),
    }
}

#[test]
fn attempts() {
    let app = AppRef::new("you", "ns");
    let target = Named::Peer(&app);
    for (stream, fate, wanted) in [
        (
            None,
            Fate::Answered(200),
            &[
                r#"req_sent_total{dst_app_id="you",type="unary"} 1"#,
                r#"res_recv_total{src_app_id="you",status="200",type="unary"} 1"#,
            ][..],
        ),
        (
            None,
            Fate::Failed,
            &[r#"req_sent_total{dst_app_id="you",type="unary"} 1"#],
        ),
        (
            None,
            Fate::Dropped,
            &[r#"req_sent_total{dst_app_id="you",type="unary"} 1"#],
        ),
        (
            Some("no"),
            Fate::Answered(5),
            &[
                r#"req_sent_total{dst_app_id="you.ns",type="unary"} 1"#,
                r#"res_recv_total{src_app_id="you.ns",status="5",type="unary"} 1"#,
            ],
        ),
        (
            Some("0"),
            Fate::Failed,
            &[
                r#"req_sent_total{dst_app_id="you.ns",type="unary"} 1"#,
                r#"res_recv_total{src_app_id="you.ns",status="14",type="unary"} 1"#,
            ],
        ),
        (
            Some("nope"),
            Fate::Dropped,
            &[
                r#"req_sent_total{dst_app_id="you.ns",type="unary"} 1"#,
                r#"res_recv_total{src_app_id="you.ns",status="1",type="unary"} 1"#,
            ],
        ),
        (
            Some("True"),
            Fate::Answered(5),
            &[r#"req_sent_total{dst_app_id="you.ns",type="streaming"} 1"#],
        ),
        (
            Some("1"),
            Fate::Failed,
            &[
                r#"req_sent_total{dst_app_id="you.ns",type="streaming"} 1"#,
                r#"res_recv_total{src_app_id="you.ns",status="14",type="streaming"} 1"#,
            ],
        ),
    ] {
        let calls = metrics();
        let meters = calls.meters(target, "you.ns");
        let (invoked, relayed) = (head(), proxied(stream));
        let call = match stream {
            None => Call::Invoked(&invoked),
            Some(_) => Call::Proxied(&relayed),
        };
        let attempt = Exchange::Attempt {
            target,
            endpoint: None,
            call,
        };
        end(OpenExchange::new(calls.begin(attempt, Some(&meters))), fate);
        assert_eq!(shown(&calls), wanted, "{stream:?}");
    }
}

#[test]
fn calls_of_other_sidecars() {
    let from = Caller::default();
    for (caller, is_let_in, fate, wanted) in [
        (
            Some("you"),
            true,
            Fate::Answered(404),
            &[
                r#"req_recv_total{src_app_id="you"} 1"#,
                r#"res_sent_total{dst_app_id="you",status="404"} 1"#,
            ][..],
        ),
        (
            None,
            true,
            Fate::Failed,
            &[
                r#"req_recv_total{src_app_id="unknown"} 1"#,
                r#"res_sent_total{dst_app_id="unknown",status="13"} 1"#,
            ],
        ),
        (
            Some("you"),
            true,
            Fate::Dropped,
            &[
                r#"req_recv_total{src_app_id="you"} 1"#,
                r#"res_sent_total{dst_app_id="you",status="1"} 1"#,
            ],
        ),
        (Some("you"), false, Fate::Dropped, &[]),
    ] {
        let calls = metrics();
        let mut head = head();
        if let Some(caller) = caller {
            let caller = HeaderValue::from_static(caller);
            head.headers.insert(invoke_core::headers::CALLER_APP_ID, caller);
        }
        let received = Exchange::Received {
            caller: &from,
            call: Call::Invoked(&head),
        };
        let mut open = OpenExchange::new(calls.begin(received, None));
        if is_let_in {
            open.taken();
        }
        end(open, fate);
        assert_eq!(shown(&calls), wanted, "{caller:?}");
    }
}

#[test]
fn what_is_measured_at_an_end_is_not_followed() {
    let calls = metrics();
    let app = AppRef::new("you", "ns");
    let meters = calls.meters(Named::Peer(&app), "you");
    let head = head();
    let attempt = Exchange::Attempt {
        target: Named::Peer(&app),
        endpoint: None,
        call: Call::Invoked(&head),
    };
    let mut open = OpenExchange::new(calls.begin(attempt, Some(&meters)));
    assert!(!open.is_silent());
    open.status(200);
    assert!(open.is_silent(), "to follow the body would be to allocate");
}

/// What families of our own show.
fn own(calls: &CallMetrics) -> Vec<String> {
    let (registry, calls) = (Metrics::default(), calls.clone());
    registry.register(Box::new(move || calls.families()));
    let text = registry.expose();
    let lines = text.lines().filter_map(|line| line.strip_prefix("daprd_"));
    lines.map(|line| line.replace("app_id=\"me\",", "")).collect()
}

#[test]
fn attempts_by_how_they_ended() {
    let calls = metrics();
    let app = AppRef::new("you", "ns");
    let meters = calls.meters(Named::Peer(&app), "you.ns");
    let (invoked, relayed) = (head(), proxied(Some("no")));
    for call in [Call::Invoked(&invoked), Call::Proxied(&relayed)] {
        for fate in [
            Fate::Answered(0),
            Fate::Answered(503),
            Fate::Failed,
            Fate::Dropped,
        ] {
            let attempt = Exchange::Attempt {
                target: Named::Peer(&app),
                endpoint: None,
                call,
            };
            end(OpenExchange::new(calls.begin(attempt, Some(&meters))), fate);
        }
    }
    let shown = own(&calls);
    let attempts = shown.iter().filter(|line| line.starts_with("attempts_total"));
    let attempts: Vec<&str> = attempts.map(String::as_str).collect();
    assert_eq!(
        attempts,
        [
            "attempts_total{outcome=\"cancelled\",target=\"you\"} 2",
            "attempts_total{outcome=\"error\",target=\"you\"} 2",
            "attempts_total{outcome=\"ok\",target=\"you\"} 2",
            "attempts_total{outcome=\"unreachable\",target=\"you\"} 2",
        ]
    );
}

#[test]
fn requests_in_flight() {
    let calls = metrics();
    let door = |api| {
        let request = invoke_core::observe::Request {
            api,
            method: &::http::Method::GET,
            path: "/",
            user_agent: None,
            content_length: None,
        };
        OpenExchange::new(calls.begin(Exchange::Door(request), None))
    };
    let shows = |api: &str, count: u32| {
        let wanted = format!("requests_in_flight{{api=\"{api}\",app_id=\"me\"}} {count}");
        let shown = own(&calls);
        assert!(shown.contains(&wanted), "{wanted} is not among {shown:?}");
    };
    let (first, mut second) = (door(Api::Http), door(Api::Http));
    let mut grpc = door(Api::Grpc);
    shows("http", 2);
    second.status(200);
    second.end(End::Whole, 3);
    grpc.turned_away(Gate::Outer);
    shows("http", 1);
    shows("grpc", 0);
    drop((first, grpc));
    shows("http", 0);
    shows("grpc", 0);
}

/// What there is to look at of each family, by the first byte of its span.
fn exemplars(calls: &CallMetrics) -> Vec<(&'static str, u8)> {
    let mut found = Vec::new();
    for family in calls.families() {
        for sample in family.samples {
            if let crate::metrics::Value::Distribution(distribution) = sample.value {
                found.extend(
                    distribution
                        .exemplars
                        .iter()
                        .map(|one| (family.name, one.span_id[0])),
                );
            }
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn recorded_calls_leave_exemplars() {
    const ANSWERED: &str = "dapr_runtime_service_invocation_res_recv_latency_ms";
    let span = |id, flags| TraceContext {
        trace_id: [id; 16],
        span_id: [id; 8],
        flags,
    };
    for (is_on, flags, wanted) in [
        (false, 1, &[][..]),
        (true, 0, &[]),
        (
            true,
            1,
            &[
                ("dapr_grpc_io_server_server_latency", 2),
                ("dapr_http_server_latency", 1),
                (ANSWERED, 3),
                (ANSWERED, 4),
            ],
        ),
    ] {
        let calls = metrics_with(is_on);
        for (api, id) in [(Api::Http, 1), (Api::Grpc, 2), (Api::Internal, 9)] {
            let request = invoke_core::observe::Request {
                api,
                method: &::http::Method::GET,
                path: "/x",
                user_agent: None,
                content_length: None,
            };
            let mut open = OpenExchange::new(calls.begin(Exchange::Door(request), None));
            // Whoever is called by another sidecar without a door of its own is not measured, and has no exemplar.
            if api == Api::Grpc {
                open.found(Rpc::Relayed { method: "/a.B/C" });
            }
            // Nobody makes a span here, so that the one of the caller counts.
            let headers = HeaderMap::new();
            open.trace(invoke_core::observe::Traced {
                entry: invoke_core::observe::Entry::Grpc { method: "/a.B/C" },
                parent: Some(span(id, flags)),
                state: None,
                headers: Some(&headers),
                deadline: None,
            });
            open.status(200);
            open.end(End::Whole, 0);
        }
        let app = AppRef::new("you", "ns");
        let meters = calls.meters(Named::Peer(&app), "you");
        let (mut invoked, mut relayed) = (head(), proxied(None));
        invoked.trace = Some(span(3, flags));
        relayed.trace = Some(span(4, flags));
        for (call, status) in [(Call::Invoked(&invoked), 200), (Call::Proxied(&relayed), 0)] {
            let exchange = Exchange::Attempt {
                target: Named::Peer(&app),
                endpoint: None,
                call,
            };
            let open = OpenExchange::new(calls.begin(exchange, Some(&meters)));
            end(open, Fate::Answered(status));
        }
        assert_eq!(exemplars(&calls), wanted, "{is_on} {flags}");
    }
}
