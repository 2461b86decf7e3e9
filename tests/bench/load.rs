//! Load from oha, and what it reports.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::process::Command;

use crate::chain::Running;
use crate::kind::Speech;
use crate::{grpc, process};

/// How many calls share a connection of HTTP/2.
pub(crate) const STREAMS: usize = 16;
/// How long one call may take before it counts as an error.
const CALL_TIMEOUT: &str = "60s";
/// How much longer than planned a load may take before it is given up.
const SLACK: Duration = Duration::from_secs(90);

/// The load generator.
#[derive(Clone, Debug)]
pub(crate) struct Oha {
    program: PathBuf,
}

/// What is called.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Several are called at random.
    pub(crate) urls: Vec<String>,
    /// HTTP/1, or gRPC over HTTP/2 without encryption.
    pub(crate) speech: Speech,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

impl Call {
    /// The call of a chain's scene.
    pub(crate) fn of(running: &Running, method: &str, door: Speech, length: usize) -> Self {
        let mut headers = running.metadata();
        let (content_type, body) = match door {
            Speech::Http => ("application/octet-stream", vec![b'x'; length].into()),
            Speech::Grpc => {
                headers.push(("te", "trailers".to_owned()));
                (grpc::CONTENT_TYPE, running.message(length))
            }
        };
        Self {
            urls: running.urls(method),
            speech: door,
            content_type,
            headers,
            body,
        }
    }
}

/// How much load, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// So many calls at once, each of which is followed by another when it has its answer.
    Closed { at_once: usize, seconds: u64 },
    /// So many calls a second whether or not earlier ones are answered. Times count from when a call was due, so
    /// that a pause of the chain shows in every call that fell into it.
    Open { at_once: usize, seconds: u64, rate: u64 },
    /// So many calls at the same time, once.
    Crowd { calls: usize },
}

/// What a load brought.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Calls that were answered with 200.
    pub(crate) calls: u64,
    /// Calls that were not, whatever happened instead.
    pub(crate) errors: u64,
    /// What happened instead.
    pub(crate) reasons: Vec<String>,
    pub(crate) per_second: f64,
    /// Latencies in milliseconds.
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
}

impl Oha {
    /// Looks for oha on `PATH` and among cargo's binaries.
    pub(crate) fn find() -> Result<Self, String> {
        let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = std::env::home_dir().map(|home| home.join(".cargo"));
        let of_cargo = [cargo_home, home]
            .into_iter()
            .flatten()
            .map(|folder| folder.join("bin/oha"));
        process::find("oha")
            .or_else(|| of_cargo.into_iter().find(|program| program.is_file()))
            .map(|program| Self { program })
            .ok_or_else(|| "oha is missing: cargo install --locked oha".to_owned())
    }

    /// The program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Makes calls.
    pub(crate) async fn run(&self, call: &Call, load: Load) -> Result<Report, String> {
        let mut command = Command::new(&self.program);
        command.args(["--no-tui", "--output-format", "json", "-t", CALL_TIMEOUT]);
        let (at_once, planned) = match load {
            Load::Closed { at_once, seconds } => {
                command.args(["-z", &format!("{seconds}s"), "-w"]);
                (at_once, seconds)
            }
            Load::Open {
                at_once,
                seconds,
                rate,
            } => {
                command.args(["-z", &format!("{seconds}s"), "-w"]);
                command.args(["-q", &rate.to_string(), "--latency-correction"]);
                (at_once, seconds)
            }
            Load::Crowd { calls } => {
                command.args(["-n", &calls.to_string()]);
                (calls, 0)
            }
        };
        let connections = match call.speech {
            Speech::Http => at_once,
            Speech::Grpc => {
                let streams = at_once.min(STREAMS);
                command.args(["--http2", "-p", &streams.to_string()]);
                at_once.div_ceil(STREAMS)
            }
        };
        let body = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        std::fs::write(body.path(), &call.body).map_err(|error| error.to_string())?;
        for (name, value) in &call.headers {
            command.args(["-H", &format!("{name}: {value}")]);
        }
        command
            .args([
                "-c",
                &connections.to_string(),
                "-m",
                "POST",
                "-T",
                call.content_type,
            ])
            .arg("-D")
            .arg(body.path());
        let list = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        match &call.urls[..] {
            [url] => command.arg(url),
            urls => {
                std::fs::write(list.path(), urls.join("\n")).map_err(|error| error.to_string())?;
                command.arg("--urls-from-file").arg(list.path())
            }
        };
        command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let limit = Duration::from_secs(planned) + SLACK;
        let output = tokio::time::timeout(limit, command.output())
            .await
            .map_err(|_| format!("oha did not end within {} s", limit.as_secs()))?
            .map_err(|error| format!("cannot start {}: {error}", self.program.display()))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("oha failed ({}): {}", output.status, text.trim()));
        }
        let report = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("oha's report cannot be read: {error}"))?;
        Ok(read(&report))
    }
}

fn read(report: &Value) -> Report {
    let counts = |name: &str| {
        let counts = report[name].as_object().into_iter().flatten();
        counts.map(|(what, count)| (what.clone(), count.as_u64().unwrap_or(0)))
    };
    let calls = report["statusCodeDistribution"]["200"].as_u64().unwrap_or(0);
    let failed: Vec<_> = counts("statusCodeDistribution")
        .filter(|(status, _)| status != "200")
        .map(|(status, count)| (format!("status {status}"), count))
        .chain(counts("errorDistribution").filter(|(what, _)| what != "aborted due to deadline"))
        .collect();
    let milliseconds = |name: &str| report["latencyPercentiles"][name].as_f64().unwrap_or(f64::NAN) * 1000.0;
    let total = report["summary"]["total"].as_f64().unwrap_or(f64::NAN);
    Report {
        calls,
        errors: failed.iter().map(|(_, count)| count).sum(),
        reasons: failed
            .iter()
            .map(|(what, count)| format!("{count} x {what}"))
            .collect(),
        per_second: calls as f64 / total,
        p50: milliseconds("p50"),
        p90: milliseconds("p90"),
        p99: milliseconds("p99"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_200_is_an_error() {
        let report = read(&serde_json::json!({
            "summary": {"total": 2.0},
            "latencyPercentiles": {"p50": 0.001, "p90": 0.002, "p99": 0.25},
            "statusCodeDistribution": {"200": 10, "500": 2},
            "errorDistribution": {"connection refused": 3, "aborted due to deadline": 64},
        }));
        assert_eq!((report.calls, report.errors), (10, 5));
        assert!((report.per_second - 5.0).abs() < f64::EPSILON);
        assert!((report.p99 - 250.0).abs() < 1e-9);
        assert_eq!(report.reasons.len(), 2);
    }
}
