//! Prometheus: it scrapes both sidecars, evaluates every expression of the dashboard, and loads the alert rules.

use std::path::Path;

use integration_tests::{Tools, free_port};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::examples::{docs, example};
use crate::program::{Program, ask};
use crate::{CALLS, Findings, Pair, until};

pub(crate) async fn judge(tools: &Tools) -> Findings {
    let Some(program) = tools.find("prometheus") else {
        return Findings::new();
    };
    let promtool = tools.find("promtool");
    let pair = Pair::start("  daprd: {metrics: {endpoints: true}}\n").await;
    pair.call().await;
    let mut findings = Findings::new();
    if let Some(promtool) = promtool {
        findings.extend(lint(&promtool, &pair).await);
    }
    match look(&program, &pair).await {
        Ok(found) => findings.extend(found),
        Err(why) => findings.push(format!("prometheus: {why}")),
    }
    pair.stop().await;
    if findings.is_empty() {
        println!("prometheus: saw {CALLS} calls, all alert rules and every expression of the dashboard");
    }
    findings
}

/// What `promtool` thinks of the exposition and of the rules.
async fn lint(promtool: &Path, pair: &Pair) -> Findings {
    let mut findings = Findings::new();
    let rules = docs().join("monitoring/alerts.yml");
    let checked = ask(Command::new(promtool).args(["check", "rules"]).arg(rules), "").await;
    findings.extend(checked.err());
    for daprd in [&pair.caller, &pair.callee] {
        let url = format!("http://127.0.0.1:{}/metrics", daprd.metrics_port);
        let text = get(&url).await.unwrap_or_default();
        let checked = ask(Command::new(promtool).args(["check", "metrics"]), &text).await;
        // Names that are Dapr's do not follow the conventions; ours do.
        let Err(said) = checked else { continue };
        let ours = said
            .lines()
            .filter(|line| line.starts_with("daprd_") || line.contains("error"));
        findings.extend(ours.map(|line| format!("promtool: {line}")));
    }
    findings
}

pub(crate) async fn get(url: &str) -> Result<String, String> {
    let answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
    answer.text().await.map_err(|error| error.to_string())
}

/// A Prometheus that scrapes both sidecars every second.
pub(crate) struct Scraper {
    /// The address of its API.
    pub(crate) api: String,
    running: Program,
    _folder: TempDir,
}

impl Scraper {
    /// Starts one with the example of the docs, in which `rules` stands in place of the line of the rules, and with
    /// `arguments` of its own.
    pub(crate) fn start(
        program: &Path,
        pair: &Pair,
        rules: &str,
        arguments: &[String],
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let targets = format!(
            "'127.0.0.1:{}', '127.0.0.1:{}'",
            pair.caller.metrics_port, pair.callee.metrics_port
        );
        let config = example(
            "prometheus.yml",
            &[
                ("scrape_interval: 15s", "scrape_interval: 1s"),
                ("'sidecar:9090'", &targets),
                ("rule_files: ['/etc/prometheus/alerts.yml']\n", rules),
            ],
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).map_err(|error| error.to_string())?;
        let port = free_port();
        let data = folder.path().join("data");
        let running = Program::start(
            Command::new(program)
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .args(arguments),
        )?;
        Ok(Self {
            api: format!("http://127.0.0.1:{port}/api/v1"),
            running,
            _folder: folder,
        })
    }

    /// What went wrong, with what it said last.
    pub(crate) fn explain(&self, why: &str) -> String {
        let said = self.running.said();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        format!("{why}; it said: {last:?}")
    }
}

async fn look(program: &Path, pair: &Pair) -> Result<Findings, String> {
    let rules = docs().join("monitoring/alerts.yml");
    let rules = format!("rule_files: ['{}']\n", rules.display());
    let scraper = Scraper::start(program, pair, &rules, &[])?;
    let base = &scraper.api;
    let seen = until(|| sees_the_calls(base)).await;
    seen.map_err(|why| scraper.explain(&why))?;
    let mut findings = unhealthy(base).await?;
    for expression in expressions() {
        let answer = query(base, &expression).await?;
        if answer["status"] != "success" {
            findings.push(format!("prometheus: {expression}: {}", answer["error"]));
        }
    }
    Ok(findings)
}

async fn query(base: &str, expression: &str) -> Result<Value, String> {
    let url = reqwest::Url::parse_with_params(&format!("{base}/query"), [("query", expression)]);
    let url = url.map_err(|error| error.to_string())?;
    json(&get(url.as_str()).await?)
}

pub(crate) fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text:?}"))
}

/// The number of calls in three families, one of each kind of sidecar and one of our own.
async fn sees_the_calls(base: &str) -> Result<(), String> {
    for expression in [
        "sum(dapr_http_server_request_count{app_id=\"caller\",path=~\".*/orders\"})",
        "sum(dapr_runtime_service_invocation_req_recv_total{app_id=\"callee\",src_app_id=\"caller\"})",
        "sum(daprd_attempts_total{app_id=\"caller\",target=\"callee\",outcome=\"ok\"})",
    ] {
        let answer = query(base, expression).await?;
        let value = &answer["data"]["result"][0]["value"][1];
        let count = value.as_str().and_then(|count| count.parse().ok());
        if count != Some(CALLS) {
            return Err(format!("{expression} is {value}, not {CALLS}"));
        }
    }
    Ok(())
}

/// Targets that could not be scraped, and rules that could not be evaluated.
async fn unhealthy(base: &str) -> Result<Findings, String> {
    let mut findings = Findings::new();
    let targets = json(&get(&format!("{base}/targets")).await?)?;
    let active = targets["data"]["activeTargets"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if active.len() != 2 {
        findings.push(format!("prometheus: it has {} targets", active.len()));
    }
    for target in active {
        if target["health"] != "up" {
            findings.push(format!(
                "prometheus: {}: {}",
                target["scrapeUrl"], target["lastError"]
            ));
        }
    }
    let rules = json(&get(&format!("{base}/rules")).await?)?;
    let groups = rules["data"]["groups"].as_array().cloned().unwrap_or_default();
    let rules: Vec<Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
        .collect();
    if rules.is_empty() {
        findings.push("prometheus: it has no rules".to_owned());
    }
    for rule in rules {
        if rule["health"] == "err" {
            findings.push(format!("prometheus: {}: {}", rule["name"], rule["lastError"]));
        }
    }
    Ok(findings)
}

/// Every expression of the dashboard, with something in place of its variables.
fn expressions() -> Vec<String> {
    let text = std::fs::read_to_string(docs().join("monitoring/dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    targets
        .filter_map(|target| target["expr"].as_str().map(ToOwned::to_owned))
        .map(|expression| {
            expression
                .replace("$__rate_interval", "1m")
                .replace("$app_id", ".*")
                .replace("$job", ".*")
        })
        .collect()
}
