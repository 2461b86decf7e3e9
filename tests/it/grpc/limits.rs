//! Bad input and too much of it: a clear status, and nobody else is hurt.

use integration_tests::grpc::{GrpcApp, InvokeServiceRequest};

use super::{APP, METHOD, Pair, TO_APP};

#[tokio::test(flavor = "multi_thread")]
async fn the_target_of_a_call() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let id = |id| ("dapr-app-id", id);
    for (metadata, code, text) in [
        (vec![], 2, "missing dapr-callee-app-id or dapr-app-id metadata"),
        (vec![id("")], 2, "app id is empty"),
        (vec![id("nobody")], 2, "no host found with the given ID"),
        (vec![id("a.b.c")], 2, "invalid app id a.b.c"),
        // The first counts.
        (vec![id(APP), id("nobody")], 0, ""),
        (vec![id("nobody"), id(APP)], 2, "no host found with the given ID"),
        // An app may have copied the other from a call that it got.
        (vec![id(APP), ("dapr-callee-app-id", "nobody")], 0, ""),
        (vec![("dapr-callee-app-id", APP)], 0, ""),
    ] {
        let answer = client.call(METHOD, &metadata, &[b"x"]).await;
        assert_eq!(answer.code(), code, "{metadata:?}: {answer:?}");
        let message = answer.status_message();
        assert!(message.contains(text), "{metadata:?}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sidecar_may_reach_only_the_app_of_this_one() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    let peer = integration_tests::grpc::GrpcClient::connect(pair.caller.internal_port).await;
    let answer = peer.call(METHOD, &[("dapr-callee-app-id", APP)], &[b"x"]).await;
    assert_eq!(
        (answer.code(), answer.status_message().as_str()),
        (2, "couldn't find service: app-2")
    );
    let peer = integration_tests::grpc::GrpcClient::connect(pair.callee.internal_port).await;
    let answer = peer.call(METHOD, &[("dapr-callee-app-id", APP)], &[b"x"]).await;
    assert_eq!(answer.only(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_no_good() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    for (metadata, http, code) in [
        (("grpc-timeout", "soon"), 400, 13),
        (("grpc-timeout", "123456789S"), 400, 13),
        (("grpc-timeout", ""), 400, 13),
        (("x-b-bin", "no base64!"), 400, 13),
        (("content-type", "application/json"), 415, 3),
        (("x-fine", "1"), 200, 0),
    ] {
        let answer = client.call(METHOD, &[TO_APP, metadata], &[b"x"]).await;
        assert_eq!(
            (answer.http.as_u16(), answer.code()),
            (http, code),
            "{metadata:?}"
        );
        let invocation = prost::Message::encode_to_vec(&InvokeServiceRequest::post(APP, "m", "x"));
        let path = integration_tests::grpc::INVOKE_SERVICE;
        let answer = client.call(path, &[metadata], &[&invocation]).await;
        assert_eq!(
            (answer.http.as_u16(), answer.code()),
            (http, code),
            "{metadata:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_over_the_limit() {
    let app = GrpcApp::start(|mut call| async move {
        let (messages, _) = call.messages().await;
        if call.path() == METHOD {
            call.send(&vec![1; 100_000]).await;
        } else {
            for message in messages {
                call.send(&message.data).await;
            }
        }
        call.finish(0, "", &[]);
    })
    .await;
    let pair = Pair::with(app.port, |builder| builder.arg("--max-body-size=64Ki")).await;
    let client = pair.client().await;
    let mut neighbour = client.open("/test.Service/Echo", &[TO_APP]).await;
    let fits = vec![2; 64 * 1024];
    for _ in 0..3 {
        let answer = client.proxy(APP, METHOD, b"x").await;
        assert_eq!(answer.code(), 8, "{answer:?}");
        let wanted = "grpc: received message larger than max (100000 vs. 65536)";
        assert_eq!(answer.status_message(), wanted);
        let answer = client
            .proxy(APP, "/test.Service/Echo", &vec![2; 64 * 1024 + 1])
            .await;
        assert_eq!(answer.code(), 8, "{answer:?}");
        let answer = client.proxy(APP, "/test.Service/Echo", &fits).await;
        assert_eq!(answer.only(), fits);
        let large = InvokeServiceRequest::post(APP, "m", &"x".repeat(70_000));
        let (answer, _) = client.invoke(&large, &[]).await;
        assert_eq!(answer.code(), 8, "{answer:?}");
    }
    neighbour.send(b"still there").await;
    neighbour.finish();
    assert_eq!(neighbour.answer().await.only(), b"still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn header_lists_over_the_limit() {
    let app = GrpcApp::echo().await;
    // One kibibyte of the HTTP API's buffer is a mebibyte of headers here, as with Dapr.
    let pair = Pair::with(app.port, |builder| builder.arg("--read-buffer-size=1Ki")).await;
    let client = pair.client().await;
    let mut neighbour = client.open(METHOD, &[TO_APP]).await;
    neighbour.send(b"x").await;
    assert!(neighbour.message().await.is_some());
    let value = "v".repeat(10_000);
    let names: Vec<String> = (0..150).map(|number| format!("x-{number}")).collect();
    let mut metadata = vec![TO_APP];
    metadata.extend(names.iter().map(|name| (name.as_str(), value.as_str())));
    // A third of it fits.
    let answer = client.call(METHOD, &metadata[..50], &[b"x"]).await;
    assert_eq!(answer.only(), b"x");
    let mut refused = client.open(METHOD, &metadata).await;
    let status = refused.head().await.map(|head| head.status.as_u16());
    assert!(matches!(status, None | Some(431)), "{status:?}");
    let others = pair.client().await;
    assert_eq!(others.proxy(APP, METHOD, b"x").await.only(), b"x");
}
