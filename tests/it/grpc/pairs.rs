//! Every pair of caller and app protocol, and every way to name an app.

use integration_tests::grpc::{
    Answer, GrpcApp, GrpcClient, HttpExtension, InvokeRequest, InvokeServiceRequest,
};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol};
use serde_json::Value;

use super::{METHOD, Pair};

async fn post(caller: &Daprd, app_id: &str, body: &str) -> String {
    let request = reqwest::Client::new()
        .post(caller.invoke_url(app_id, "hello"))
        .header("content-type", "text/plain")
        .body(body.to_owned());
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.text().await.expect("a body")
}

async fn invoke(caller: &Daprd, app_id: &str, body: &str) -> (Answer, Vec<u8>) {
    let client = GrpcClient::connect(caller.grpc_port).await;
    let request = InvokeServiceRequest::post(app_id, "hello", body);
    let (answer, response) = client.invoke(&request, &[("x-mine", "1")]).await;
    (answer, response.body().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_pairs() {
    let mesh = Mesh::new();
    let (http, grpc) = (HttpApp::echo(Protocol::Http).await, GrpcApp::echo().await);
    let caller = mesh.sidecar("caller").start().await;
    let _http = mesh.sidecar("http-app").app_port(http.port).start().await;
    let with_grpc = mesh.sidecar("grpc-app").app_port(grpc.port);
    let _grpc = with_grpc.arg("--app-protocol=grpc").start().await;

    let seen: Value = serde_json::from_str(&post(&caller, "http-app", "a").await).expect("JSON");
    assert_eq!(seen["body"], "a");
    assert_eq!(post(&caller, "grpc-app", "b").await, "b");

    let (answer, body) = invoke(&caller, "http-app", "c").await;
    assert_eq!(answer.header("dapr-http-status"), Some("200"));
    let seen: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&seen["body"], &seen["target"]), (&"c".into(), &"/hello".into()));
    let header = |name: &str| {
        let headers = seen["headers"].as_array().into_iter().flatten();
        let found = headers.into_iter().find(|header| header[0] == name);
        found.map(|header| header[1].clone()).unwrap_or_default()
    };
    assert_eq!(
        (header("x-mine"), header("dapr-caller-app-id")),
        ("1".into(), "caller".into())
    );

    let (answer, body) = invoke(&caller, "grpc-app", "d").await;
    assert_eq!((answer.code(), body.as_slice()), (0, &b"d"[..]));
    assert_eq!(answer.header("dapr-http-status"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_are_named_with_and_without_a_namespace() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    for sidecar in [&pair.caller, &pair.callee] {
        let client = GrpcClient::connect(sidecar.grpc_port).await;
        for name in ["app-2", "app-2.default"] {
            assert_eq!(client.proxy(name, METHOD, b"x").await.only(), b"x", "{name}");
            let (answer, body) = invoke(sidecar, name, "x").await;
            assert_eq!((answer.code(), body.as_slice()), (0, &b"x"[..]), "{name}");
        }
        assert_eq!(client.proxy("a.b.c", METHOD, b"x").await.code(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_app_wants_a_verb() {
    let mesh = Mesh::new();
    let http = HttpApp::echo(Protocol::Http).await;
    let callee = mesh.sidecar("http-app").app_port(http.port).start().await;
    let client = GrpcClient::connect(callee.grpc_port).await;
    let mut request = InvokeServiceRequest {
        id: "http-app".to_owned(),
        message: Some(InvokeRequest {
            method: "m".to_owned(),
            ..InvokeRequest::default()
        }),
    };
    let (answer, _) = client.invoke(&request, &[]).await;
    assert_eq!(answer.code(), 13);
    assert!(answer.status_message().contains("missing HTTP extension field"));
    if let Some(message) = &mut request.message {
        message.http_extension = Some(HttpExtension {
            verb: 1,
            querystring: "a=b%20c".to_owned(),
        });
    }
    let (answer, response) = client.invoke(&request, &[]).await;
    assert_eq!(answer.code(), 0);
    let seen: Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(
        (&seen["method"], &seen["target"]),
        (&"GET".into(), &"/m?a=b%20c".into())
    );
}
