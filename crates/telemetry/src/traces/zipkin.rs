//! Spans as the collectors of Zipkin take them: JSON of version 2 (<https://zipkin.io/zipkin-api/>).

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::otlp::INSTRUMENTATION;
use super::span::{Kind, Span, hex};

/// The spans as a list. `resource` tells what they are of.
pub(super) fn encode(resource: &[(String, String)], spans: &[Arc<Span>]) -> Bytes {
    let spans: Vec<Value> = spans.iter().map(|span| of(resource, span)).collect();
    Value::Array(spans).to_string().into()
}

fn of(resource: &[(String, String)], span: &Span) -> Value {
    let mut tags = Map::new();
    for (key, value) in &span.attributes {
        tags.insert(key.to_string(), value.as_str().into());
    }
    for (key, value) in resource {
        tags.insert(key.clone(), value.as_str().into());
    }
    tags.insert("otel.scope.name".to_owned(), INSTRUMENTATION.into());
    if let Some(error) = &span.error {
        tags.insert("otel.status_code".to_owned(), "ERROR".into());
        tags.insert("error".to_owned(), error.as_str().into());
    }
    let service = resource.iter().find(|(key, _)| key == "service.name");
    let service = service.map_or(String::new(), |(_, name)| name.to_lowercase());
    let start = Span::nanos(span.start) / 1000;
    let duration = (Span::nanos(span.end) / 1000).saturating_sub(start).max(1);
    let mut shown = json!({
        "timestamp": start,
        "duration": duration,
        "traceId": hex(&span.context.trace_id),
        "id": hex(&span.context.span_id),
        // Names are in small letters there.
        "name": span.name.to_lowercase(),
        "kind": match span.kind {
            Kind::Client => "CLIENT",
            Kind::Server => "SERVER",
        },
        "localEndpoint": { "serviceName": service },
        "tags": tags,
    });
    if span.parent != [0; 8] {
        shown["parentId"] = hex(&span.parent).into();
    }
    let remote = span
        .attribute("server.address")
        .or_else(|| span.attribute("net.peer.name"));
    if let Some(remote) = remote.filter(|_| span.kind == Kind::Client) {
        shown["remoteEndpoint"] = json!({ "serviceName": remote.to_lowercase() });
    }
    shown
}
