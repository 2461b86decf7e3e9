//! Zipkin: it is given the spans of both sidecars, and shows one trace for each call.

use std::path::Path;

use integration_tests::{Tools, free_port};
use serde_json::Value;
use tokio::process::Command;

use crate::examples::spec;
use crate::program::Program;
use crate::{CALLS, Findings, Pair, until};

pub(crate) async fn judge(tools: &Tools) -> Findings {
    let (Some(java), Some(jar)) = (tools.find("java"), tools.find("zipkin.jar")) else {
        return Findings::new();
    };
    match look(&java, &jar).await {
        Ok(()) => {
            println!("zipkin: saw {CALLS} traces with a span of each sidecar");
            Findings::new()
        }
        Err(why) => vec![format!("zipkin: {why}")],
    }
}

async fn json(url: &str) -> Result<Value, String> {
    let answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
    let text = answer.text().await.map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text:?}"))
}

async fn look(java: &Path, jar: &Path) -> Result<(), String> {
    let port = free_port();
    let running = Program::start(
        Command::new(java)
            .args(["-Xmx256m", "-jar"])
            .arg(jar)
            .env("QUERY_PORT", port.to_string())
            .env("STORAGE_TYPE", "mem"),
    )?;
    let base = format!("http://127.0.0.1:{port}");
    let health = format!("{base}/health");
    until(|| json(&health))
        .await
        .map_err(|why| format!("it does not start: {why}; {}", running.said()))?;
    let spec = spec("zipkin.yaml", &[("http://zipkin:9411", &base)]);
    let pair = Pair::start(&spec).await;
    pair.call().await;
    let seen = until(|| sees_the_calls(&base)).await;
    pair.stop().await;
    seen
}

async fn sees_the_calls(base: &str) -> Result<(), String> {
    let traces = json(&format!("{base}/api/v2/traces?serviceName=caller&limit=50")).await?;
    let traces = traces.as_array().cloned().unwrap_or_default();
    let whole = traces.iter().filter(|trace| is_whole(trace)).count();
    if whole == CALLS {
        Ok(())
    } else {
        Err(format!("{whole} of {CALLS} traces are whole: {traces:?}"))
    }
}

/// A client's span of the caller, and one of a server of the callee below it.
fn is_whole(trace: &Value) -> bool {
    let spans = trace.as_array().cloned().unwrap_or_default();
    let of = |service: &str, kind: &str| {
        let span = |span: &&Value| span["localEndpoint"]["serviceName"] == service && span["kind"] == kind;
        spans.iter().find(span).cloned()
    };
    match (of("caller", "CLIENT"), of("callee", "SERVER")) {
        (Some(client), Some(server)) => {
            server["parentId"] == client["id"] && client["name"] == "calllocal/callee/orders"
        }
        _ => false,
    }
}
