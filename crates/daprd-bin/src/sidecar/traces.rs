//! Which traces are recorded, and who is told of them.

use std::time::Duration;

use resources::{Configuration, OtelHeader};
use telemetry::push::{OtlpSpec, PushError, PushPlan};
use telemetry::traces::{OtelSpec, Plan, TraceError, TraceSpec};

/// What the configuration and the variables of OpenTelemetry want.
pub fn plan(app_id: &str, configuration: &Configuration) -> Result<Plan, TraceError> {
    let tracing = &configuration.tracing;
    let otel = &tracing.otel;
    let spec = TraceSpec {
        sampling_rate: tracing.sampling_rate.clone(),
        stdout: tracing.stdout.unwrap_or(false),
        zipkin: tracing.zipkin.endpoint_address.clone(),
        otel: OtelSpec {
            protocol: otel.protocol.clone(),
            endpoint: otel.endpoint_address.clone(),
            is_secure: otel.is_secure,
            headers: otel.headers.iter().map(pair).collect(),
            timeout: timeout(&otel.timeout)?,
        },
    };
    Plan::of(spec, app_id, |name| std::env::var(name).ok())
}

/// Where metrics are pushed to, if they are.
pub fn push_plan(app_id: &str, configuration: &Configuration) -> Result<Option<PushPlan>, PushError> {
    let otlp = &configuration.daprd.metrics.otlp;
    let duration = |field: &str, text: &str| {
        timeout(text).map_err(|_| {
            let field = format!("spec.daprd.metrics.otlp.{field}");
            PushError::Variable(format!("{field}: {text:?} is no duration"))
        })
    };
    let spec = OtlpSpec {
        enabled: otlp.enabled,
        endpoint: otlp.endpoint_address.clone(),
        protocol: otlp.protocol.clone(),
        is_secure: otlp.is_secure,
        headers: otlp.headers.iter().map(pair).collect(),
        timeout: duration("timeout", &otlp.timeout)?,
        interval: duration("interval", &otlp.interval)?,
    };
    PushPlan::of(&spec, app_id, |name| std::env::var(name).ok())
}

fn pair(header: &OtelHeader) -> (String, String) {
    (header.name.clone(), header.value.clone())
}

/// A duration as Go writes it; nothing and what is not above zero leave the usual one.
fn timeout(text: &str) -> Result<Option<Duration>, TraceError> {
    if text.is_empty() {
        return Ok(None);
    }
    let nanos = go_text::parse_duration(text)
        .map_err(|error| TraceError::Timeout(format!("spec.tracing.otel.timeout: {error}")))?;
    Ok(go_text::positive(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        assert_eq!(timeout(""), Ok(None));
        assert_eq!(timeout("1m30s"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(timeout("-5s"), Ok(None));
        let error = timeout("soon").unwrap_err().to_string();
        assert_eq!(
            error,
            "failed to setup tracing: spec.tracing.otel.timeout: time: invalid duration \"soon\""
        );
    }
}
