//! Client and server, over loopback.

mod peers;

use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use invoke_core::balance::Endpoint;
use invoke_core::ports::Receive;
use invoke_core::{
    AppRef, BodyError, Caller, Cause, Invocation, MethodPath, Origin, Proxied, Route, Verb, WireStatus,
};
use lifecycle::Shutdown;
use tokio::sync::mpsc;
use transport::listen::{Listener, Patience};
use transport::server::{GrpcServerConfig, serve_grpc};

use super::*;
use crate::{Server, ServerConfig};

/// An app whose methods are the cases of the tests.
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

impl Receive for App {
    fn has_app(&self) -> Result<(), InvokeError> {
        Ok(())
    }

    async fn receive(&self, _: &Caller, call: Invocation) -> Result<Reply, InvokeError> {
        let mut reply = Reply::new(WireStatus::http(http::StatusCode::OK), Route::Local);
        match call.head.method.as_str().unwrap() {
            "echo" => {
                reply.headers = call.head.headers;
                reply.content_type = call.head.content_type;
                reply.body = call.body;
            }
            "fail" => {
                let cause = Cause::App {
                    text: "Get \"http://x\": EOF".into(),
                    source: None,
                };
                return Err(InvokeError::new(Fault::App, Delivery::Maybe, cause));
            }
            "break" => {
                let (mut sender, body) = Channel::<bytes::Bytes, BodyError>::new(4);
                sender.send_data("half".into()).await.unwrap();
                sender.abort(BodyError::Protocol("the app broke off".into()));
                reply.body = Body::stream(body);
            }
            "hang" => {
                let _guard = TellsDrop::new(&self.dropped);
                std::future::pending::<()>().await;
            }
            "404" => reply.status = WireStatus::http(http::StatusCode::NOT_FOUND),
            other => panic!("no case {other}"),
        }
        Ok(reply)
    }

    /// Gives messages and metadata back, with a status that nobody has defined.
    async fn receive_proxied(
        &self,
        _: &Caller,
        target: &str,
        call: Proxied,
    ) -> Result<Response<Body>, InvokeError> {
        assert_eq!(target, "you");
        if call.head.path.path() == "/a.B/Hang" {
            let _guard = TellsDrop::new(&self.dropped);
            std::future::pending::<()>().await;
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("20"));
        trailers.insert("x-path", HeaderValue::from_str(call.head.path.as_str()).unwrap());
        let body = call
            .body
            .with_trailers(std::future::ready(Some(Ok::<_, BodyError>(trailers))));
        let mut response = Response::new(Body::stream(body));
        *response.headers_mut() = call.head.headers;
        Ok(response)
    }
}

struct Pair {
    client: Client,
    endpoint: Endpoint,
    dropped: mpsc::UnboundedReceiver<&'static str>,
    _trigger: lifecycle::ShutdownTrigger,
}

async fn pair() -> Pair {
    pair_of(ServerConfig::default().max_message).await
}

/// The server takes messages of so many bytes.
async fn pair_of(max_message: usize) -> Pair {
    let (sender, dropped) = mpsc::unbounded_channel();
    let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
    let endpoint = Endpoint::new(listener.local_addr().unwrap().to_string());
    let (trigger, shutdown) = Shutdown::new();
    let app = Arc::new(App { dropped: sender });
    let reflection = reflection::Reflection::new(crate::SERVICES).unwrap();
    let config = ServerConfig {
        max_message,
        ..ServerConfig::default()
    };
    let server = Server::new(app, config, reflection);
    tokio::spawn(serve_grpc(
        listener,
        GrpcServerConfig::default(),
        server,
        shutdown,
    ));
    let client = Client::new(ClientConfig::default(), Tasks::new());
    Pair {
        client,
        endpoint,
        dropped,
        _trigger: trigger,
    }
}

/// What the app tells next of calls that hang.
async fn told(pair: &mut Pair) -> &'static str {
    let told = tokio::time::timeout(Duration::from_secs(60), pair.dropped.recv());
    told.await.expect("told").expect("the app is there")
}

fn head(method: &str) -> Head {
    let mut head = Head::new(MethodPath::parse(method.to_owned()).unwrap(), Origin::Http);
    head.verb = Some(Verb::POST);
    head.headers.insert("x-test", HeaderValue::from_static("1"));
    head
}

impl Pair {
    async fn call(&self, head: &Head, body: Body) -> Result<Reply, InvokeError> {
        self.client
            .invoke(&AppRef::new("you", "default"), &self.endpoint, head, None, body)
            .await
    }
}

fn channel() -> (Sender<bytes::Bytes, BodyError>, Body) {
    let (sender, body) = Channel::new(1);
    (sender, Body::stream(body))
}

#[tokio::test]
async fn a_call_and_its_answer() {
    let pair = pair().await;
    for size in [0, 1, 1024, 10_000, 100_000, 3_000_000] {
        let sent = bytes::Bytes::from(vec![7; size]);
        let reply = pair.call(&head("echo"), Body::full(sent.clone())).await.unwrap();
        assert_eq!(reply.status.code, 200);
        assert_eq!(reply.headers["x-test"], "1");
        assert_eq!(reply.body.collect().await.unwrap().to_bytes(), sent, "{size}");
    }
    let reply = pair.call(&head("404"), Body::empty()).await.unwrap();
    assert_eq!(reply.status.code, 404);
}

#[tokio::test]
async fn bodies_stream_in_both_directions_at_once() {
    let pair = pair().await;
    let (mut sender, body) = channel();
    let mut reply = pair.call(&head("echo"), body).await.unwrap();
    for piece in ["one", "two", "three"] {
        sender.send_data(piece.into()).await.unwrap();
        let echoed = reply.body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(echoed, piece);
    }
    drop(sender);
    assert!(reply.body.frame().await.is_none());
}

#[tokio::test]
async fn a_failure_keeps_its_text() {
    let pair = pair().await;
    let error = pair.call(&head("fail"), Body::empty()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "rpc error: code = Internal desc = error invoking app channel: Get \"http://x\": EOF"
    );
}

#[tokio::test]
async fn a_broken_answer_ends_broken() {
    let pair = pair().await;
    let mut reply = pair.call(&head("break"), Body::empty()).await.unwrap();
    assert_eq!(
        reply.body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "half"
    );
    let error = reply.body.frame().await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "error receiving message: rpc error: code = Unknown desc = the app broke off"
    );
}

#[tokio::test]
async fn a_broken_request_is_the_callers_failure() {
    let pair = pair().await;
    let (mut sender, body) = channel();
    let head = head("hang");
    let call = pair.call(&head, body);
    let broken = async {
        sender.send_data("half".into()).await.unwrap();
        sender.abort(BodyError::TooLarge);
    };
    let (answer, ()) = tokio::join!(call, broken);
    assert_eq!(answer.unwrap_err().to_string(), "stream too large");
}

#[tokio::test]
async fn dropping_the_call_cancels_it_at_the_app() {
    let mut pair = pair().await;
    let head = head("hang");
    let client = pair.client.clone();
    let (app, endpoint) = (AppRef::new("you", "default"), pair.endpoint.clone());
    let call = tokio::spawn(async move {
        let body = Body::full("x");
        client
            .invoke(&app, &endpoint, &head, None, body)
            .await
            .map(|_| ())
    });
    assert_eq!(told(&mut pair).await, "came");
    call.abort();
    assert_eq!(told(&mut pair).await, "dropped");
}

#[tokio::test]
async fn a_deadline_travels() {
    let mut pair = pair().await;
    let mut head = head("hang");
    head.deadline = Some(Instant::now() + Duration::from_millis(50));
    let error = pair.call(&head, Body::full("x")).await.unwrap_err();
    assert!(error.to_string().contains("deadline"), "{error}");
    assert_eq!(told(&mut pair).await, "came");
    assert_eq!(told(&mut pair).await, "dropped");
}

#[tokio::test]
async fn nobody_there() {
    let client = Client::new(ClientConfig::default(), Tasks::new());
    let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let app = AppRef::new("you", "default");
    let error = client
        .invoke(
            &app,
            &Endpoint::new(&*address),
            &head("echo"),
            None,
            Body::empty(),
        )
        .await
        .unwrap_err();
    assert_eq!(error.seen, Delivery::No);
    assert_eq!(
        error.to_string(),
        format!(
            "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: \
             dial tcp {address}: connect: connection refused\""
        )
    );
}

#[tokio::test]
async fn two_thousand_calls_share_a_connection() {
    let pair = Arc::new(pair().await);
    let calls: Vec<_> = (0..2000)
        .map(|index| {
            let pair = Arc::clone(&pair);
            tokio::spawn(async move {
                let sent = format!("body {index}");
                let reply = pair.call(&head("echo"), Body::full(sent.clone())).await.unwrap();
                assert_eq!(reply.body.collect().await.unwrap().to_bytes(), sent);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_lags_stops_its_sender_and_nobody_else() {
    let pair = pair().await;
    let (mut sender, body) = channel();
    let lagging = pair.call(&head("echo"), body).await.unwrap();
    let piece = bytes::Bytes::from(vec![0; 64 * 1024]);
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(300), sender.send_data(piece.clone()))
        .await
        .is_ok()
    {
        sent += piece.len();
        assert!(sent < 16 << 20, "back-pressure never came");
    }
    let reply = pair.call(&head("echo"), Body::full("neighbour")).await.unwrap();
    assert_eq!(reply.body.collect().await.unwrap().to_bytes(), "neighbour");
    drop(lagging);
}

fn proxied(path: &'static str, headers: &[(&'static str, &'static str)]) -> ProxiedHead {
    let mut map = HeaderMap::new();
    map.insert("content-type", HeaderValue::from_static("application/grpc+json"));
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    ProxiedHead {
        path: PathAndQuery::from_static(path),
        headers: map,
        trace: Some(TraceContext::default()),
        deadline: None,
        trail: None,
    }
}

#[tokio::test]
async fn a_proxied_call_passes_in_both_directions() {
    let pair = pair().await;
    let head = proxied(
        "/a.B/C",
        &[
            ("dapr-callee-app-id", "you"),
            ("grpc-encoding", "zstd"),
            ("x-bin", "YWI"),
        ],
    );
    let (mut sender, body) = Channel::<bytes::Bytes, BodyError>::new(4);
    let app = AppRef::new("you", "default");
    let answer = pair
        .client
        .proxy(&app, &pair.endpoint, &head, None, Body::stream(body))
        .await;
    let answer = answer.unwrap();
    for (name, value) in [
        ("content-type", "application/grpc+json"),
        ("grpc-encoding", "zstd"),
        ("x-bin", "YWI"),
        (
            "traceparent",
            "00-00000000000000000000000000000000-0000000000000000-00",
        ),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
    let mut answer = answer.into_body();
    for _ in 0..3 {
        // Compressed or not, a message is passed on as it is.
        sender
            .send_data(bytes::Bytes::from_static(b"\x01\0\0\0\x01x"))
            .await
            .unwrap();
        let frame = answer.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "\x01\0\0\0\x01x");
    }
    drop(sender);
    let trailers = answer.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-path"]),
        (
            &HeaderValue::from_static("20"),
            &HeaderValue::from_static("/a.B/C")
        )
    );
}

#[tokio::test]
async fn a_proxied_call_that_is_dropped_is_cancelled_at_the_other_side() {
    let mut pair = pair().await;
    let head = proxied("/a.B/Hang", &[("dapr-callee-app-id", "you")]);
    let app = AppRef::new("you", "default");
    let (client, endpoint) = (pair.client.clone(), pair.endpoint.clone());
    let call = tokio::spawn(async move {
        client
            .proxy(&app, &endpoint, &head, None, Body::full("x"))
            .await
            .map(|_| ())
    });
    assert_eq!(told(&mut pair).await, "came");
    call.abort();
    assert_eq!(told(&mut pair).await, "dropped");
}

#[tokio::test]
async fn a_proxied_call_without_a_target_is_refused() {
    let pair = pair().await;
    let app = AppRef::new("you", "default");
    for (path, text) in [
        (
            "/a.B/C",
            "cannot proxy request: missing dapr-callee-app-id or dapr-app-id metadata",
        ),
        (
            "/dapr.proto.runtime.v1.AppCallback/OnInvoke",
            "failed to proxy request: required metadata dapr-callee-app-id or dapr-app-id not found",
        ),
    ] {
        let head = proxied(path, &[]);
        let answer = pair
            .client
            .proxy(&app, &pair.endpoint, &head, None, Body::full("x"))
            .await
            .unwrap();
        let status = GrpcStatus::from_headers(answer.headers()).unwrap();
        assert_eq!((status.code, status.message.as_str()), (2, text));
    }
}
