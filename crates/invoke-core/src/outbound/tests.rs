use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;

use super::*;
use crate::balance::{Endpoint, EndpointWatch, watched};
use crate::error::{Delivery, ResolveError, RpcStatus, code};
use crate::headers::{CALLEE_APP_ID, CALLER_APP_ID};
use crate::{
    AllowAll, Caller, Head, MethodPath, NoExternalEndpoints, Origin, ProxiedHead, Receive, Resolver,
    WireStatus,
};

mod hedges;
mod mirrors;
mod observers;
mod policies;

struct Known(Vec<&'static str>);

impl Resolver for Known {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        if self.0.is_empty() {
            publisher.fail(ResolveError::new(format!("couldn't find service: {}", app.id)));
        } else {
            publisher.publish_final(self.0.iter().map(|address| Endpoint::new(*address)));
        }
        watch
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
    async fn invoke(
        &self,
        _: &AppRef,
        to: &Endpoint,
        head: &Head,
        _: Option<std::time::Instant>,
        body: Body,
    ) -> Result<Reply, InvokeError> {
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()));
        // A call that nobody saw had none of its body read.
        let unsent = matches!(&answer, Err(error) if error.seen == Delivery::No);
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

    async fn proxy(
        &self,
        _: &AppRef,
        to: &Endpoint,
        head: &ProxiedHead,
        _: Option<std::time::Instant>,
        body: Body,
    ) -> Result<Response<Body>, InvokeError> {
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()));
        let unsent = matches!(&answer, Err(error) if error.seen == Delivery::No);
        let sent = if unsent {
            Bytes::new()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        self.seen.lock().unwrap().push((to.address().to_string(), sent));
        answer.map(|()| echo(head.headers.clone()))
    }
}

/// An answer whose headers are those of the request.
fn echo(headers: http::HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    response
}

struct Echo;

impl AppChannel for Echo {
    async fn invoke(&self, head: Cow<'_, Head>, _: Body) -> Result<Reply, InvokeError> {
        let mut reply = Reply::new(WireStatus::http(http::StatusCode::OK), Route::Remote);
        reply.headers = head.headers.clone();
        Ok(reply)
    }

    async fn proxy(&self, head: Cow<'_, ProxiedHead>, _: Body) -> Result<Response<Body>, InvokeError> {
        Ok(echo(head.headers.clone()))
    }
}

type Sidecar = Outbound<Echo, AllowAll, Arc<Script>, NoExternalEndpoints>;

fn sidecar(app: Option<Echo>, addresses: Vec<&'static str>) -> (Sidecar, Arc<Script>) {
    let script = Arc::new(Script::default());
    let identity = Arc::new(Identity::new("me".into(), "ns".into(), "", ""));
    let outbound = Outbound::new(
        Arc::clone(&identity),
        Arc::new(Inbound::new(identity, app, AllowAll)),
        Arc::clone(&script),
        NoExternalEndpoints,
        Some(Arc::new(Known(addresses))),
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

fn unavailable(seen: Delivery) -> InvokeError {
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
    let (mut outbound, _) = sidecar(Some(Echo), vec![]);
    outbound.resolver = None;
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
        assert_eq!(error.seen, Delivery::No);
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
        .extend((0..4).map(|_| Err(unavailable(Delivery::Maybe))));
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
        .extend([Err(unavailable(Delivery::No)), Err(unavailable(Delivery::No))]);
    let begun = tokio::time::Instant::now();
    outbound.invoke("you", call("body")).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let mut places = places(&script);
    assert_eq!(places.len(), 3);
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 3, "each endpoint was tried once");
}

/// Once an app is known to be gone, each call need not ask all of its endpoints again.
#[tokio::test(start_paused = true)]
async fn of_endpoints_that_are_all_out_a_few_are_tried() {
    const ADDRESSES: [&str; 20] = [
        "a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g:1", "h:1", "i:1", "j:1", "a:2", "b:2", "c:2", "d:2",
        "e:2", "f:2", "g:2", "h:2", "i:2", "j:2",
    ];
    let (outbound, script) = sidecar(None, ADDRESSES.to_vec());
    let all = (0..100).map(|_| Err(unavailable(Delivery::No)));
    script.answers.lock().unwrap().extend(all);
    // Before the first pause is over: what one attempt asks.
    for wanted in [20, 8] {
        let half = Duration::from_millis(400);
        let call = tokio::time::timeout(half, outbound.invoke("you", call("body")));
        assert!(call.await.is_err());
        assert_eq!(places(&script).len(), wanted);
        script.seen.lock().unwrap().clear();
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_enough_to_do_is_not_dead() {
    let (outbound, script) = sidecar(None, vec!["one:1", "two:2"]);
    for (error, stays) in [
        (unavailable(Delivery::No).refused(true), true),
        (unavailable(Delivery::No), false),
    ] {
        script.answers.lock().unwrap().push_back(Err(error));
        outbound.invoke("you", call("body")).await.unwrap();
        let first = places(&script).remove(0);
        script.seen.lock().unwrap().clear();
        for _ in 0..50 {
            outbound.invoke("you", call("body")).await.unwrap();
        }
        assert_eq!(places(&script).contains(&first), stays);
        script.seen.lock().unwrap().clear();
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_is_never_sent_twice() {
    let (outbound, script) = sidecar(None, vec!["one:1", "two:2"]);
    script
        .answers
        .lock()
        .unwrap()
        .push_back(Err(unavailable(Delivery::Maybe)));
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
        .push_back(Err(unavailable(Delivery::No)));
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
        .push_back(Err(InvokeError::new(Fault::Peer, Delivery::Yes, denied)));
    let error = outbound.invoke("you", call("body")).await.unwrap_err();
    assert_eq!(error.rpc_code(), Some(code::PERMISSION_DENIED));
    assert_eq!(places(&script).len(), 1);
    assert_eq!(*script.callers.lock().unwrap(), ["me"]);
}

fn proxied(path: &'static str, body: &'static str) -> Proxied {
    let mut headers = http::HeaderMap::new();
    headers.insert(crate::headers::DAPR_APP_ID, "you".parse().unwrap());
    headers.insert(CALLER_APP_ID, "evil".parse().unwrap());
    headers.append(CALLEE_APP_ID, "stale".parse().unwrap());
    Proxied {
        head: ProxiedHead {
            path: http::uri::PathAndQuery::from_static(path),
            headers,
            trace: None,
            deadline: None,
            trail: None,
        },
        body: Body::full(body),
    }
}

#[tokio::test]
async fn a_call_that_was_seen_is_not_moved() {
    let (outbound, script) = sidecar(None, vec!["a:1", "b:1", "c:1"]);
    *script.answers.lock().unwrap() = [
        Err(unavailable(Delivery::No)),
        Err(InvokeError::new(
            Fault::Peer,
            Delivery::Maybe,
            RpcStatus::new(code::INTERNAL, "cut"),
        )),
    ]
    .into();
    assert!(outbound.invoke("you", call("x")).await.is_err());
    assert_eq!(places(&script).len(), 2, "the third endpoint is not tried");
    *script.answers.lock().unwrap() = [Err(unavailable(Delivery::Maybe))].into();
    assert!(outbound.proxy("you", proxied("/a.B/C", "x")).await.is_err());
    assert_eq!(places(&script).len(), 3, "a proxied call is sent once");
}

#[tokio::test]
async fn a_proxied_call_tells_who_calls_whom() {
    let (outbound, script) = sidecar(Some(Echo), vec!["a:1", "b:1"]);
    *script.answers.lock().unwrap() = [Err(unavailable(Delivery::No))].into();
    for (target, callee) in [("you", "you"), ("me", "me"), ("you.far", "you")] {
        let answer = outbound.proxy(target, proxied("/a.B/C", "x")).await.unwrap();
        let headers = answer.headers();
        assert!(!headers.contains_key(crate::headers::DAPR_APP_ID));
        let ids = |name| headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(ids(CALLER_APP_ID), ["me"]);
        assert_eq!(ids(CALLEE_APP_ID), [callee]);
    }
    assert_eq!(
        places(&script).len(),
        3,
        "the unsent call went to the other endpoint"
    );
}

#[tokio::test]
async fn a_peer_reaches_only_the_own_app() {
    let (outbound, _) = sidecar(Some(Echo), vec!["a:1"]);
    let receive = |target: &'static str, path: &'static str| {
        let inbound = Arc::clone(&outbound.inbound);
        async move {
            let caller = Caller::default();
            let answer = inbound.receive_proxied(&caller, target, proxied(path, "")).await;
            answer.map(|_| ()).map_err(|error| {
                let status = error.into_proxied_status();
                (status.code, status.message)
            })
        }
    };
    assert_eq!(receive("me", "/a.B/C").await, Ok(()));
    assert_eq!(receive("me.ns", "/a.B/C").await, Ok(()));
    let unknown = |target: &str| Err((code::UNKNOWN, format!("couldn't find service: {target}")));
    for target in ["you", "me.far", "http://me"] {
        assert_eq!(receive(target, "/a.B/C").await, unknown(target));
    }
    let (code, text) = receive("me", "/a.B/../C").await.unwrap_err();
    assert_eq!(code, code::INVALID_ARGUMENT);
    assert!(text.starts_with("invalid method: "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn one_attempt_does_not_walk_through_all_endpoints_of_a_large_app() {
    let addresses: Vec<&'static str> = (0..500).map(|n| &*format!("10.0.0.1:{n}").leak()).collect();
    let (sidecar, script) = sidecar(None, addresses);
    let refused = (0..500).map(|_| Err(unavailable(Delivery::No)));
    script.answers.lock().unwrap().extend(refused);
    let error = sidecar.invoke("you", call("x")).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    // Each of the attempts of the built-in retry has its own.
    assert_eq!(places(&script).len(), 4 * 32);
}
