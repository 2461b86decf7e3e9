//! Spans as lines of the log.

use std::sync::Arc;

use super::span::{Span, hex};
use crate::log::go_time;

/// Logs spans in the words of Dapr.
pub(super) fn log(spans: &[Arc<Span>]) {
    for span in spans {
        tracing::info!(target: "dapr.runtime.trace", "{}", line(span));
    }
}

fn line(span: &Span) -> String {
    format!(
        "[{}] Trace: {} Span: {}/{} Time: [{} ->  {}] Annotations: []",
        span.name,
        hex(&span.context.trace_id),
        hex(&span.parent),
        hex(&span.context.span_id),
        go_time(span.start),
        go_time(span.end),
    )
}
