//! h2spec: the rules of RFC 9113, one connection each.

use std::path::Path;

use integration_tests::{Daprd, Tools};
use tokio::process::Command;

use crate::Findings;
use crate::judge::ask;

/// How often a case is tried. Many cases send two frames and want the second one to be refused. The gRPC ports answer
/// a request that is no call at once, and when its stream is over before the second frame is there, that frame may be
/// passed over (section 5.1): such a case says nothing, and is tried again.
const ATTEMPTS: usize = 10;

/// Judges every port that speaks HTTP/2.
pub(crate) async fn judge(tools: &Tools, judged: &Daprd) -> Findings {
    let Some(h2spec) = tools.find("h2spec") else {
        return Findings::new();
    };
    let mut findings = Findings::new();
    for (name, port, attempts) in [
        ("HTTP port", judged.http_port, 1),
        ("gRPC port", judged.grpc_port, ATTEMPTS),
        ("internal port", judged.internal_port, ATTEMPTS),
    ] {
        match port_is_good(&h2spec, port, attempts).await {
            Ok(summary) => println!("h2spec, {name}: {summary}"),
            Err(error) => findings.push(format!("h2spec, {name}: {error}")),
        }
    }
    findings
}

async fn port_is_good(h2spec: &Path, port: u16, attempts: usize) -> Result<String, String> {
    let all = run(h2spec, port, &[]).await?;
    let mut summary = all.summary;
    let mut left = all.failed;
    if !left.is_empty() && attempts > 1 {
        summary = format!("{summary}, tried again: {}", left.join(", "));
    }
    for _ in 1..attempts {
        if left.is_empty() {
            break;
        }
        // One case may be in the way of another.
        let mut failed = Vec::new();
        for case in left {
            failed.extend(run(h2spec, port, &[case]).await?.failed);
        }
        left = failed;
    }
    if left.is_empty() {
        Ok(summary)
    } else {
        Err(format!("{summary}; at last still {}", left.join(", ")))
    }
}

/// What a run found.
struct Run {
    /// `146 tests, 146 passed, 0 skipped, 0 failed`.
    summary: String,
    /// The cases, as the command line names them (`http2/5.1/9`).
    failed: Vec<String>,
}

async fn run(h2spec: &Path, port: u16, cases: &[String]) -> Result<Run, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let report = folder.path().join("report.xml");
    let mut command = Command::new(h2spec);
    command.args(["-h", "127.0.0.1", "-o", "3", "-p", &port.to_string(), "-j"]);
    let verdict = ask(command.arg(&report).args(cases)).await?;
    let summary = verdict
        .text
        .lines()
        .rev()
        .find(|line| line.contains(" tests, "))
        .ok_or_else(|| format!("no summary in {}", verdict.shown()))?
        .to_owned();
    let report = std::fs::read_to_string(&report).map_err(|error| format!("its report: {error}"))?;
    let failed = failed_cases(&report);
    if failed.is_empty() == verdict.is_content {
        Ok(Run { summary, failed })
    } else {
        Err(format!(
            "its report and its exit code differ: {}",
            verdict.shown()
        ))
    }
}

/// The cases of a `JUnit` report that failed. A case has no number there, but those of a section are in order.
fn failed_cases(report: &str) -> Vec<String> {
    let mut failed = Vec::new();
    let mut section = "";
    let mut number = 0;
    for part in report.split("<testcase ").skip(1) {
        let this = part
            .split_once("package=\"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map_or("", |(section, _)| section);
        if this != section {
            (section, number) = (this, 0);
        }
        number += 1;
        if part.contains("<failure") || part.contains("<error") {
            failed.push(format!("{section}/{number}"));
        }
    }
    failed
}
