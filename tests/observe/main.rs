//! `observe`: what others wrote looks at sidecars: Prometheus scrapes them, Zipkin and a collector of OpenTelemetry are
//! given their spans and metrics. Then *they* are asked what they saw.
//!
//! What they are configured with stands on the page about observability. The programs are looked for in the folder that
//! `--tools` names, and on the path. One that is missing judges nothing, which is said; one that was there and saw
//! something else fails the run.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that shows something to a person"
)]

mod collector;
mod examples;
mod exemplars;
mod peer;
mod program;
mod prometheus;
mod zipkin;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use integration_tests::{Daprd, HttpApp, Mesh, Protocol, Request, Tools, text};

const USAGE: &str = "\
observe [OPTIONS]

  --tools FOLDER         where prometheus, promtool, zipkin.jar and otelcol are, if not on the path
  --peer NAME=PATH       another daprd, whose metrics after the same calls are compared with ours; may be repeated
  --help                 this text
";

/// What a judge saw that is not what happened, in words; nothing when it was content.
type Findings = Vec<String>;

/// How many calls are made.
const CALLS: usize = 5;
/// How long a judge may take to have seen them.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    let (mut tools, mut peers) = (None, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--tools", Some(folder)) => tools = Some(PathBuf::from(folder)),
            ("--peer", Some(peer)) if peer.contains('=') => peers.push(peer),
            ("--help" | "-h", _) => {
                print!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => {
                eprintln!("observe: {arg:?} is no option, or lacks its value; --help tells all");
                return ExitCode::from(2);
            }
        }
    }
    let tools = Tools::new(tools);
    let mut findings = prometheus::judge(&tools).await;
    findings.extend(exemplars::judge(&tools).await);
    findings.extend(zipkin::judge(&tools).await);
    findings.extend(collector::judge(&tools).await);
    for peer in &peers {
        if let Some((name, path)) = peer.split_once('=') {
            findings.extend(peer::judge(name, Path::new(path)).await);
        }
    }
    for finding in &findings {
        eprintln!("observe: {finding}");
    }
    if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Two sidecars of one configuration, the first of which calls the second.
struct Pair {
    _mesh: Mesh,
    _app: HttpApp,
    caller: Daprd,
    callee: Daprd,
}

impl Pair {
    /// With `spec` of the configuration, indented by two blanks.
    async fn start(spec: &str) -> Self {
        let mesh = Mesh::with_configuration(spec);
        let app = HttpApp::start(Protocol::Http, |_: Request| async { text(200, "here") }).await;
        let start = |id: &str| mesh.sidecar(id).app_port(app.port).log_level("warn").start();
        let (caller, callee) = (start("caller").await, start("callee").await);
        Self {
            caller,
            callee,
            _mesh: mesh,
            _app: app,
        }
    }

    async fn call(&self) {
        for _ in 0..CALLS {
            let answer = reqwest::get(self.caller.invoke_url("callee", "orders")).await;
            let answer = answer.expect("the sidecar answers");
            assert_eq!(answer.status(), 200, "a call between the two");
        }
    }

    async fn stop(self) {
        self.caller.stop().await;
        self.callee.stop().await;
    }
}

/// Asks again and again until the answer is what is wanted; what it was last is the finding.
async fn until<T, F: Future<Output = Result<T, String>>>(mut ask: impl FnMut() -> F) -> Result<T, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(_) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(300)).await,
            asked => return asked,
        }
    }
}
