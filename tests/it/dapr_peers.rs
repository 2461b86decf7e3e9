//! Sidecars of Dapr on the other side, made up message by message: what their limits are, and what old ones know.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use integration_tests::grpc::{
    GrpcApp, GrpcCall, GrpcClient, InvokeRequest, InvokeServiceRequest, Message, Setup,
};
use integration_tests::{Daprd, DaprdBuilder, HttpApp, Mesh, Protocol, RawClient, Request, text};
use prost::Message as _;

use crate::stage::{Pair, chunk};

const STREAM: &str = "/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream";
const UNARY: &str = "/dapr.proto.internals.v1.ServiceInvocation/CallLocal";

/// What a sidecar of Dapr with `--max-body-size=16Ki` takes.
const SMALL: usize = 16 * 1024;

/// The messages of both streams, as far as tests need them: `request` and `response` are in field 1.
#[derive(Clone, PartialEq, prost::Message)]
struct Piece {
    #[prost(bytes = "bytes", optional, tag = "1")]
    head: Option<Bytes>,
    #[prost(message, optional, tag = "2")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
    #[prost(uint64, tag = "2")]
    seq: u64,
}

/// What a sidecar asks of another: version 1, metadata, and what the app is asked.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InternalRequest {
    #[prost(int32, tag = "1")]
    pub(crate) version: i32,
    #[prost(map = "string, message", tag = "2")]
    pub(crate) metadata: std::collections::HashMap<String, Values>,
    #[prost(message, optional, tag = "3")]
    pub(crate) message: Option<InvokeRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Values {
    #[prost(string, repeated, tag = "1")]
    pub(crate) values: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InternalResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(message, optional, tag = "4")]
    message: Option<integration_tests::grpc::InvokeResponse>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
}

fn ok(body: &str) -> InternalResponse {
    InternalResponse {
        status: Some(Status { code: 200 }),
        message: Some(integration_tests::grpc::InvokeResponse::text(body)),
    }
}

/// The first message of a stream that answers 200 with a short body.
fn answered(body: &str) -> Vec<u8> {
    let head = InternalResponse {
        message: None,
        ..ok("")
    };
    let piece = Piece {
        head: Some(head.encode_to_vec().into()),
        payload: Some(Payload {
            data: body.to_owned().into(),
            seq: 0,
        }),
    };
    piece.encode_to_vec()
}

/// A caller whose app `1` is behind this port.
async fn caller_of(port: u16) -> (Daprd, Mesh) {
    let mesh = Mesh::new();
    let config = mesh.folder().join("names.yaml");
    let text = format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: it\nspec:\n  nameResolution:\n\
         \x20   component: nameformat\n    configuration:\n      format: \"127.0.0.{{appid}}:{port}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let caller = DaprdBuilder::new("caller").arg(format!("--config={}", config.display()));
    (caller.start().await, mesh)
}

/// How long the body in these messages is; they are counted.
fn body_of(messages: &[Message]) -> usize {
    let mut length = 0;
    for (seq, message) in messages.iter().enumerate() {
        let piece = Piece::decode(message.data.clone()).unwrap();
        assert_eq!(piece.head.is_some(), seq == 0);
        length += piece.payload.map_or(0, |payload| payload.data.len());
    }
    length
}

/// Takes messages of up to 16 KiB, as gRPC for Go does, and tells how long the body was.
async fn small(mut call: GrpcCall) {
    let (messages, _) = call.messages().await;
    if let Some(long) = messages.iter().find(|message| message.data.len() > SMALL) {
        let text = format!(
            "grpc: received message larger than max ({} vs. {SMALL})",
            long.data.len()
        );
        return call.refuse(8, &text, &[]);
    }
    call.send(&answered(&body_of(&messages).to_string())).await;
    call.finish(0, "", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_passes_to_a_sidecar_that_takes_short_messages() {
    let peer = GrpcApp::start(small).await;
    let (caller, _mesh) = caller_of(peer.port).await;
    let client = reqwest::Client::new();
    for _ in 0..2 {
        for length in [0, 2000, 70_000, 1_000_000] {
            let call = client.post(caller.invoke_url("1", "m")).body(vec![0; length]);
            let answer = call.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.text().await.unwrap(), length.to_string());
        }
    }
    let mut streamed = RawClient::connect(caller.http_port).await;
    let head = "POST /v1.0/invoke/1/method/m HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    streamed.send(head).await;
    for _ in 0..10 {
        streamed.send(chunk(&vec![0; 50_000])).await;
    }
    streamed.send(chunk(&[])).await;
    let answer = streamed.receive().await.unwrap();
    assert_eq!((answer.status(), answer.text()), (200, "500000".to_owned()));
}

fn internal_request(method: &str) -> Vec<u8> {
    let request = InternalRequest {
        version: 1,
        metadata: [(
            "X-A".to_owned(),
            Values {
                values: vec!["1".to_owned()],
            },
        )]
        .into(),
        message: Some(InvokeRequest {
            http_extension: Some(integration_tests::grpc::HttpExtension {
                verb: 3,
                querystring: String::new(),
            }),
            method: method.to_owned(),
            ..InvokeRequest::default()
        }),
    };
    let piece = Piece {
        head: Some(request.encode_to_vec().into()),
        payload: None,
    };
    piece.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_says_nothing_is_answered_in_short_messages() {
    let app = HttpApp::start(Protocol::Http, |request: Request| async move {
        // An app that closes before it has read all takes its own answer away.
        let (request, body) = request.into_parts();
        let _ = body.collect().await;
        // Sidecars ask their app for its configuration, too.
        match request.uri.path().trim_start_matches('/').parse() {
            Ok(length) => text(200, vec![b'x'; length]),
            Err(_) => text(404, ""),
        }
    })
    .await;
    let callee = DaprdBuilder::new("callee").app_port(app.port).start().await;
    let client = GrpcClient::connect(callee.internal_port).await;
    for length in [0, 1, 2048, 16_384, 100_000, 1_000_000] {
        let request = internal_request(&length.to_string());
        let answer = client.call(STREAM, &[], &[&request]).await;
        assert_eq!(answer.code(), 0, "{answer:?}");
        let longest = answer.messages.iter().map(|message| message.data.len()).max();
        assert!(longest.unwrap() <= 2048, "{longest:?}");
        assert_eq!(body_of(&answer.messages), length);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_between_sidecars_of_any_limits() {
    let app = HttpApp::start(Protocol::Http, |request: Request| async move {
        // Sidecars ask their app for its configuration, too.
        match request.uri().path().trim_start_matches('/').parse() {
            Ok(length) => text(200, vec![b'x'; length]),
            Err(_) => text(404, ""),
        }
    })
    .await;
    for limits in [
        ["16Ki", "16Ki"],
        ["32Ki", "32Ki"],
        ["16Ki", "4Mi"],
        ["4Mi", "16Ki"],
    ] {
        let mesh = Mesh::new();
        let [caller, callee] = limits.map(|limit| format!("--max-body-size={limit}"));
        let _callee = mesh
            .sidecar("callee")
            .app_port(app.port)
            .arg(callee)
            .start()
            .await;
        let caller = mesh.sidecar("caller").arg(caller).start().await;
        for length in [10_000, 70_000, 100_000, 1_000_000] {
            let url = caller.invoke_url("callee", &length.to_string());
            let answer = reqwest::Client::new().post(url).body("x").send().await.unwrap();
            assert_eq!(answer.status(), 200, "{limits:?}");
            assert_eq!(answer.bytes().await.unwrap().len(), length, "{limits:?}");
        }
    }
}

/// Knows `CallLocal` only. What the status of an unknown method says is up to its library.
async fn old(mut call: GrpcCall) {
    if call.path() != UNARY {
        return call.refuse(12, "Method not found!", &[]);
    }
    let message = call.message().await.unwrap();
    let request = InternalRequest::decode(message.data).unwrap();
    let body = request.message.unwrap().data.unwrap_or_default().value;
    call.send(&ok(&format!("old {}", body.len())).encode_to_vec())
        .await;
    call.finish(0, "", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_knows_no_streams_is_called_again() {
    // The windows of gRPC for Go.
    let peer = GrpcApp::start_with(Setup::new(), old).await;
    let (caller, _mesh) = caller_of(peer.port).await;
    let client = reqwest::Client::new();
    for length in [0, 5, 100_000, 1_000_000] {
        let call = client.post(caller.invoke_url("1", "m")).body(vec![0; length]);
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), format!("old {length}"));
    }
    let client = GrpcClient::connect(caller.grpc_port).await;
    let (answer, message) = client
        .invoke(&InvokeServiceRequest::post("1", "m", "hello"), &[])
        .await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    assert_eq!(message.body(), b"old 5");
    caller
        .await_log("App 1 does not support streaming-based service invocation (most likely because it's using an older")
        .await;
    // What has no length is not kept.
    let mut streamed = RawClient::connect(caller.http_port).await;
    let head = "POST /v1.0/invoke/1/method/m HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    streamed.send(head).await;
    streamed.send(chunk(b"hello")).await;
    streamed.send(chunk(&[])).await;
    let answer = streamed.receive().await.unwrap();
    assert_eq!(answer.status(), 500);
    assert_eq!(
        answer.text(),
        "{\"errorCode\":\"ERR_DIRECT_INVOKE\",\"message\":\"failed to invoke, id: 1, err: target app '1' is running a \
         version of Dapr that does not support streaming-based service invocation\"}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_retry_is_in_the_log() {
    const RETRY: &str =
        "level=warning msg=\"Error processing operation DaprBuiltInServiceRetries. Retrying in 1s…\"";
    let calls = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&calls);
    let peer = GrpcApp::start(move |mut call| {
        let counted = Arc::clone(&counted);
        async move {
            if counted.fetch_add(1, Ordering::Relaxed) % 3 < 2 {
                return call.refuse(14, "not now", &[]);
            }
            call.messages().await;
            call.send(&answered("in the end")).await;
            call.finish(0, "", &[]);
        }
    })
    .await;
    let (caller, _mesh) = caller_of(peer.port).await;
    let answer = reqwest::Client::new().post(caller.invoke_url("1", "m")).body("x");
    assert_eq!(answer.send().await.unwrap().text().await.unwrap(), "in the end");
    let recovered =
        "level=info msg=\"Recovered processing operation DaprBuiltInServiceRetries after 3 attempts\"";
    caller.await_log(recovered).await;
    let log = caller.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("processing operation"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains(RETRY), "{lines:?}");
    assert!(
        lines.iter().all(|line| line.contains("scope=dapr.runtime ")),
        "{lines:?}"
    );
    let cause = "Error for operation DaprBuiltInServiceRetries was: failed to invoke target 1 after 0 retries. \
                 Error: rpc error: code = Unavailable desc = not now";
    assert!(log.contains(cause));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_once_is_not_in_the_log() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::new(app.port).await;
    let answer = reqwest::Client::new().post(pair.url("m")).body("x").send();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert!(!pair.caller.log().contains("processing operation"));
}
