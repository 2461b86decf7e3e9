//! What policies may say beyond Dapr's: with real sidecars and apps.

use std::time::Duration;

use integration_tests::Daprd;
use integration_tests::grpc::{GrpcApp, GrpcClient, InvokeServiceRequest};

use super::app::{App, ReceivedBodies, grpc_app};
use super::stage::{Stage, post, resiliency};

/// A caller with these policies, and whom it calls.
struct Pair {
    seen: ReceivedBodies,
    caller: Daprd,
    _callee: Daprd,
    _app: App,
    _stage: Stage,
}

impl Pair {
    async fn start(resource: &str) -> Self {
        let (seen, stage) = (ReceivedBodies::default(), Stage::new());
        let app = App::start(seen.clone()).await;
        let callee = stage.mesh.sidecar("R-b").app_port(app.port).start().await;
        let caller = stage.sidecar("R-a", &[resource]).start().await;
        Self {
            seen,
            caller,
            _callee: callee,
            _app: app,
            _stage: stage,
        }
    }

    async fn status(&self, method: &str) -> u16 {
        post(&self.caller, "R-b", method, "x".into()).await.status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_keep_to_a_budget_and_to_a_time_in_all() {
    let spec = "  policies:
    retries:
      few: {duration: 1ms, maxRetries: 5, jitter: 1, budget: {percent: 0, minimum: 4, window: 10m}}
      long: {duration: 5ms, totalTimeout: 300ms}
  targets: {apps: {R-b: {retry: few, methods: {status/502/*: {retry: long}, POST fail/*: {}}}}}";
    let pair = Pair::start(&resiliency(spec)).await;
    for _ in 0..6 {
        assert_eq!(pair.status("status/503/few").await, 503);
    }
    assert_eq!(pair.seen.count("few"), 6 + 4);
    // Without its limit this would never end. It may end in a pause or in an attempt.
    let status = pair.status("status/502/long").await;
    assert!(matches!(status, 500 | 502), "{status}");
    assert!(pair.seen.count("long") > 1);
    // A method whose entry is empty has no policy.
    assert_eq!(pair.status("fail/1/500/method").await, 500);
    assert_eq!(pair.seen.count("method"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubernetes_would_drop_is_read_from_an_annotation() {
    let annotated = "apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata:
  name: policies
  annotations:
    daprd-rs/resiliency: |
      policies: {retries: {r: {budget: {percent: 0, minimum: 1}}}}
spec:
  policies: {retries: {r: {duration: 1ms, maxRetries: 3}}}
  targets: {apps: {R-b: {retry: r}}}
";
    let pair = Pair::start(annotated).await;
    for _ in 0..3 {
        assert_eq!(pair.status("status/503/k").await, 503);
    }
    assert_eq!(pair.seen.count("k"), 3 + 1);
}

/// The policy would pause for an hour, were it not told better.
const HOUR: &str = "  policies: {retries: {r: {duration: 1h, maxRetries: 2, maxRetryAfter: 1s}}}
  targets: {apps: {R-b: {retry: r}}}";

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_followed() {
    let pair = Pair::start(&resiliency(HOUR)).await;
    assert_eq!(pair.status("wish/0/429/now").await, 200);
    assert_eq!(pair.seen.count("now"), 2);
    // An hour is more than the policy lets the app ask for.
    assert_eq!(pair.status("wish/3600/503/later").await, 503);
    assert_eq!(pair.seen.count("later"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushback_of_grpc_is_followed() {
    let stage = Stage::new();
    let seen = ReceivedBodies::default();
    let counted = seen.clone();
    let app = GrpcApp::start(move |mut call| {
        let seen = counted.clone();
        async move {
            let millis = call.header("x-wish").to_owned();
            if seen.note(&millis) == 1 {
                return call.refuse(14, "busy", &[("grpc-retry-pushback-ms", &millis)]);
            }
            call.send(b"ok").await;
            call.finish(0, "", &[]);
        }
    })
    .await;
    let callee = stage.mesh.sidecar("R-b").app_port(app.port);
    let _callee = callee.arg("--app-protocol=grpc").start().await;
    let caller = stage.sidecar("R-a", &[&resiliency(HOUR)]).start().await;
    let client = GrpcClient::connect(caller.grpc_port).await;
    for (millis, code, count) in [("0", 0, 2), ("-1", 14, 1), ("never", 14, 1), ("5000", 14, 1)] {
        let metadata = [("dapr-app-id", "R-b"), ("x-wish", millis)];
        let answer = client.call("/test.Svc/Do", &metadata, &[b"x"]).await;
        assert_eq!((answer.code(), seen.count(millis)), (code, count), "{millis}");
    }
}

/// What an app sees of the time that is left, and what a callee does with a call that nobody waits for any more.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_an_attempt_goes_along() {
    let stage = Stage::new();
    let app = GrpcApp::start(|mut call| async move {
        let left = call.header("grpc-timeout").to_owned();
        call.send(left.as_bytes()).await;
        call.finish(0, "", &[]);
    })
    .await;
    let callee = stage.mesh.sidecar("R-b").app_port(app.port);
    let _callee = callee.arg("--app-protocol=grpc").start().await;
    let spec = "  policies: {timeouts: {t: 1h}}\n  targets: {apps: {R-b: {timeout: t}}}";
    for (id, spec, is_told) in [("R-a", spec, true), ("R-c", "  policies: {}", false)] {
        let caller = stage.sidecar(id, &[&resiliency(spec)]).start().await;
        let client = GrpcClient::connect(caller.grpc_port).await;
        let answer = client.proxy("R-b", "/test.Svc/Do", b"x").await;
        let left = String::from_utf8(answer.only().to_vec()).unwrap();
        assert_eq!(!left.is_empty(), is_told, "{left:?}");
        // The caller's own time is shorter.
        let metadata = [("dapr-app-id", "R-b"), ("grpc-timeout", "30S")];
        let answer = client.call("/test.Svc/Do", &metadata, &[b"x"]).await;
        let left = String::from_utf8(answer.only().to_vec()).unwrap();
        let (number, unit) = left.split_at(left.len() - 1);
        let micros = number.parse::<u64>().unwrap()
            * match unit {
                "u" => 1,
                "m" => 1000,
                "S" => 1_000_000,
                other => panic!("{other}"),
            };
        assert!(micros <= 30_000_000, "{left}");
    }
}

/// The header that HTTP has not.
#[tokio::test(flavor = "multi_thread")]
async fn http_apps_say_and_are_told_how_much_time_is_left() {
    let (seen, stage) = (ReceivedBodies::default(), Stage::new());
    let app = App::start(seen.clone()).await;
    let option = ("DAPRD_DEADLINE_HEADER", "x-time-left");
    let callee = stage
        .mesh
        .sidecar("R-b")
        .app_port(app.port)
        .env(option.0, option.1);
    let _callee = callee.start().await;
    let caller = stage.sidecar("R-a", &[]).env(option.0, option.1).start().await;
    let client = reqwest::Client::new();
    let call = async |method: &str, left: Option<&str>| {
        let mut request = client.get(caller.invoke_url("R-b", method));
        if let Some(left) = left {
            request = request.header(option.1, left);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(call("header/x-time-left/none", None).await, (200, String::new()));
    let (status, left) = call("header/x-time-left/some", Some("30000")).await;
    let left: u32 = left.parse().unwrap();
    assert!(status == 200 && (1..=30_000).contains(&left), "{left}");
    let (status, text) = call("sleep/60000/late", Some("200")).await;
    assert!(
        status == 500 && text.ends_with("err: context deadline exceeded\"}"),
        "{text}"
    );
    // A body that goes on for longer does not look whole.
    let dripping = client
        .get(caller.invoke_url("R-b", "slowbody/100/drips"))
        .header(option.1, "900");
    let answer = dripping.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.is_err());
    let told = "HTTP service invocation failed to complete with error: context deadline exceeded";
    caller.await_log(told).await;
    let (status, text) = call("ok/odd", Some("soon")).await;
    assert!(
        status == 400 && text.contains("is no number of milliseconds"),
        "{text}"
    );
    assert_eq!(seen.count("odd"), 0);
}

/// A policy would pause for an hour, and callers wait for twenty seconds: they get what the app said, at once. Who slept on
/// would tell them that their time is over.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_pauses_for_longer_than_the_caller_waits() {
    let spec = "  policies: {retries: {r: {duration: 1h, maxRetries: 2}}}
  targets: {apps: {R-b: {retry: r}, R-c: {retry: r}, R-gone: {retry: r}}}";
    let (seen, stage) = (ReceivedBodies::default(), Stage::new());
    let app = App::start(seen.clone()).await;
    let of_grpc = grpc_app(seen.clone()).await;
    let _callee = stage.mesh.sidecar("R-b").app_port(app.port).start().await;
    let callee = stage.mesh.sidecar("R-c").app_port(of_grpc.port);
    let _callee = callee.arg("--app-protocol=grpc").start().await;
    let header = "x-time-left";
    let caller = stage.sidecar("R-a", &[&resiliency(spec)]);
    let caller = caller.env("DAPRD_DEADLINE_HEADER", header).start().await;
    let http = reqwest::Client::new();
    for (target, method, status, text) in [
        ("R-b", "status/503/http", 503, "body 503"),
        ("R-gone", "m", 500, "no host found with the given ID"),
    ] {
        let call = http
            .get(caller.invoke_url(target, method))
            .header(header, "20000");
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), status, "{target}");
        let body = answer.text().await.unwrap();
        assert!(body.contains(text), "{body}");
    }
    let client = GrpcClient::connect(caller.grpc_port).await;
    let metadata = [("dapr-app-id", "R-c"), ("grpc-timeout", "20S")];
    let answer = client.call("/test.Svc/code-14-proxied", &metadata, &[b"x"]).await;
    assert_eq!(
        (answer.code(), answer.status_message().as_str()),
        (14, "app says 14")
    );
    let request = InvokeServiceRequest::post("R-c", "code-9-invoked", "x");
    let (answer, _) = client.invoke(&request, &[("grpc-timeout", "20S")]).await;
    assert_eq!(
        (answer.code(), answer.status_message().as_str()),
        (9, "app says 9")
    );
    for key in ["http", "proxied", "invoked"] {
        assert_eq!(seen.count(key), 1, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_late_reads_the_same_as_ever() {
    let spec = "  policies: {timeouts: {t: 150ms}}\n  targets: {apps: {R-b: {timeout: t}}}";
    let pair = Pair::start(&resiliency(spec)).await;
    // The other sidecar knows the time, too: whichever is first, callers read one text.
    for call in 0..20 {
        let answer = post(&pair.caller, "R-b", &format!("sleep/60000/l{call}"), "x".into()).await;
        assert_eq!(answer.status, 500);
        assert!(
            answer.body.ends_with("err: context deadline exceeded\"}"),
            "{}",
            answer.body
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_time_ended_in_the_queue_reaches_no_app() {
    let (seen, stage) = (ReceivedBodies::default(), Stage::new());
    let app = App::start(seen.clone()).await;
    let callee = stage.mesh.sidecar("R-b").app_port(app.port);
    let _callee = callee.arg("--app-max-concurrency=1").start().await;
    let spec = "  policies: {timeouts: {t: 200ms}}
  targets: {apps: {R-b: {methods: {ok/*: {timeout: t}}}}}";
    let caller = stage.sidecar("R-a", &[&resiliency(spec)]).start().await;
    let (held, late) = tokio::join!(post(&caller, "R-b", "sleep/1500/held", "x".into()), async {
        while seen.count("held") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        post(&caller, "R-b", "ok/late", "x".into()).await
    });
    assert_eq!((held.status, late.status), (200, 500));
    assert!(
        late.body.ends_with("err: context deadline exceeded\"}"),
        "{}",
        late.body
    );
    assert_eq!(post(&caller, "R-b", "ok/next", "x".into()).await.status, 200);
    assert_eq!((seen.count("late"), seen.count("next")), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_answers_when_the_first_takes_long() {
    let (quick, stalled, stage) = (ReceivedBodies::default(), ReceivedBodies::default(), Stage::new());
    let apps = [
        App::start(quick.clone()).await,
        App::stalled(stalled.clone()).await,
    ];
    let mut callees = Vec::new();
    for app in &apps {
        callees.push(stage.mesh.sidecar("R-b").app_port(app.port).start().await);
    }
    let spec = "  policies: {hedges: {h: {delay: 30ms, budget: {percent: 100}}}}
  targets: {apps: {R-b: {hedge: h}}}";
    let caller = stage.sidecar("R-a", &[&resiliency(spec)]).start().await;
    let client = reqwest::Client::new();
    // The balancer draws at random, so that one of these goes to the app that never answers.
    for call in 0..200 {
        let url = caller.invoke_url("R-b", &format!("ok/h{call}"));
        let sent = client.get(url).timeout(Duration::from_secs(60)).send().await;
        assert_eq!(sent.expect("an answer of the other one").status(), 200);
        if stalled.total() > 0 {
            return;
        }
    }
    panic!("the app that never answers was never asked");
}

/// Two instances, one of which has lost its app: nobody sees a proxied call there, and the other one gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_call_moves_on_from_an_app_that_is_gone() {
    for spec in ["  policies: {}", "  targets: {apps: {R-b: {}}}"] {
        let (seen, stage) = (ReceivedBodies::default(), Stage::new());
        let mut callees = Vec::new();
        let mut apps = Vec::new();
        for is_kept in [true, false] {
            let app = grpc_app(seen.clone()).await;
            let callee = stage.mesh.sidecar("R-b").app_port(app.port);
            callees.push(callee.arg("--app-protocol=grpc").start().await);
            apps.extend(is_kept.then_some(app));
        }
        let caller = stage.sidecar("R-a", &[&resiliency(spec)]).start().await;
        let client = GrpcClient::connect(caller.grpc_port).await;
        for call in 0..30 {
            let answer = client.proxy("R-b", &format!("/test.Svc/ok-p{call}"), b"x").await;
            assert_eq!(answer.code(), 0, "{spec}: {}", answer.status_message());
            assert_eq!(seen.count(&format!("p{call}")), 1);
        }
        // With nobody left the caller gets what the last one said, and nothing of how the sidecars talk.
        drop(apps);
        let answer = client.proxy("R-b", "/test.Svc/ok-last", b"x").await;
        assert_eq!(answer.code(), 14, "{}", answer.status_message());
        assert_eq!(answer.header("dapr-unseen"), None);
    }
}

/// Apps cannot say in place of a sidecar that nobody saw a call; callers of another kind are not told.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_sidecar_says_that_nobody_saw_a_call() {
    let stage = Stage::new();
    let seen = ReceivedBodies::default();
    let counted = seen.clone();
    let app = GrpcApp::start(move |mut call| {
        let seen = counted.clone();
        async move {
            seen.note("refused");
            let asks = call.header("grpc-message-type").to_owned();
            call.refuse(14, &format!("asks {asks:?}"), &[("dapr-unseen", "1")]);
        }
    })
    .await;
    let mut callees = Vec::new();
    for _ in 0..2 {
        let callee = stage.mesh.sidecar("R-b").app_port(app.port);
        callees.push(callee.arg("--app-protocol=grpc").start().await);
    }
    let caller = stage
        .sidecar("R-a", &[&resiliency("  targets: {apps: {R-b: {}}}")])
        .start()
        .await;
    let client = GrpcClient::connect(caller.grpc_port).await;
    let answer = client.proxy("R-b", "/test.Svc/Do", b"x").await;
    assert_eq!(
        (answer.code(), answer.status_message().as_str()),
        (14, "asks \"\"")
    );
    assert_eq!(seen.count("refused"), 1);

    drop(app);
    let peer = GrpcClient::connect(callees[0].internal_port).await;
    for (asks, wanted) in [
        (&[("dapr-callee-app-id", "R-b")][..], None),
        (
            &[
                ("dapr-callee-app-id", "R-b"),
                ("grpc-message-type", "dapr-unseen"),
            ],
            Some("1"),
        ),
    ] {
        let mut answer = peer.call("/test.Svc/Do", asks, &[b"x"]).await;
        // A connection to the app may have been there, and is not any more after a call.
        if answer.header("dapr-unseen") != wanted {
            answer = peer.call("/test.Svc/Do", asks, &[b"x"]).await;
        }
        assert_eq!((answer.code(), answer.header("dapr-unseen")), (14, wanted));
    }
}
