//! The API over a real connection, with an app that is made up.

mod lists;

use std::sync::Mutex;

use api_core::MetadataSettings;
use dapr_proto::common::{HttpExtension, InvokeRequest, InvokeResponse};
use dapr_proto::runtime::{GetMetadataResponse, InvokeServiceRequest, SetMetadataRequest};
use http_body_util::{BodyExt, Full};
use invoke_core::attempts::Named;
use invoke_core::{Cause, Fault, Invocation, InvokeError, Reply, Route as ReplyRoute, Ticket, WireStatus};
use prost::Message as _;

use super::*;

/// An app that answers what the test says and keeps what it saw.
#[derive(Default)]
struct App {
    reply: Mutex<Option<Result<Reply, InvokeError>>>,
    seen: Mutex<Option<(String, Invocation)>>,
}

impl Invoke for App {
    async fn invoke(&self, target: &str, call: Invocation) -> Result<Reply, InvokeError> {
        *self.seen.lock().unwrap() = Some((target.to_owned(), call));
        let reply = self.reply.lock().unwrap().take();
        reply.unwrap_or_else(|| {
            Ok(Reply::new(
                WireStatus::http(http::StatusCode::OK),
                ReplyRoute::Local,
            ))
        })
    }

    /// Gives the call back: its headers, its messages, and a status.
    async fn proxy(&self, target: &str, call: Proxied) -> Result<Response<Body>, InvokeError> {
        if target == "nobody" {
            let unknown = invoke_core::error::ResolveError::new("couldn't find service: nobody");
            return Err(InvokeError::unsent(Fault::Peer, unknown));
        }
        let mut messages = call.body.collect().await.unwrap().to_bytes();
        let mut status = HeaderMap::new();
        status.insert("grpc-status", HeaderValue::from_static("20"));
        let body =
            Full::new(messages.split_to(messages.len())).with_trailers(std::future::ready(Some(Ok::<
                _,
                std::convert::Infallible,
            >(
                status
            ))));
        let mut response = Response::new(Body::stream(body));
        *response.headers_mut() = call.head.headers;
        let target = HeaderValue::from_str(target).unwrap();
        response.headers_mut().insert("x-target", target);
        Ok(response)
    }
}

#[derive(Default)]
struct Calls(Arc<Mutex<Vec<(String, i32)>>>);

impl Observe for Calls {
    type Ticket = CallTicket;
    type Meters = ();

    fn meters(&self, _: Named<'_>, _: &str) {}

    fn begin(&self, exchange: Exchange<'_>, _: Option<&()>) -> CallTicket {
        let Exchange::Door(request) = exchange else {
            panic!("{exchange:?}");
        };
        CallTicket(Arc::clone(&self.0), request.path.to_owned(), -1)
    }
}

struct CallTicket(Arc<Mutex<Vec<(String, i32)>>>, String, i32);

impl Ticket for CallTicket {
    fn status(&mut self, status: i32) {
        self.2 = status;
    }

    fn end(self, _: End<'_>, _: u64) {
        self.0.lock().unwrap().push((self.1, self.2));
    }
}

struct Fixture {
    api: Api<App, Calls>,
    app: Arc<App>,
    calls: Arc<Calls>,
    asked: lifecycle::ShutdownReceiver,
}

/// What a client got.
struct Got {
    http: u16,
    headers: HeaderMap,
    message: Bytes,
    status: GrpcStatus,
    trailers: HeaderMap,
}

impl Fixture {
    fn new(token: &str) -> Self {
        Self::with_lists(token, ApiLists::default())
    }

    fn with_lists(token: &str, apis: ApiLists) -> Self {
        let (requests, asked) = lifecycle::shutdown_requests();
        let (app, calls) = (Arc::<App>::default(), Arc::<Calls>::default());
        let settings = ApiSettings {
            max_message: 100,
            token: ApiToken::new(token),
            apis,
            tracing: true,
        };
        let metadata = Metadata::new(MetadataSettings {
            app_id: "me".into(),
            version: "edge".into(),
            ..MetadataSettings::default()
        });
        let api = Api::new(
            Arc::clone(&app),
            Arc::clone(&calls),
            settings,
            Arc::new(metadata),
            requests,
            Reflection::new(SERVICES).unwrap(),
        );
        Self {
            api,
            app,
            calls,
            asked,
        }
    }

    fn answers(&self, reply: Result<Reply, InvokeError>) {
        *self.app.reply.lock().unwrap() = Some(reply);
    }

    async fn call(&self, method: &str, headers: &[(&str, &str)], message: &[u8]) -> Got {
        let path = format!("/dapr.proto.runtime.v1.Dapr/{method}");
        self.post(&path, headers, message).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], message: &[u8]) -> Got {
        let mut body = begin_message(message.len());
        body.extend_from_slice(message);
        let mut request = Request::post(format!("http://h{path}"))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(RequestBody::Kept(Full::new(body.into()))).unwrap();
        let response = Handler::call(&self.api, request).await;
        let (parts, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let bytes = collected.to_bytes();
        let status = GrpcStatus::from_headers(&trailers).or_else(|| GrpcStatus::from_headers(&parts.headers));
        Got {
            http: parts.status.as_u16(),
            message: bytes.get(5..).map(Bytes::copy_from_slice).unwrap_or_default(),
            headers: parts.headers,
            status: status.expect("a status"),
            trailers,
        }
    }

    async fn invoke(&self, request: &InvokeServiceRequest) -> Got {
        self.call("InvokeService", &[], &request.encode_to_vec()).await
    }
}

fn begin_message(length: usize) -> Vec<u8> {
    crate::answer::begin(length, length).to_vec()
}

fn request(id: &str) -> InvokeServiceRequest {
    InvokeServiceRequest {
        id: id.to_owned(),
        message: Some(InvokeRequest {
            method: "a//b".to_owned(),
            data: Some(prost_types::Any {
                type_url: "mine".to_owned(),
                value: b"payload".to_vec(),
            }),
            content_type: "text/plain".to_owned(),
            http_extension: Some(HttpExtension {
                verb: 3,
                querystring: "x=1".to_owned(),
            }),
        }),
    }
}

fn reply(code: i32, body: &'static str) -> Reply {
    let status = WireStatus {
        code,
        message: "oops".to_owned(),
        ..WireStatus::default()
    };
    let mut reply = Reply::new(status, ReplyRoute::Remote);
    reply.body = Body::full(body);
    reply
}

#[tokio::test]
async fn an_invocation_of_nothing_reaches_nobody() {
    let fixture = Fixture::new("");
    let mut request = InvokeServiceRequest {
        id: "app".to_owned(),
        message: None,
    };
    let got = fixture.invoke(&request).await;
    assert_eq!(
        (got.status.code, got.status.message.as_str()),
        (
            code::INTERNAL,
            "failed to invoke, id: app, err: rpc error: code = InvalidArgument desc = parsing InternalInvokeRequest \
             error: request does not contain the required fields in the leading chunk"
        )
    );
    assert!(fixture.app.seen.lock().unwrap().is_none());
    // A message without a word in it is one.
    request.message = Some(InvokeRequest::default());
    assert_eq!(fixture.invoke(&request).await.status.code, code::OK);
    assert!(fixture.app.seen.lock().unwrap().take().is_some());
    // Without a target that is what is wrong.
    fixture.invoke(&InvokeServiceRequest::default()).await;
    let (target, _) = fixture.app.seen.lock().unwrap().take().unwrap();
    assert_eq!(target, "");
}

#[tokio::test]
async fn an_invocation_there_and_back() {
    let fixture = Fixture::new("");
    let mut answered = reply(201, "hello");
    answered.content_type = Some(HeaderValue::from_static("text/html"));
    answered.type_url = Some("theirs".into());
    answered
        .headers
        .insert("content-type", HeaderValue::from_static("text/html"));
    answered.headers.insert("x-app", HeaderValue::from_static("1"));
    fixture.answers(Ok(answered));
    let message = request("b").encode_to_vec();
    let got = fixture
        .call("InvokeService", &[("x-mine", "1"), ("x-raw-bin", "YQ")], &message)
        .await;
    assert_eq!((got.http, got.status.code), (200, 0));
    let response = InvokeResponse::decode(got.message).unwrap();
    assert_eq!(response.content_type, "text/html");
    let data = response.data.unwrap();
    assert_eq!(
        (data.type_url.as_str(), &data.value[..]),
        ("theirs", &b"hello"[..])
    );
    for (name, value) in [
        ("content-type", "application/grpc+proto"),
        ("dapr-http-status", "201"),
        ("dapr-content-type", "text/html"),
        ("x-app", "1"),
        (
            "traceparent",
            "00-00000000000000000000000000000000-0000000000000000-00",
        ),
    ] {
        assert_eq!(got.headers[name], value, "{name}");
    }
    assert!(got.headers.contains_key("grpc-trace-bin"));
    let (target, mut call) = fixture.app.seen.lock().unwrap().take().unwrap();
    assert_eq!(target, "b");
    assert_eq!(call.head.method.as_str(), Some("a/b"));
    assert_eq!(&call.head.query[..], b"x=1");
    assert_eq!(call.head.type_url.as_deref(), Some("mine"));
    assert_eq!(call.head.authority.unwrap(), "h");
    assert_eq!(call.head.headers["x-raw-bin"], "YQ==");
    assert!(!call.head.headers.contains_key("te"));
    assert_eq!(call.body.take_full().unwrap(), "payload");
    assert_eq!(
        *fixture.calls.0.lock().unwrap(),
        [("/dapr.proto.runtime.v1.Dapr/InvokeService".to_owned(), 0)]
    );
}

#[tokio::test]
async fn failures_of_apps_keep_their_metadata() {
    let fixture = Fixture::new("");
    let mut answered = reply(404, "not here");
    answered.headers.insert("x-app", HeaderValue::from_static("1"));
    fixture.answers(Ok(answered));
    let got = fixture.invoke(&request("b")).await;
    assert_eq!((got.status.code, got.status.message.as_str()), (5, "Not Found"));
    assert_eq!(
        (&got.headers["x-app"], &got.headers["dapr-http-status"]),
        (&"1".parse().unwrap(), &"404".parse().unwrap())
    );
    let details = got.status.details.unwrap();
    assert!(String::from_utf8_lossy(&details).contains("not here"));

    let mut answered = reply(20, "");
    answered.trailers.insert("x-end", HeaderValue::from_static("2"));
    fixture.answers(Ok(answered));
    let got = fixture.invoke(&request("b")).await;
    assert_eq!((got.status.code, got.status.message.as_str()), (20, "oops"));
    assert_eq!(got.trailers["x-end"], "2");
}

#[tokio::test]
async fn failures_of_the_sidecar_have_one_form() {
    let fixture = Fixture::new("");
    fixture.answers(Err(InvokeError::unsent(Fault::Us, Cause::NoResolver)));
    let got = fixture.invoke(&request("b")).await;
    assert_eq!(got.status.code, 13);
    assert_eq!(
        got.status.message,
        "failed to invoke, id: b, err: name resolver not initialized"
    );
    assert!(got.trailers.is_empty(), "the status is in the head");
    let mut bad = request("b");
    bad.message.as_mut().unwrap().method = "a#b".to_owned();
    let got = fixture.invoke(&bad).await;
    assert_eq!(
        got.status.message,
        "failed to invoke, id: b, err: rpc error: code = InvalidArgument desc = invalid method: \
         method contains forbidden character: \"a#b\""
    );
}

#[tokio::test]
async fn messages_have_a_limit_both_ways() {
    let fixture = Fixture::new("");
    let got = fixture.call("InvokeService", &[], &[0; 101]).await;
    assert_eq!(got.status.code, 8);
    assert_eq!(
        got.status.message,
        "grpc: received message larger than max (101 vs. 100)"
    );
    let mut long = reply(200, "");
    long.body = Body::full(vec![b'x'; 99]);
    fixture.answers(Ok(long));
    let got = fixture.invoke(&request("b")).await;
    assert_eq!(got.status.code, 8);
    assert_eq!(
        got.status.message,
        "grpc: trying to send message larger than max (103 vs. 100)"
    );
}

#[tokio::test]
async fn the_token_guards_every_method() {
    let fixture = Fixture::new("t");
    for (shown, code, why) in [
        (&[][..], 16, "missing api token in request metadata"),
        (
            &[("dapr-api-token", "x")],
            16,
            "authentication error: api token mismatch",
        ),
        (&[("dapr-api-token", "t")], 0, ""),
    ] {
        for method in ["GetMetadata", "Nothing", "InvokeService"] {
            let got = fixture.call(method, shown, b"").await;
            if code == 16 {
                assert_eq!(
                    (got.status.code, got.status.message.as_str()),
                    (16, "Unauthorized")
                );
                let details = got.status.details.unwrap();
                assert!(String::from_utf8_lossy(&details).contains(why));
            } else {
                assert_ne!(got.status.code, 16, "{method}");
            }
        }
    }
    let (_, call) = fixture.app.seen.lock().unwrap().take().unwrap();
    assert!(!call.head.headers.contains_key("dapr-api-token"));
}

#[tokio::test]
async fn metadata_is_told_and_left() {
    let fixture = Fixture::new("");
    let left = SetMetadataRequest {
        key: "k".into(),
        value: "v".into(),
    };
    let got = fixture.call("SetMetadata", &[], &left.encode_to_vec()).await;
    assert_eq!(got.status.code, 0);
    let got = fixture.call("GetMetadata", &[], b"").await;
    let told = GetMetadataResponse::decode(got.message).unwrap();
    assert_eq!(told.id, "me");
    assert_eq!(told.extended_metadata["k"], "v");
    assert_eq!(told.extended_metadata["daprRuntimeVersion"], "edge");
    assert!(told.workflows.is_some());
    assert_eq!(told.actor_runtime.unwrap().placement, "placement: disconnected");
}

#[tokio::test]
async fn shutdown_answers_first() {
    let mut fixture = Fixture::new("");
    for (headers, wanted) in [
        (&[][..], ShutdownRequest::Graceful),
        (&[("dapr-force-shutdown", "TRUE")], ShutdownRequest::Force),
    ] {
        assert_eq!(fixture.call("Shutdown", headers, b"").await.status.code, 0);
        assert_eq!(fixture.asked.recv().await, Some(wanted));
    }
}

#[tokio::test]
async fn what_is_not_there() {
    let fixture = Fixture::new("");
    let got = fixture.call("Nothing", &[], b"").await;
    assert_eq!(got.status.code, 2, "it is proxied, but names no app");
    let got = fixture.call("GetState", &[], b"").await;
    assert_eq!(
        (got.status.code, got.status.message.as_str()),
        (9, "state store  is not configured")
    );
    let got = fixture.call("GetMetadata", &[("x-bin", "*")], b"").await;
    assert_eq!((got.http, got.status.code), (400, 13));
    let got = fixture.call("GetMetadata", &[("baggage", "=")], b"").await;
    assert_eq!(got.status.code, 3);
    assert!(got.status.message.starts_with("invalid baggage header: "));
    let got = fixture.call("GetMetadata", &[("baggage", "a=b")], b"").await;
    assert_eq!(got.headers["baggage"], "a=b");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_call() {
    struct Never;
    impl Invoke for Never {
        async fn invoke(&self, _: &str, _: Invocation) -> Result<Reply, InvokeError> {
            std::future::pending().await
        }

        async fn proxy(&self, _: &str, _: Proxied) -> Result<Response<Body>, InvokeError> {
            std::future::pending().await
        }
    }
    let (requests, _asked) = lifecycle::shutdown_requests();
    let settings = ApiSettings {
        max_message: 1000,
        token: None,
        apis: ApiLists::default(),
        tracing: false,
    };
    let metadata = Arc::new(Metadata::new(MetadataSettings::default()));
    let api = Api::new(
        Arc::new(Never),
        Arc::new(Calls::default()),
        settings,
        metadata,
        requests,
        Reflection::new(SERVICES).unwrap(),
    );
    let mut body = begin_message(0);
    body.extend_from_slice(b"");
    let request = Request::post("http://h/dapr.proto.runtime.v1.Dapr/InvokeService")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "5m")
        .body(RequestBody::Kept(Full::new(body.into())))
        .unwrap();
    let response = Handler::call(&api, request).await;
    assert_eq!(response.headers()["grpc-status"], "4");
}

#[tokio::test]
async fn a_call_of_another_service_is_proxied_as_it_is() {
    let fixture = Fixture::new("secret");
    let headers = [
        ("dapr-api-token", "secret"),
        ("dapr-app-id", "you.far"),
        ("dapr-callee-app-id", "stale"),
        ("grpc-encoding", "zstd"),
        ("x-bin", "YWI"),
        ("baggage", "a=b"),
    ];
    let got = fixture.post("/a.B/C", &headers, b"message").await;
    assert_eq!(
        (got.http, got.status.code, &got.message[..]),
        (200, 20, &b"message"[..])
    );
    assert_eq!(got.headers["x-target"], "you.far");
    assert_eq!(got.headers["grpc-encoding"], "zstd");
    assert_eq!(got.headers["x-bin"], "YWI");
    assert_eq!(got.headers["baggage"], "a=b");
    assert!(!got.headers.contains_key("dapr-api-token"));
    let calls = fixture.calls.0.lock().unwrap().clone();
    assert_eq!(calls, [("/a.B/C".to_owned(), 20)]);
    let unknown = fixture
        .post(
            "/a.B/C",
            &[("dapr-api-token", "secret"), ("dapr-app-id", "nobody")],
            b"",
        )
        .await;
    assert_eq!(
        unknown.status,
        GrpcStatus::new(2, "couldn't find service: nobody")
    );
}

#[tokio::test]
async fn a_call_for_nobody_says_so() {
    let fixture = Fixture::new("");
    for (path, code, text) in [
        (
            "/a.B/C",
            2,
            "cannot proxy request: missing dapr-callee-app-id or dapr-app-id metadata",
        ),
        (
            "/dapr.proto.runtime.v1.Dapr/Foo",
            2,
            "failed to proxy request: required metadata dapr-callee-app-id or dapr-app-id not found",
        ),
        ("/x", 12, "malformed method name: \"/x\""),
        (
            "/TaskHubSidecarService/Hello",
            12,
            "this API is currently not implemented",
        ),
    ] {
        let got = fixture.post(path, &[], b"").await;
        assert_eq!(
            (got.status.code, got.status.message.as_str()),
            (code, text),
            "{path}"
        );
    }
    let stray = fixture
        .post("/a.B/C", &[("dapr-app-id", "you"), ("x-bin", "*")], b"")
        .await;
    assert_eq!((stray.http, stray.status.code), (400, 13));
    let own = fixture.call("GetMetadata", &[("dapr-app-id", "you")], b"").await;
    assert_eq!(
        own.status.code, 0,
        "an own method is answered here, whatever the metadata"
    );
}

#[tokio::test]
async fn reflection_needs_the_token_and_no_app() {
    const PATH: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    let fixture = Fixture::new("secret");
    assert_eq!(fixture.post(PATH, &[], b"\x3a\x00").await.status.code, 16);
    let got = fixture
        .post(PATH, &[("dapr-api-token", "secret")], b"\x3a\x00")
        .await;
    assert_eq!(got.status.code, 0);
    let names = String::from_utf8_lossy(&got.message).into_owned();
    assert!(names.contains(SERVICES[0]), "{names}");
}

#[tokio::test]
async fn a_proxied_call_that_is_dropped_is_told_as_cancelled() {
    let fixture = Fixture::new("");
    let request = Request::post("http://h/a.B/C")
        .header("content-type", "application/grpc")
        .header("dapr-app-id", "you")
        .body(RequestBody::Kept(Full::new(Bytes::from_static(b"x"))))
        .unwrap();
    drop(Handler::call(&fixture.api, request).await);
    assert_eq!(*fixture.calls.0.lock().unwrap(), [("/a.B/C".to_owned(), 1)]);
}
