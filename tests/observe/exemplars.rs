//! Prometheus again, for exemplars: it takes them out of the text of `OpenMetrics`, and with native histograms out of messages.

use std::path::Path;

use integration_tests::{Tools, free_port};

use crate::examples::spec;
use crate::prometheus::{Scraper, get, json};
use crate::{Findings, Pair, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// What is switched on, and what Prometheus asks for then.
const FORMS: [(&str, &str); 2] = [
    ("exemplar-storage", "OpenMetrics"),
    ("exemplar-storage,native-histograms", "messages"),
];
/// Every family of which an HTTP call leaves an exemplar, with the sidecar that it leaves it at.
const FAMILIES: [(&str, &str); 3] = [
    ("caller", "dapr_http_server_latency"),
    ("caller", "dapr_runtime_service_invocation_res_recv_latency_ms"),
    ("callee", "dapr_http_client_roundtrip_latency"),
];

pub(crate) async fn judge(tools: &Tools) -> Findings {
    let Some(program) = tools.find("prometheus") else {
        return Findings::new();
    };
    let collector = format!("127.0.0.1:{}", free_port());
    let spec = spec("exemplars.yaml", &[("0.01", "1"), ("zipkin:9411", &collector)]);
    let pair = Pair::start(&spec).await;
    let request = reqwest::Client::new().get(pair.caller.invoke_url("callee", "orders"));
    let request = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    request.send().await.expect("the sidecar answers");
    let mut findings = Findings::new();
    for (features, form) in FORMS {
        match look(&program, &pair, features).await {
            Ok(()) => println!("prometheus: has the trace of a call from {form}"),
            Err(why) => findings.push(format!("prometheus, {form}: {why}")),
        }
    }
    pair.stop().await;
    findings
}

async fn look(program: &Path, pair: &Pair, features: &str) -> Result<(), String> {
    let scraper = Scraper::start(program, pair, "", &[format!("--enable-feature={features}")])?;
    let url = format!("{}/query_exemplars", scraper.api);
    let seen = until(|| has_the_trace(&url)).await;
    seen.map_err(|why| scraper.explain(&why))
}

async fn has_the_trace(base: &str) -> Result<(), String> {
    for (app, family) in FAMILIES {
        let query = format!("{family}_bucket{{app_id=\"{app}\"}}");
        let all_times = [("query", &*query), ("start", "0"), ("end", "99999999999")];
        let url = reqwest::Url::parse_with_params(base, all_times);
        let answer = json(&get(url.map_err(|error| error.to_string())?.as_str()).await?)?;
        let series = answer["data"].as_array().cloned().unwrap_or_default();
        let exemplars = series
            .iter()
            .flat_map(|series| series["exemplars"].as_array().cloned().unwrap_or_default());
        if !exemplars
            .into_iter()
            .any(|exemplar| exemplar["labels"]["trace_id"] == TRACE)
        {
            return Err(format!("{query} has no exemplar of the trace: {answer}"));
        }
    }
    Ok(())
}
