//! The channel against an app that is made up, over loopback.

mod packed;

use std::convert::Infallible;
use std::time::Duration;

use dapr_proto::common::{HttpExtension, InvokeRequest, InvokeResponse};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Empty, Full};
use invoke_core::{Invocation, MethodPath, Origin, Proxied, Verb, WireStatus};
use lifecycle::{Shutdown, ShutdownTrigger};
use prost::Message;
use tokio::sync::mpsc;
use transport::listen::{Listener, Patience};
use transport::server::{GrpcServerConfig, Handler, RequestBody, serve_grpc};

use super::*;

/// An app whose methods are the cases of the tests.
#[derive(Clone)]
struct App {
    dropped: mpsc::UnboundedSender<&'static str>,
}

struct TellsDrop(mpsc::UnboundedSender<&'static str>);

impl TellsDrop {
    /// A call that has come, and tells when it goes.
    fn new(told: &mpsc::UnboundedSender<&'static str>) -> Self {
        let _ = told.send("came");
        Self(told.clone())
    }
}

impl Drop for TellsDrop {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

type Answer = UnsyncBoxBody<Bytes, Infallible>;

impl Handler for App {
    type Body = Answer;

    async fn call(&self, request: Request<RequestBody>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if parts.uri.path() != ON_INVOKE {
            let mut response = answer(&body[5..], &GrpcStatus::new(20, "odd"), &[]);
            response.headers_mut().extend(parts.headers);
            return response;
        }
        let asked = InvokeRequest::decode(&body[5..]).unwrap();
        let echo = InvokeResponse {
            data: asked.data.clone(),
            content_type: asked.content_type.clone(),
        };
        match asked.method.as_str() {
            "echo" => {
                let mut response = answer(
                    &echo.encode_to_vec(),
                    &GrpcStatus::default(),
                    &[("x-trailer", "t")],
                );
                response.headers_mut().extend(parts.headers);
                response
            }
            "asked" => {
                let text = format!("{:?}", asked.http_extension);
                let shown = InvokeResponse {
                    data: Some(prost_types::Any {
                        type_url: "shown".to_owned(),
                        value: text.into(),
                    }),
                    content_type: String::new(),
                };
                answer(&shown.encode_to_vec(), &GrpcStatus::default(), &[])
            }
            "fail" => {
                let details = WireStatus {
                    code: 20,
                    message: "odd".into(),
                    details: vec![invoke_core::StatusDetail {
                        type_url: "t".into(),
                        value: Bytes::from_static(b"v"),
                    }],
                };
                let status = GrpcStatus {
                    code: 20,
                    message: "odd".into(),
                    details: invoke_codec::status::details(&details),
                };
                let mut response =
                    grpc_wire::trailers_only::<Answer>(&status, HeaderValue::from_static("application/grpc"));
                response
                    .headers_mut()
                    .insert("x-bin", HeaderValue::from_static("YWI"));
                response
            }
            "hang" => {
                let _guard = TellsDrop::new(&self.dropped);
                std::future::pending().await
            }
            "large" => answer(&[0; 3000], &GrpcStatus::default(), &[]),
            "nothing" => answer_of(Bytes::new(), &GrpcStatus::default(), &[]),
            "page" => Response::builder()
                .status(503)
                .header("content-type", "text/html")
                .body(Full::new(Bytes::from_static(b"<html>")).boxed_unsync())
                .unwrap(),
            "cut" => Response::builder()
                .header("content-type", "application/grpc")
                .body(Empty::new().boxed_unsync())
                .unwrap(),
            other => panic!("no case {other}"),
        }
    }
}

fn answer(
    message: &[u8],
    status: &GrpcStatus,
    trailers: &[(&'static str, &'static str)],
) -> Response<Answer> {
    let mut framed = MessageHead {
        compressed: false,
        length: message.len() as u32,
    }
    .to_bytes()
    .to_vec();
    framed.extend_from_slice(message);
    answer_of(framed.into(), status, trailers)
}

fn answer_of(
    body: Bytes,
    status: &GrpcStatus,
    trailers: &[(&'static str, &'static str)],
) -> Response<Answer> {
    let mut map = status.to_trailers();
    for (name, value) in trailers {
        map.insert(*name, HeaderValue::from_static(value));
    }
    let body = Full::new(body).with_trailers(std::future::ready(Some(Ok(map))));
    Response::builder()
        .header("content-type", "application/grpc")
        .body(body.boxed_unsync())
        .unwrap()
}

struct Fixture {
    channel: GrpcChannel,
    dropped: mpsc::UnboundedReceiver<&'static str>,
    _trigger: ShutdownTrigger,
}

async fn fixture() -> Fixture {
    let (sender, dropped) = mpsc::unbounded_channel();
    let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (trigger, shutdown) = Shutdown::new();
    let app = App { dropped: sender };
    tokio::spawn(serve_grpc(listener, GrpcServerConfig::default(), app, shutdown));
    Fixture {
        channel: GrpcChannel::new(settings(address), Tasks::new()),
        dropped,
        _trigger: trigger,
    }
}

fn settings(address: String) -> GrpcSettings {
    GrpcSettings {
        address,
        tls: None,
        token: Some(HeaderValue::from_static("secret")),
        max_message: 2000,
        reuse: Reuse::default(),
    }
}

fn call(method: &str, body: impl Into<Body>) -> Invocation {
    let mut head = Head::new(MethodPath::parse(method.to_owned()).unwrap(), Origin::Http);
    head.headers.insert("x-custom", HeaderValue::from_static("1"));
    head.headers.insert("accept", HeaderValue::from_static("*/*"));
    head.headers
        .insert("dapr-api-token", HeaderValue::from_static("stray"));
    head.content_type = Some(HeaderValue::from_static("text/plain"));
    Invocation {
        head,
        body: body.into(),
    }
}

async fn invoke(channel: &GrpcChannel, call: Invocation) -> Result<Reply, InvokeError> {
    channel.invoke(Cow::Owned(call.head), call.body).await
}

async fn body(reply: Reply) -> Bytes {
    reply.body.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn an_invocation_there_and_back() {
    let fixture = fixture().await;
    let reply = invoke(&fixture.channel, call("echo", Bytes::from_static(b"hello")))
        .await
        .unwrap();
    assert_eq!(reply.status, WireStatus::default());
    assert_eq!(reply.content_type.as_ref().unwrap(), "text/plain");
    for (name, value) in [
        ("x-custom", "1"),
        ("dapr-accept", "*/*"),
        ("dapr-api-token", "secret"),
        ("grpc-trace-bin", ""),
    ] {
        assert_eq!(reply.headers[name], value, "{name}");
    }
    assert_eq!(reply.trailers["x-trailer"], "t");
    assert!(!reply.trailers.contains_key("grpc-status"));
    assert_eq!(body(reply).await, "hello");
}

#[tokio::test]
async fn verb_query_and_type_url() {
    let fixture = fixture().await;
    let mut asked = call("asked", Bytes::new());
    asked.head.verb = Some(Verb::PATCH);
    asked.head.query = Bytes::from_static(b"a=b");
    let reply = invoke(&fixture.channel, asked).await.unwrap();
    assert_eq!(reply.type_url.as_deref(), Some("shown"));
    let extension = HttpExtension {
        verb: 9,
        querystring: "a=b".into(),
    };
    assert_eq!(body(reply).await, format!("{:?}", Some(extension)));
    let reply = invoke(&fixture.channel, call("asked", Bytes::new()))
        .await
        .unwrap();
    assert_eq!(body(reply).await, "None", "a caller without a verb gives none");
}

#[tokio::test]
async fn the_status_of_the_app_is_a_reply() {
    let fixture = fixture().await;
    let reply = invoke(&fixture.channel, call("fail", Bytes::new()))
        .await
        .unwrap();
    assert_eq!((reply.status.code, reply.status.message.as_str()), (20, "odd"));
    assert_eq!(reply.status.details.len(), 1);
    assert_eq!(reply.trailers["x-bin"], "YWI=", "as it travels between sidecars");
}

#[tokio::test]
async fn what_the_app_does_wrong_is_a_status() {
    let fixture = fixture().await;
    for (method, code, text) in [
        (
            "large",
            8,
            "grpc: received message larger than max (3000 vs. 2000)",
        ),
        (
            "nothing",
            13,
            "cardinality violation: received no response message from a unary call",
        ),
        (
            "page",
            14,
            "unexpected HTTP status code received from server: 503 (Service Unavailable); \
             transport: received unexpected content-type \"text/html\"",
        ),
        ("cut", 13, "server closed the stream without sending trailers"),
    ] {
        let reply = invoke(&fixture.channel, call(method, Bytes::new()))
            .await
            .unwrap();
        assert_eq!(
            (reply.status.code, reply.status.message.as_str()),
            (code, text),
            "{method}"
        );
    }
    let too_large = call("echo", Bytes::from(vec![0; 2001]));
    assert_eq!(invoke(&fixture.channel, too_large).await.unwrap().status.code, 8);
}

#[tokio::test]
async fn an_app_that_is_not_there_is_a_status() {
    let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let channel = GrpcChannel::new(settings(address.clone()), Tasks::new());
    let reply = invoke(&channel, call("echo", Bytes::new())).await.unwrap();
    assert_eq!(reply.status.code, 14);
    assert_eq!(
        reply.status.message,
        format!(
            "connection error: desc = \"transport: Error while dialing: dial tcp {address}: connect: connection refused\""
        )
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_is_told_to_the_app() {
    let mut fixture = fixture().await;
    let channel = fixture.channel.clone();
    let waiting = tokio::spawn(async move { invoke(&channel, call("hang", Bytes::new())).await.map(|_| ()) });
    let mut told = async || {
        let told = tokio::time::timeout(Duration::from_secs(60), fixture.dropped.recv());
        told.await.expect("told")
    };
    assert_eq!(told().await, Some("came"));
    waiting.abort();
    assert_eq!(told().await, Some("dropped"));
}

#[tokio::test]
async fn a_proxied_call_has_the_token_of_the_app_and_no_other() {
    let fixture = fixture().await;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/grpc+json"),
        ("dapr-app-id", "me"),
        ("dapr-api-token", "stray"),
        ("dapr-callee-app-id", "me"),
        ("x-bin", "YWI"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let head = ProxiedHead {
        path: PathAndQuery::from_static("/a.B/C"),
        headers,
        trace: None,
        deadline: Some(Instant::now() + Duration::from_secs(60)),
        trail: None,
    };
    let proxied = Proxied {
        head,
        body: Body::full(&b"\0\0\0\0\x02hi"[..]),
    };
    let answer = fixture
        .channel
        .proxy(Cow::Owned(proxied.head), proxied.body)
        .await
        .unwrap();
    let seen = answer.headers().clone();
    assert_eq!(seen["dapr-api-token"], "secret");
    assert_eq!(seen["x-bin"], "YWI");
    assert!(seen.contains_key("grpc-timeout"));
    assert!(!seen.contains_key("dapr-app-id"));
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "20");
    assert_eq!(body.to_bytes(), "\0\0\0\0\x02hi");
}
