//! What calls become as spans, and where those go.

use std::time::Duration;

use bytes::Bytes;
use dapr_proto::otlp::ExportTraceServiceRequest;
use http::header::{HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderName, Method};
use invoke_core::observe::{Entry, OpenExchange, Request, Traced};
use invoke_core::trace::TraceContext;
use invoke_core::{Denied, End, Fault, InvokeError, MethodPath, Observe, ProxiedHead, RpcStatus, Verb};
use lifecycle::Tasks;
use prost::Message;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use transport::client::Proxies;

use super::export::Queue;
use super::sampler::Sampler;
use super::*;
use crate::metrics::Sample;
use crate::otlp::Protocol;

mod collectors;
mod plans;

const ADDRESS: &str = "server.address=127.0.0.1 server.port=40000";
const OF_RECEIVED: &str = "Server CallLocal/me/ok \
                           [dapr.api=/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream \
                           dapr.invoke_method=ok dapr.protocol=grpc rpc.service=ServiceInvocation]";

/// An observer that samples everything, and where it leaves its spans.
fn traces(rate: &str) -> (Traces, SpanReceiver) {
    let (queue, waiting) = Queue::of_test(8);
    (Traces::new("me", Sampler::new(rate), 128, vec![queue]), waiting)
}

type SpanReceiver = tokio::sync::mpsc::Receiver<std::sync::Arc<span::Span>>;

fn parent() -> TraceContext {
    TraceContext::from_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap()
}

/// A call at a door.
fn open(traces: &Traces, api: invoke_core::observe::Api) -> OpenExchange<Option<TraceTicket>> {
    let request = Request {
        api,
        method: &Method::POST,
        path: "/",
        user_agent: None,
        content_length: None,
    };
    OpenExchange::new(traces.begin(invoke_core::observe::Exchange::Door(request), None))
}

fn http<'a>(path: &'a str, query: Option<&'a str>, headers: &'a HeaderMap) -> Traced<'a> {
    Traced {
        entry: Entry::Http {
            method: &Method::GET,
            path,
            query,
            peer: Some("127.0.0.1:40000".parse().unwrap()),
        },
        parent: None,
        state: None,
        headers: Some(headers),
        deadline: None,
    }
}

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
        })
        .collect()
}

/// A span as a text: its name, its attributes, its error.
fn shown(span: &span::Span) -> String {
    let mut attributes: Vec<_> = span
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    attributes.sort();
    let error = span
        .error
        .as_ref()
        .map_or(String::new(), |error| format!(" ! {error}"));
    format!("{:?} {} [{}]{error}", span.kind, span.name, attributes.join(" "))
}

#[test]
fn calls_of_the_http_api() {
    let headers = map(&[
        ("dapr-foo", "bar"),
        ("dapr-api-token", "hush"),
        ("dapr-app-id", "s"),
        ("dapr-empty", ""),
        ("x-other", "1"),
    ]);
    for (path, query, status, wanted) in [
        (
            "/v1.0/invoke/s/method/ok",
            Some("q=%20"),
            Some(200),
            format!(
                "Client CallLocal/s/ok [dapr-foo=bar dapr.api=GET /v1.0/invoke/s/method/ok dapr.protocol=http \
                 dapr.status_code=200 http.request.method=GET net.peer.name=s rpc.service=ServiceInvocation {ADDRESS} \
                 url.full=/v1.0/invoke/s/method/ok?q=%20]"
            ),
        ),
        (
            "/v1.0/%41",
            None,
            Some(500),
            format!(
                "Client /v1.0/A [dapr-foo=bar dapr.api=GET /v1.0/A dapr.protocol=http dapr.status_code=500 \
                 http.request.method=GET {ADDRESS} url.full=/v1.0/%41] ! Code(500): Internal Server Error"
            ),
        ),
        (
            "/a",
            None,
            Some(599),
            format!(
                "Client /a [dapr-foo=bar dapr.api=GET /a dapr.protocol=http dapr.status_code=599 \
                 http.request.method=GET {ADDRESS} url.full=/a] ! Code(599): Unknown"
            ),
        ),
        (
            "/b",
            None,
            None,
            format!(
                "Client /b [dapr-foo=bar dapr.api=GET /b dapr.protocol=http http.request.method=GET {ADDRESS} \
                 url.full=/b] ! context canceled"
            ),
        ),
    ] {
        let (traces, mut waiting) = traces("1");
        let mut open = open(&traces, invoke_core::observe::Api::Http);
        let context = open.trace(http(path, query, &headers)).unwrap();
        assert!(context.is_valid() && context.is_sampled());
        if path.contains("invoke") {
            open.invokes("s", &MethodPath::parse("ok").unwrap());
        }
        if let Some(status) = status {
            open.status(status);
        }
        drop(open);
        let span = waiting.try_recv().unwrap();
        assert_eq!(shown(&span), wanted);
        assert_eq!((span.context, span.parent), (context, [0; 8]));
        assert!(span.end >= span.start);
    }
}

#[test]
fn calls_of_the_grpc_api_and_of_others() {
    let metadata = map(&[("dapr-foo", "bar"), ("dapr-foo", "2"), ("dapr-x-bin", "AAA")]);
    let method = MethodPath::parse("ok").unwrap();
    let proxied = |pairs: &[(&str, &str)]| ProxiedHead {
        path: PathAndQuery::from_static("/test.Svc/ok"),
        headers: map(pairs),
        trace: None,
        deadline: None,
        trail: None,
    };
    let (away, here) = (
        proxied(&[("dapr-app-id", "g")]),
        proxied(&[("dapr-callee-app-id", "me"), ("dapr-app-id", "g")]),
    );
    let grpc = Traced {
        entry: Entry::Grpc { method: "/a.B/C" },
        parent: Some(TraceContext::default()),
        state: None,
        headers: Some(&metadata),
        deadline: None,
    };
    let received = |is_unary| Traced {
        entry: Entry::Received {
            is_unary,
            method: &method,
        },
        headers: None,
        ..grpc
    };
    let failed = map(&[("grpc-status", "5"), ("grpc-message", "app says%205")]);
    let denied = InvokeError::unsent(
        Fault::Caller,
        Denied::Policy {
            id: "x".into(),
            operation: method.clone(),
            verb: Verb::GET,
        },
    );
    let lost = InvokeError::unsent(Fault::Us, RpcStatus::new(14, "gone"));
    for (traced, status, reason, error, wanted) in [
        (
            grpc,
            Some(0),
            None,
            None,
            "Client /a.B/C [dapr-foo=bar dapr.api=/a.B/C dapr.protocol=grpc]",
        ),
        (
            grpc,
            Some(5),
            Some(&failed),
            None,
            "Client /a.B/C [dapr-foo=bar dapr.api=/a.B/C dapr.protocol=grpc] ! app says 5",
        ),
        (
            grpc,
            Some(1),
            None,
            None,
            "Client /a.B/C [dapr-foo=bar dapr.api=/a.B/C dapr.protocol=grpc] ! context canceled",
        ),
        (
            Traced {
                deadline: Some(std::time::Instant::now()),
                ..grpc
            },
            None,
            None,
            None,
            "Client /a.B/C [dapr-foo=bar dapr.api=/a.B/C dapr.protocol=grpc] ! context deadline exceeded",
        ),
        (received(false), Some(500), None, None, OF_RECEIVED),
        (received(false), Some(5), None, None, OF_RECEIVED),
        (
            received(true),
            None,
            None,
            Some(&denied),
            "Server CallLocal/me/ok [dapr.api=/dapr.proto.internals.v1.ServiceInvocation/CallLocal dapr.invoke_method=ok \
             dapr.protocol=grpc rpc.service=ServiceInvocation] ! access control policy has denied access to id: x \
             operation: ok verb: GET",
        ),
        (
            away.traced(),
            Some(0),
            None,
            None,
            "Client /test.Svc/ok [dapr-app-id=g]",
        ),
        (
            here.traced(),
            None,
            None,
            Some(&lost),
            "Server /test.Svc/ok [dapr-app-id=g dapr-callee-app-id=me] ! gone",
        ),
    ] {
        let (traces, mut waiting) = traces("1");
        let mut open = open(&traces, invoke_core::observe::Api::Grpc);
        open.trace(traced).unwrap();
        if let Some(reason) = reason {
            open.reason(reason);
        }
        if let Some(error) = error {
            open.failed(error);
        }
        if let Some(status) = status {
            open.status(status);
        }
        open.end(End::Whole, 0);
        assert_eq!(shown(&waiting.try_recv().unwrap()), wanted);
    }
}

#[test]
fn whose_child_a_span_is() {
    let none = HeaderMap::new();
    let state = HeaderValue::from_static("a=b");
    let child = |rate: &str, parent: Option<TraceContext>| {
        let (traces, waiting) = traces(rate);
        let mut open = open(&traces, invoke_core::observe::Api::Http);
        let traced = Traced {
            parent,
            state: Some(&state),
            ..http("/", None, &none)
        };
        let context = open.trace(traced).unwrap();
        drop(open);
        (context, waiting)
    };
    let (context, mut waiting) = child("0.0000001", Some(parent()));
    let span = waiting.try_recv().unwrap();
    assert_eq!((span.parent, &*span.state), (parent().span_id, "a=b"));
    assert_eq!((context.trace_id, context.flags), (parent().trace_id, 1));
    assert_ne!(context.span_id, parent().span_id);

    let unsampled = TraceContext { flags: 2, ..parent() };
    let (context, mut waiting) = child("1", Some(unsampled));
    assert_eq!((context.trace_id, context.flags), (parent().trace_id, 2));
    assert_ne!(context.span_id, parent().span_id, "each hop has an id of its own");
    assert!(waiting.try_recv().is_err(), "nothing is recorded");

    // A trace without a span is no parent, but its id goes on.
    let bare = TraceContext {
        span_id: [0; 8],
        flags: 0xff,
        ..parent()
    };
    let (context, mut waiting) = child("1", Some(bare));
    assert_eq!((context.trace_id, context.flags), (parent().trace_id, 0xff));
    assert_eq!(waiting.try_recv().unwrap().parent, [0; 8]);
}

#[test]
fn attributes_have_a_bound() {
    let (queue, mut waiting) = Queue::of_test(8);
    let traces = Traces::new("me", Sampler::new("1"), 3, vec![queue]);
    let headers = map(&[("dapr-a", "1"), ("dapr-b", "1")]);
    let mut open = open(&traces, invoke_core::observe::Api::Http);
    open.trace(http("/", None, &headers));
    drop(open);
    let span = waiting.try_recv().unwrap();
    assert_eq!((span.attributes.len(), span.dropped), (3, 5));
}

#[test]
fn a_queue_that_is_full_drops() {
    let (queue, waiting) = Queue::of_test(2);
    let counter = queue.exporters().clone();
    let traces = Traces::new("me", Sampler::new("1"), 128, vec![queue]);
    let long = "x".repeat(60_000);
    let headers = map(&[("dapr-a", &long)]);
    for _ in 0..5 {
        open(&traces, invoke_core::observe::Api::Http).trace(http("/", None, &headers));
    }
    assert_eq!(waiting.len(), 2);
    let family = &counter.families()[0];
    assert_eq!(
        family.samples,
        [crate::metrics::Sample::number(
            "app_id=\"me\",exporter=\"otel\"",
            3.0
        )]
    );

    // The bytes are bounded, too.
    let (queue, waiting) = Queue::of_test(10_000);
    let traces = Traces::new("me", Sampler::new("1"), 128, vec![queue]);
    for _ in 0..400 {
        open(&traces, invoke_core::observe::Api::Http).trace(http("/", None, &headers));
    }
    assert!((100..150).contains(&waiting.len()), "{}", waiting.len());
}

#[test]
fn what_collectors_get() {
    let (traces, mut waiting) = traces("1");
    let none = HeaderMap::new();
    for status in [200, 404] {
        let mut open = open(&traces, invoke_core::observe::Api::Http);
        let traced = Traced {
            parent: (status == 404).then(parent),
            ..http("/v1.0/metadata", None, &none)
        };
        open.trace(traced);
        open.status(status);
    }
    let spans = [waiting.try_recv().unwrap(), waiting.try_recv().unwrap()];
    let attributes = [("service.name".to_owned(), "Me".to_owned())];

    let message = otlp::encode(&otlp::Resource::new(&attributes), &spans);
    let message = ExportTraceServiceRequest::decode(message).unwrap();
    let of_resource = &message.resource_spans[0];
    assert_eq!(of_resource.schema_url, "https://opentelemetry.io/schemas/1.25.0");
    assert_eq!(of_resource.resource.as_ref().unwrap().attributes.len(), 1);
    let of_scope = &of_resource.scope_spans[0];
    assert_eq!(of_scope.scope.as_ref().unwrap().name, "dapr-diagnostics");
    let [root, child] = &of_scope.spans[..] else {
        panic!("{of_scope:?}")
    };
    assert_eq!((root.kind, root.flags, root.parent_span_id.len()), (3, 0x301, 0));
    assert_eq!(root.status, Some(dapr_proto::otlp::Status::default()));
    assert_eq!(child.parent_span_id, &parent().span_id[..]);
    let status = child.status.as_ref().unwrap();
    assert_eq!((status.code, &*status.message), (2, "Code(404): Not Found"));
    assert!(
        root.start_time_unix_nano > 1_600_000_000_000_000_000
            && root.end_time_unix_nano >= root.start_time_unix_nano
    );

    let list: Value = serde_json::from_slice(&zipkin::encode(&attributes, &spans)).unwrap();
    assert_eq!(list[0].get("parentId"), None);
    assert_eq!(list[1]["parentId"], "00f067aa0ba902b7");
    assert_eq!(list[1]["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(list[0]["localEndpoint"]["serviceName"], "me");
    assert_eq!(list[0]["remoteEndpoint"]["serviceName"], "127.0.0.1");
    assert_eq!(list[0]["tags"]["service.name"], "Me");
    assert_eq!(list[0]["tags"].get("error"), None);
    assert_eq!(list[1]["tags"]["error"], "Code(404): Not Found");
    assert_eq!(list[1]["tags"]["otel.status_code"], "ERROR");
    assert_eq!(list[1]["kind"], "CLIENT");
    assert!(list[0]["duration"].as_u64().unwrap() >= 1);
}

#[test]
fn answers_of_collectors() {
    use dapr_proto::otlp::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    let answer = |rejected_spans| {
        let part = ExportTracePartialSuccess {
            rejected_spans,
            error_message: "too old".to_owned(),
        };
        let answer = ExportTraceServiceResponse {
            partial_success: Some(part),
        };
        Bytes::from(answer.encode_to_vec())
    };
    assert_eq!(grpc::whole(b""), Ok(()));
    assert_eq!(grpc::whole(&answer(0)), Ok(()));
    let refused = grpc::whole(&answer(2)).unwrap_err();
    assert_eq!(
        (&*refused.why, refused.again),
        ("the collector refused 2 of them: too old", None)
    );
    assert!(grpc::whole(b"\xff\xff").is_err());
}

/// When the observer of a generation goes, what it left is sent, and its exporter ends.
#[tokio::test]
async fn the_last_spans_of_a_generation() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"]") {
            let read = socket.read_buf(&mut text).await.unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&text));
        }
        socket
            .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8(text).unwrap()
    });
    let tasks = Tasks::new();
    let exporters = Exporters::new("me", tasks.clone(), Tasks::new(), Proxies::default());
    let spec = TraceSpec {
        sampling_rate: "1".to_owned(),
        zipkin: format!("http://127.0.0.1:{port}/spans"),
        ..TraceSpec::default()
    };
    let traces = Plan::of(spec, "me", |_| None).unwrap().begin(&exporters).unwrap();
    let headers = HeaderMap::new();
    for _ in 0..3 {
        open(&traces, invoke_core::observe::Api::Http).trace(http("/x", None, &headers));
    }
    drop(traces);
    tasks.wait().await;
    let received = received.await.unwrap();
    assert!(received.starts_with("POST /spans HTTP/1.1\r\n"), "{received}");
    assert_eq!(received.matches("\"name\":\"/x\"").count(), 3);
    let dropped = exporters.families().swap_remove(0).samples;
    let none = Sample::number("app_id=\"me\",exporter=\"zipkin\"", 0.0);
    assert_eq!(dropped, [none], "those that were at work are shown");
}
