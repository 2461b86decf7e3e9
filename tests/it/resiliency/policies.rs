//! What policies do that no record shows: bodies, streams, mistakes, lines of the log, instances whose app is gone.

use std::time::Duration;

use integration_tests::Daprd;
use integration_tests::grpc::{GrpcApp, GrpcClient, InvokeServiceRequest};
use prost::Message;
use serde_json::Value;

use super::app::{App, ReceivedBodies, grpc_app};
use super::stage::{Stage, post, resiliency};

const TWICE: &str =
    "  policies: {retries: {r: {duration: 10ms, maxRetries: 2}}}\n  targets: {apps: {R-app: {retry: r}}}";

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_the_same_on_each_attempt() {
    let (seen, stage) = (ReceivedBodies::default(), Stage::new());
    let app = App::start(seen.clone()).await;
    let _callee = stage.mesh.sidecar("R-app").app_port(app.port).start().await;
    let caller = stage.sidecar("R-caller", &[&resiliency(TWICE)]).start().await;
    for size in [0, 1024, 1_000_000] {
        let body: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        let key = format!("b{size}");
        let answer = post(
            &caller,
            "R-app",
            &format!("fail/2/500/{key}?q=1"),
            body.clone().into(),
        )
        .await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        let bodies = seen.bodies(&key);
        assert!(
            bodies.len() == 3 && bodies.iter().all(|one| *one == body),
            "{size}"
        );
    }
    let name = "endpoint[R-app, R-app:fail/2/500/b0]";
    let log = caller.log();
    for line in [
        format!("level=warning msg=\"Error processing operation {name}. Retrying in 10ms…\""),
        format!("level=info msg=\"Recovered processing operation {name} after 3 attempts\""),
    ] {
        assert_eq!(log.matches(&line).count(), 1, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_established_stream_has_no_time_limit() {
    let stage = Stage::new();
    let app = GrpcApp::echo().await;
    let spec = "  policies: {timeouts: {DefaultTimeoutPolicy: 300ms}, retries: {DefaultRetryPolicy: {duration: 10ms}}}";
    let grpc =
        |builder: integration_tests::DaprdBuilder| builder.app_port(app.port).arg("--app-protocol=grpc");
    let _callee = grpc(stage.mesh.sidecar("R-stream")).start().await;
    let caller = stage.sidecar("R-streamer", &[&resiliency(spec)]).start().await;
    let client = GrpcClient::connect(caller.grpc_port).await;
    let metadata = [("dapr-app-id", "R-stream"), ("dapr-stream", " Yes ")];
    let mut stream = client.open("/test.Svc/Echo", &metadata).await;
    for text in ["one", "two", "three"] {
        stream.send(text.as_bytes()).await;
        assert_eq!(stream.message().await.expect("an answer").data, text);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stream.finish();
    assert_eq!(stream.answer().await.code(), 0);

    // Without the word it is one call, whose time ends, and whose second message is one too many.
    let mut stream = client.open("/test.Svc/Echo", &metadata[..1]).await;
    stream.send(b"one").await;
    assert_eq!(stream.message().await.expect("an answer").data, "one");
    let answer = stream.answer().await;
    assert_eq!(
        (answer.code(), answer.status_message().as_str()),
        (4, "context deadline exceeded")
    );
    let mut stream = client.open("/test.Svc/Echo", &metadata[..1]).await;
    stream.send(b"one").await;
    assert_eq!(stream.message().await.expect("an answer").data, "one");
    stream.send(b"two").await;
    let answer = stream.answer().await;
    let text = "cannot use resiliency policies with retries on streaming RPCs";
    assert_eq!((answer.code(), answer.status_message().as_str()), (9, text));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_and_end_nothing() {
    let stage = Stage::new();
    let named = |name: &str, spec: &str| resiliency(spec).replace("name: policies", &format!("name: {name}"));
    let resources = [
        named("good", "  targets: {apps: {x: {retry: nowhere}}}"),
        named(
            "bad",
            "  policies: {retries: {r: {matching: {httpStatusCodes: '11', gRPCStatusCodes: '400'}}}}",
        ),
        named("broken", "  policies: {retries: {r: {maxRetries: '3'}}}"),
        named("actors", "  targets: {actors: {x: {circuitBreaker: c}}}"),
        named("beyond", "  policies: {retries: {r: {jitter: 2}}}"),
        named("foreign", "  policies: {}\nscopes: [somebody]"),
        named("good", "  policies: {}"),
    ];
    let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
    let daprd = stage.sidecar("R-bad", &resources).start().await;
    let metadata: Value = reqwest::get(daprd.url("/v1.0/metadata"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let names: Vec<_> = metadata["resiliencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["good", "bad", "actors", "beyond"]);
    let log = daprd.log();
    for line in [
        "level=info msg=\"Loading Resiliency configuration: good\"",
        "level=warning msg=\"Resiliency: targets.apps.x.retry: there is no policy \\\"nowhere\\\", calls go without it\"",
        "level=error msg=\"Could not read resiliency policy bad: invalid pattern 11, start code 11 is not valid\"",
        "level=error msg=\"Nothing of the resiliency policy bad is used\"",
        "level=error msg=\"Could not parse resiliency file r2.yaml: spec.policies.retries.r.maxRetries is a text, where a \
         whole number is expected\"",
        "level=error msg=\"Could not read resiliency policy actors: actor circuit breakers must include scope\"",
        "level=error msg=\"Could not read resiliency policy beyond: spec.policies.retries.r.jitter: \\\"2\\\" is no number from 0 \
         to 1\"",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    assert!(!log.contains("foreign"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_opens_for_one_method_and_closes_again() {
    let (seen, stage) = (ReceivedBodies::default(), Stage::new());
    let app = App::start(seen.clone()).await;
    let spec = "  policies: {circuitBreakers: {DefaultCircuitBreakerPolicy: {timeout: 500ms, trip: consecutiveFailures >= 2}}}";
    let own = stage
        .sidecar("R-own", &[&resiliency(spec)])
        .app_port(app.port)
        .start()
        .await;
    let call = async |method: &str| post(&own, "R-own", method, "x".into()).await;
    for _ in 0..2 {
        assert_eq!(call("fail/2/503/f").await.status, 503);
    }
    let refused = call("fail/2/503/f").await;
    assert!(
        refused.status == 500 && refused.body.ends_with("err: circuit breaker is open\"}"),
        "{refused:?}"
    );
    assert_eq!(call("ok/other").await.status, 200);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(call("fail/2/503/f").await.status, 200);
    assert_eq!(seen.count("f"), 3);
    let name = r#"Circuit breaker \"R-own:fail/2/503/f\" changed state from"#;
    for change in ["closed to open", "open to half-open", "half-open to closed"] {
        own.await_log(&format!("{name} {change}")).await;
    }
}

/// Two instances of an app, one of which loses its app.
async fn half_gone(
    stage: &Stage,
    seen: &ReceivedBodies,
    is_grpc: bool,
) -> (Vec<Daprd>, (Option<App>, Option<GrpcApp>)) {
    let mut sidecars = Vec::new();
    let mut kept = (None, None);
    for is_kept in [true, false] {
        let builder = stage.mesh.sidecar("R-two");
        if is_grpc {
            let app = grpc_app(seen.clone()).await;
            sidecars.push(
                builder
                    .app_port(app.port)
                    .arg("--app-protocol=grpc")
                    .start()
                    .await,
            );
            kept.1 = kept.1.or(is_kept.then_some(app));
        } else {
            let app = App::start(seen.clone()).await;
            sidecars.push(builder.app_port(app.port).start().await);
            kept.0 = kept.0.or(is_kept.then_some(app));
        }
    }
    (sidecars, kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_gets_the_call_when_an_app_is_gone() {
    for is_grpc in [false, true] {
        for spec in ["  policies: {}", "  targets: {apps: {R-two: {}}}"] {
            let (seen, stage) = (ReceivedBodies::default(), Stage::new());
            let (_sidecars, _kept) = half_gone(&stage, &seen, is_grpc).await;
            let caller = stage.sidecar("R-of-two", &[&resiliency(spec)]).start().await;
            let client = GrpcClient::connect(caller.grpc_port).await;
            let separator = if is_grpc { '-' } else { '/' };
            for call in 0..20 {
                let method = format!("ok{separator}c{call}");
                assert_eq!(
                    post(&caller, "R-two", &method, "body".into()).await.status,
                    200,
                    "{is_grpc} {spec}"
                );
                let request = InvokeServiceRequest::post("R-two", &method, "body");
                let (answer, _) = client.invoke(&request, &[]).await;
                assert_eq!(answer.code(), 0, "{is_grpc} {}", answer.status_message());
                assert_eq!(seen.count(&format!("c{call}")), 2, "each call came once");
            }
        }
    }
}

/// The answers of a sidecar whose app is gone to a caller that says what it is, and to one that is Dapr's.
#[tokio::test(flavor = "multi_thread")]
async fn sidecars_of_dapr_do_not_notice() {
    for is_grpc in [false, true] {
        let (seen, stage) = (ReceivedBodies::default(), Stage::new());
        let builder = stage.mesh.sidecar("R-gone");
        let callee = if is_grpc {
            let app = grpc_app(seen).await;
            builder
                .app_port(app.port)
                .arg("--app-protocol=grpc")
                .start()
                .await
        } else {
            let app = App::start(seen).await;
            builder.app_port(app.port).start().await
        };
        let client = GrpcClient::connect(callee.internal_port).await;
        // The version, and metadata: `a` is `b`.
        let mut request = vec![0x08, 1];
        request.extend(b"\x12\x08\x0a\x01a\x12\x03\x0a\x01b");
        let invoke = InvokeServiceRequest::post("R-gone", "ok", "x")
            .message
            .unwrap()
            .encode_to_vec();
        request.push(0x1a);
        request.push(u8::try_from(invoke.len()).unwrap());
        request.extend(invoke);
        let path = "/dapr.proto.internals.v1.ServiceInvocation/CallLocal";
        // A connection to the app may have been there, and is not any more after a call.
        client.call(path, &[], &[&request]).await;
        for (told, wanted) in [(&[("dapr-max-message", "4194304")][..], true), (&[], false)] {
            let answer = client.call(path, told, &[&request]).await;
            assert_eq!(
                answer.code(),
                if is_grpc { 0 } else { 13 },
                "{}",
                answer.status_message()
            );
            let marks = answer.head.get("dapr-unseen").is_some()
                || answer
                    .trailers
                    .is_some_and(|trailers| trailers.contains_key("dapr-unseen"));
            let text = answer.head.get("grpc-message");
            assert_eq!(marks, wanted, "{is_grpc} {told:?} {text:?}");
        }
    }
}
