//! `interop`: what others wrote judges whole sidecars: h2spec their HTTP/2, gRPC for Go their proxying, `nghttp` and
//! `h2load` both versions of cleartext HTTP/2.
//!
//! The programs are looked for in the folder that `--tools` names, and on the path. One that is missing judges nothing,
//! which is said; a judge that was there and was not content fails the run.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that shows something to a person"
)]

mod grpc;
mod h2spec;
mod judge;
mod nghttp2;

use std::path::PathBuf;
use std::process::ExitCode;

use integration_tests::{HttpApp, Mesh, Protocol, Request, Tools, text};

const USAGE: &str = "\
interop [OPTIONS]

  --tools FOLDER         where h2spec and gRPC's interop client and server are, if not on the path
  --peer NAME=PATH       another daprd, which calls and is called, too; may be repeated
  --help                 this text
";

/// What a judge found wrong, in words; nothing when it was content.
type Findings = Vec<String>;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("interop: {message}");
            return ExitCode::from(2);
        }
    };
    let tools = Tools::new(options.tools);
    let mesh = Mesh::new();
    let app = HttpApp::start(Protocol::Http, |_: Request| async { text(200, "here") }).await;
    let judged = mesh
        .sidecar("interop-judged")
        .app_port(app.port)
        .arg("--enable-mtls=false")
        .log_level("warn")
        .start()
        .await;
    let mut findings = h2spec::judge(&tools, &judged).await;
    findings.extend(nghttp2::judge(&tools, &judged).await);
    judged.stop().await;
    findings.extend(grpc::judge(&tools, &mesh, &options.peers).await);
    for finding in &findings {
        eprintln!("interop: {finding}");
    }
    if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Options {
    tools: Option<PathBuf>,
    /// Names and binaries.
    peers: Vec<(String, PathBuf)>,
}

impl Options {
    /// Reads a command line; `None` when it asks for help.
    fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--tools" => options.tools = Some(value.into()),
                "--peer" => {
                    let (name, path) = value
                        .split_once('=')
                        .ok_or_else(|| format!("--peer: {value:?} is not NAME=PATH"))?;
                    options.peers.push((name.to_owned(), path.into()));
                }
                _ => return Err(format!("there is no option {name:?}; --help tells all")),
            }
        }
        Ok(Some(options))
    }
}
