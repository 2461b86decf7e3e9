//! A collector of OpenTelemetry: it is given spans and metrics, over gRPC and over HTTP, and prints what it got.

use std::path::Path;

use integration_tests::{Tools, free_port};
use tokio::process::Command;

use crate::examples::{example, spec};
use crate::program::Program;
use crate::{CALLS, Findings, Pair, until};

pub(crate) async fn judge(tools: &Tools) -> Findings {
    let Some(program) = tools.find("otelcol") else {
        return Findings::new();
    };
    let mut findings = Findings::new();
    for protocol in ["grpc", "http"] {
        match look(&program, protocol).await {
            Ok(()) => println!("otelcol: got spans and metrics of both sidecars by {protocol}"),
            Err(why) => findings.push(format!("otelcol by {protocol}: {why}")),
        }
    }
    findings
}

async fn look(program: &Path, protocol: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let [grpc, http] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let config = example(
        "otelcol.yaml",
        &[("0.0.0.0:4317", &grpc), ("0.0.0.0:4318", &http)],
    );
    let file = folder.path().join("otelcol.yaml");
    std::fs::write(&file, config).map_err(|error| error.to_string())?;
    let running = Program::start(Command::new(program).arg(format!("--config={}", file.display())))?;
    until(async || {
        if running.said().contains("Everything is ready") {
            Ok(())
        } else {
            Err(format!("it does not start: {}", running.said()))
        }
    })
    .await?;
    let address = if protocol == "grpc" { grpc } else { http };
    let spec = spec(
        "otlp.yaml",
        &[
            ("protocol: grpc", &format!("protocol: {protocol}")),
            ("collector:4317", &address),
            ("interval: 15s", "interval: 1s"),
        ],
    );
    let pair = Pair::start(&spec).await;
    pair.call().await;
    let seen = until(async || has_all(&running.said())).await;
    pair.stop().await;
    seen
}

/// What a collector prints of spans and of metrics, with its most detailed words.
fn has_all(said: &str) -> Result<(), String> {
    for service in ["caller", "callee"] {
        let wanted = format!("service.name: Str({service})");
        if !said.contains(&wanted) {
            return Err(format!("nothing of {service}"));
        }
    }
    let spans = said.matches("Name           : CallLocal/callee/orders").count();
    if spans != 2 * CALLS {
        return Err(format!("{spans} spans, not {}", 2 * CALLS));
    }
    for name in [
        "dapr_http_server_request_count",
        "dapr_http_server_latency",
        "daprd_attempts_total",
    ] {
        if !said.contains(&format!("-> Name: {name}")) {
            return Err(format!("no metric {name}"));
        }
    }
    Ok(())
}
