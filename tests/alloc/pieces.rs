//! The pieces of the way of a call.

use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use grpc_wire::{MessageReader, Relay};
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;
use http_body_util::Full;
use invoke_codec::message::{RequestLens, put_request, read_request};
use invoke_codec::metadata;
use invoke_core::attempts::{Attempts, CallFacts, Named, Outcome, Road, Run};
use invoke_core::balance::{Endpoint, watched};
use invoke_core::headers::{Callee, Identity};
use invoke_core::observe::{self, Entry, Exchange, Observe, OpenExchange, Traced};
use invoke_core::{AppRef, Body, End};
use invoke_core::{Head, MethodPath, Origin, Target, Verb};
use lifecycle::Tasks;
use resiliency::{Policies, Settings, Unobserved};
use resources::decode_resiliency;
use telemetry::traces::{Exporters, Plan, TraceSpec};
use transport::client::Proxies;

use crate::at_most;

/// The allocations of an operation that was done once before.
fn count(mut operation: impl FnMut()) -> u64 {
    operation();
    measure(operation).count_total
}

/// What an ordinary client sends.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "127.0.0.1:3500"),
        ("user-agent", "curl/8"),
        ("accept", "*/*"),
        ("content-type", "application/json"),
        ("content-length", "1024"),
        ("x-request-id", "4bf92f3577b34da6"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn target_and_method() {
    let target = count(|| {
        black_box(Target::parse(black_box("orders.production"))).unwrap();
    });
    at_most(0.0, "a target", target, 1);
    let path = Bytes::from_static(b"orders/17/items");
    let method = count(|| {
        black_box(MethodPath::parse(path.clone())).unwrap();
    });
    at_most(0.0, "a method path", method, 1);
}

#[test]
fn stamping() {
    let identity = Identity::new("me".into(), "default".into(), "10.0.0.5", "node1");
    let callee = Callee::new(&"orders".into());
    let mut prepared: Vec<HeaderMap> = vec![headers(), headers()];
    let stamped = count(|| {
        let mut headers = prepared.pop().unwrap();
        identity.stamp_remote(&mut headers, &callee);
        prepared.insert(0, headers);
    });
    at_most(4.0, "the identity headers", stamped, 1);
}

#[test]
fn encoding() {
    let mut head = Head::new(MethodPath::parse("orders").unwrap(), Origin::Http);
    head.verb = Some(Verb::from_http(&http::Method::POST));
    head.headers = headers();
    let mut out = BytesMut::with_capacity(4096);
    let encoded = count(|| {
        out.clear();
        let lens = RequestLens::of(&head, 1024).unwrap();
        put_request(&mut out, &head, &lens);
        out.extend_from_slice(&[7; 1024]);
    });
    at_most(0.0, "an encoded request", encoded, 1);
    let message = out.split().freeze();
    let decoded = count(|| {
        black_box(read_request(&message, Origin::Http)).unwrap();
    });
    at_most(0.0, "a decoded request", decoded, 1);
}

#[test]
fn headers_as_metadata() {
    let mut prepared: Vec<HeaderMap> = vec![headers(), headers()];
    let to_grpc = count(|| {
        black_box(metadata::to_grpc(prepared.pop().unwrap(), Origin::Http));
    });
    at_most(3.0, "headers of HTTP as metadata", to_grpc, 1);
    let mut prepared: Vec<HeaderMap> = vec![headers(), headers()];
    let from_grpc = count(|| {
        black_box(metadata::from_grpc(prepared.pop().unwrap())).unwrap();
    });
    at_most(0.0, "metadata without binary values", from_grpc, 1);
}

#[test]
fn frames() {
    let message = Bytes::from_static(b"\0\0\0\0\x05hello");
    let mut cx = Context::from_waker(Waker::noop());
    let read = count(|| {
        let mut reader = MessageReader::new(Full::new(message.clone()), 1024);
        assert!(matches!(reader.poll_next(&mut cx), Poll::Ready(Some(Ok(_)))));
    });
    at_most(0.0, "a message in one frame", read, 1);
    let relayed = count(|| {
        let (relay, mut request) = Relay::new(Full::new(message.clone()), 1024, None);
        let frame = Pin::new(&mut request).poll_frame(&mut cx);
        assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
        drop(relay);
    });
    at_most(1.0, "a proxied call of one frame", relayed, 1);
}

#[test]
fn balancing_among_very_many() {
    let endpoint = |port: u32| Endpoint::new(format!("127.0.0.1:{port}"));
    let (publisher, known) = watched();
    publisher.publish((0..10_000).map(endpoint));
    let picked = count(|| {
        let first = known.pick(&[]).unwrap();
        assert!(known.pick(&[first.tried()]).is_some());
    });
    at_most(0.0, "an endpoint of 10,000", picked, 1);
    let mut next: Vec<_> = (0..10_000).map(endpoint).collect();
    let mut changed = 10_000;
    let told = count(|| {
        changed += 1;
        next.rotate_left(1);
        next[0] = endpoint(changed);
        publisher.publish(next.iter().cloned());
    });
    // The set, the map, and what belongs to the one endpoint that is new (what calls learn about it, too): nothing for
    // each of the others.
    at_most(8.0, "a set of 10,000 of which one is new", told, 1);
}

/// A successful call under the policy of this resource, to the end of its answer.
fn under(resource: &[&str]) -> u64 {
    let resources = decode_resiliency(resource, "me").resources;
    let policies = Policies::compile(&resources, Settings::default(), std::sync::Arc::new(Unobserved));
    let app = AppRef::new("a", "default");
    let policy = policies.policy(Named::Peer(&app), "a").unwrap();
    count(|| {
        let mut facts = CallFacts::new(Road::Http, b"orders/17");
        facts.verb = Some(Verb::GET);
        let mut run = policies.begin(&policy, facts).unwrap();
        black_box(run.admit()).unwrap();
        black_box(run.judge(Outcome::Answered(Some(200))));
        let mut body = Body::empty();
        if run.wants_end() {
            body = body.on_end(move |end, _| run.ended(end, None));
        }
        drop(black_box(body));
    })
}

#[test]
fn policies() {
    at_most(0.0, "no policy but the built-in one", under(&[]), 1);
    let all = "spec:
  policies: {timeouts: {t: 5s}, retries: {r: {}}, circuitBreakers: {c: {}}}
  targets: {apps: {a: {timeout: t, retry: r, circuitBreaker: c}}}";
    at_most(2.0, "a policy with all parts", under(&[all]), 1);
    let beyond = "spec:
  policies:
    timeouts: {t: 5s}
    retries: {r: {jitter: 0.5, totalTimeout: 9s, maxRetryAfter: 1s, budget: {percent: 20}}}
    circuitBreakers: {c: {}}
    hedges: {h: {delay: 50ms, quantile: 0.95}}
  targets:
    apps:
      a: {methods: {POST: {}, other: {}, GET orders/*: {timeout: t, retry: r, circuitBreaker: c, hedge: h}}}";
    at_most(2.0, "a policy of a method with all there is", under(&[beyond]), 1);
}

/// A recorded span with all its attributes, from the request to the queue of its exporter.
#[test]
fn spans() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let exporters = Exporters::new("me", Tasks::new(), Tasks::new(), Proxies::default());
    let spec = TraceSpec {
        sampling_rate: "1".to_owned(),
        stdout: true,
        ..TraceSpec::default()
    };
    let plan = Plan::of(spec, "me", |_| None).unwrap();
    let traces = plan.begin(&exporters).unwrap();
    let (headers, method) = (headers(), MethodPath::parse("orders/17").unwrap());
    let recorded = count(|| {
        let path = "/v1.0/invoke/orders/method/orders/17";
        let request = observe::Request {
            api: observe::Api::Http,
            method: &http::Method::POST,
            path,
            user_agent: None,
            content_length: None,
        };
        let mut open = OpenExchange::new(traces.begin(Exchange::Door(request), None));
        let traced = Traced {
            entry: Entry::Http {
                method: &http::Method::POST,
                path,
                query: None,
                peer: Some("127.0.0.1:40000".parse().unwrap()),
            },
            parent: None,
            state: None,
            headers: Some(&headers),
            deadline: None,
        };
        black_box(open.trace(traced)).unwrap();
        open.invokes("orders", &method);
        open.status(200);
        open.end(End::Whole, 0);
    });
    at_most(17.0, "a recorded span", recorded, 1);
}
