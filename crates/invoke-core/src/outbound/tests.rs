use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::watch;

use super::*;
use crate::balance::{DirectorySettings, EndpointWatch, Resolution};
use crate::error::{ResolveError, RpcStatus};
use crate::headers::{CALLEE_APP_ID, CALLER_APP_ID};
use crate::{MethodPath, NoExternalEndpoints, Open, Origin, Resolver, WireStatus};

struct Known(Vec<&'static str>);

impl Resolver for Known {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let endpoints: Arc<[Endpoint]> = self.0.iter().map(|address| Endpoint::new(*address)).collect();
        let resolution = if endpoints.is_empty() {
            Resolution::Failed(ResolveError::new(format!("couldn't find service: {}", app.id)))
        } else {
            Resolution::Endpoints(endpoints)
        };
        let (sender, receiver) = watch::channel(resolution);
        std::mem::forget(sender);
        receiver
    }
}

/// Answers each attempt as scripted and notes where it went and what it carried.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Result<(), InvokeError>>>,
    seen: Mutex<Vec<(String, Bytes)>>,
    callers: Mutex<Vec<String>>,
}

impl Peers for Arc<Script> {
    async fn invoke(&self, _: &AppRef, to: &Endpoint, head: &Head, body: Body) -> Result<Reply, InvokeError> {
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()));
        // A call that nobody saw had none of its body read.
        let unsent = matches!(&answer, Err(error) if error.seen == Seen::No);
        let sent = if unsent {
            Bytes::new()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        self.seen.lock().unwrap().push((to.address().to_string(), sent));
        self.callers
            .lock()
            .unwrap()
            .push(head.headers[CALLER_APP_ID].to_str().unwrap().to_owned());
        answer.map(|()| Reply::new(WireStatus::http(http::StatusCode::OK), Route::Local))
    }
}

struct App;

impl AppChannel for App {
    async fn invoke(&self, call: Invocation) -> Result<Reply, InvokeError> {
        let mut reply = Reply::new(WireStatus::http(http::StatusCode::OK), Route::Remote);
        reply.headers = call.head.headers;
        Ok(reply)
    }
}

type Sidecar = Outbound<App, Open, Arc<Script>, NoExternalEndpoints>;

fn sidecar(app: Option<App>, addresses: Vec<&'static str>) -> (Sidecar, Arc<Script>) {
    let script = Arc::new(Script::default());
    let identity = Arc::new(Identity::new("me".into(), "ns".into(), "", ""));
    let directory = Directory::new(Arc::new(Known(addresses)), DirectorySettings::default());
    let outbound = Outbound::new(
        identity,
        Arc::new(Inbound::new(app, Open)),
        Arc::clone(&script),
        NoExternalEndpoints,
        Some(Arc::new(directory)),
        OutboundSettings::default(),
    );
    (outbound, script)
}

fn call(body: impl Into<Bytes>) -> Invocation {
    let head = Head::new(MethodPath::parse("m").unwrap(), Origin::Http);
    Invocation {
        head,
        body: Body::full(body),
    }
}

fn unavailable(seen: Seen) -> InvokeError {
    InvokeError::new(Fault::Peer, seen, RpcStatus::new(code::UNAVAILABLE, "gone"))
}

fn places(script: &Script) -> Vec<String> {
    script
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|(address, _)| address.clone())
        .collect()
}

#[tokio::test]
async fn a_call_to_oneself_needs_no_resolver() {
    let (mut outbound, _) = sidecar(Some(App), vec![]);
    outbound.directory = None;
    for target in ["me", "me.ns"] {
        let mut call = call("x");
        call.head.headers.insert(CALLER_APP_ID, "evil".parse().unwrap());
        let reply = outbound.invoke(target, call).await.unwrap();
        assert_eq!(reply.route, Route::Local);
        assert_eq!(reply.headers[CALLER_APP_ID], "me");
        assert_eq!(reply.headers[CALLEE_APP_ID], "me");
    }
    let error = outbound.invoke("me.elsewhere", call("x")).await.unwrap_err();
    assert_eq!(error.to_string(), "name resolver not initialized");
}

#[tokio::test]
async fn errors_before_anything_is_sent() {
    let (outbound, script) = sidecar(None, vec![]);
    for (target, wanted) in [
        ("", "app id is empty"),
        ("a.b.c", "invalid app id a.b.c"),
        ("me", "cannot invoke local endpoint: app channel not initialized"),
        ("you", "couldn't find service: you"),
    ] {
        let error = outbound.invoke(target, call("x")).await.unwrap_err();
        assert_eq!(error.to_string(), wanted, "{target:?}");
        assert_eq!(error.seen, Seen::No);
    }
    assert!(places(&script).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_peer_is_tried_four_times_with_the_same_body() {
    let (outbound, script) = sidecar(None, vec!["one:1"]);
    script
        .answers
        .lock()
        .unwrap()
        .extend((0..4).map(|_| Err(unavailable(Seen::Maybe))));
    let begun = tokio::time::Instant::now();
    let error = outbound.invoke("you", call("body")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to invoke target you after 3 retries. Error: rpc error: code = Unavailable desc = gone"
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    let bodies: Vec<_> = script
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|(_, body)| body.clone())
        .collect();
    assert_eq!(bodies, ["body"; 4]);
}

#[tokio::test(start_paused = true)]
async fn an_unsent_call_moves_to_the_next_endpoint_at_once() {
    let (outbound, script) = sidecar(None, vec!["one:1", "two:2", "three:3"]);
    script
        .answers
        .lock()
        .unwrap()
        .extend([Err(unavailable(Seen::No)), Err(unavailable(Seen::No))]);
    let begun = tokio::time::Instant::now();
    outbound.invoke("you", call("body")).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let mut places = places(&script);
    assert_eq!(places.len(), 3);
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 3, "each endpoint was tried once");
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_is_never_sent_twice() {
    let (outbound, script) = sidecar(None, vec!["one:1", "two:2"]);
    script
        .answers
        .lock()
        .unwrap()
        .push_back(Err(unavailable(Seen::Maybe)));
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, crate::BodyError>::new(4);
    sender.send_data("abc".into()).await.unwrap();
    drop(sender);
    let mut call = call("");
    call.body = Body::stream(body);
    let error = outbound.invoke("you", call).await.unwrap_err();
    assert_eq!(error.to_string(), "rpc error: code = Unavailable desc = gone");
    assert_eq!(places(&script).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_untouched_streaming_body_moves_with_its_call() {
    let (outbound, script) = sidecar(None, vec!["one:1", "two:2"]);
    script
        .answers
        .lock()
        .unwrap()
        .push_back(Err(unavailable(Seen::No)));
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, crate::BodyError>::new(4);
    sender.send_data("abc".into()).await.unwrap();
    drop(sender);
    let mut call = call("");
    call.body = Body::stream(body);
    outbound.invoke("you", call).await.unwrap();
    assert_eq!(script.seen.lock().unwrap()[1].1, "abc");
}

#[tokio::test(start_paused = true)]
async fn other_errors_are_final() {
    let (outbound, script) = sidecar(None, vec!["one:1", "two:2"]);
    let denied = RpcStatus::new(code::PERMISSION_DENIED, "no");
    script
        .answers
        .lock()
        .unwrap()
        .push_back(Err(InvokeError::new(Fault::Peer, Seen::Yes, denied)));
    let error = outbound.invoke("you", call("body")).await.unwrap_err();
    assert_eq!(error.rpc_code(), Some(code::PERMISSION_DENIED));
    assert_eq!(places(&script).len(), 1);
    assert_eq!(*script.callers.lock().unwrap(), ["me"]);
}
