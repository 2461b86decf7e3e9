//! Spans in the messages of OTLP (<https://opentelemetry.io/docs/specs/otlp/>).

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use dapr_proto::otlp::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, ResourceSpans, ScopeSpans, Status,
    any_value, span, status,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::span::{Kind, Span};

/// What Dapr calls the instrumentation that makes its spans.
pub(super) const INSTRUMENTATION: &str = "dapr-diagnostics";
/// The semantic conventions that the attributes of the resource follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.25.0";
/// Whether the parent is of another process is known, and so it is: Dapr says it of all of its spans.
const PARENT_IS_REMOTE: u32 = 0x300;

/// What the spans are of.
#[derive(Clone, Debug)]
pub(crate) struct Resource(dapr_proto::otlp::Resource);

impl Resource {
    /// The same as a message.
    pub(crate) fn message(&self) -> dapr_proto::otlp::Resource {
        self.0.clone()
    }

    pub(crate) fn new(attributes: &[(String, String)]) -> Self {
        let attributes = attributes.iter().map(|(key, value)| attribute(key, value));
        Self(dapr_proto::otlp::Resource {
            attributes: attributes.collect(),
        })
    }
}

/// The message that gives spans to a collector.
pub(super) fn encode(resource: &Resource, spans: &[Arc<Span>]) -> Bytes {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.0.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: INSTRUMENTATION.to_owned(),
                    version: String::new(),
                }),
                spans: spans.iter().map(|span| message(span)).collect(),
                schema_url: String::new(),
            }],
            schema_url: SCHEMA.to_owned(),
        }],
    };
    request.encode_to_vec().into()
}

/// The same, packed.
pub(super) fn packed(message: &Bytes) -> std::io::Result<Bytes> {
    let mut packed = GzEncoder::new(Vec::with_capacity(message.len() / 4), Compression::fast());
    packed.write_all(message)?;
    Ok(packed.finish()?.into())
}

fn message(span: &Span) -> dapr_proto::otlp::Span {
    let attributes = span.attributes.iter().map(|(key, value)| attribute(key, value));
    let is_root = span.parent == [0; 8];
    dapr_proto::otlp::Span {
        trace_id: Bytes::copy_from_slice(&span.context.trace_id),
        span_id: Bytes::copy_from_slice(&span.context.span_id),
        trace_state: span.state.clone(),
        parent_span_id: if is_root {
            Bytes::new()
        } else {
            Bytes::copy_from_slice(&span.parent)
        },
        name: span.name.clone(),
        kind: match span.kind {
            Kind::Client => span::SpanKind::Client.into(),
            Kind::Server => span::SpanKind::Server.into(),
        },
        start_time_unix_nano: Span::nanos(span.start),
        end_time_unix_nano: Span::nanos(span.end),
        attributes: attributes.collect(),
        dropped_attributes_count: span.dropped,
        status: Some(match &span.error {
            None => Status::default(),
            Some(error) => Status {
                message: error.clone(),
                code: status::StatusCode::Error.into(),
            },
        }),
        flags: PARENT_IS_REMOTE | u32::from(span.context.flags),
    }
}

/// A pair of texts.
pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
    }
}
