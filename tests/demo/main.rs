//! `demo`: three apps with a sidecar each, and calls between them by name, shown hop by hop.
//!
//! Without `--once` everything stays up until Ctrl-C, to be called by hand. Whatever was started ends with the
//! program.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that shows something to a person"
)]

mod apps;
mod call;
mod grpc;
mod stage;
mod style;
mod tour;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::stage::{Names, Stage};
use crate::style::Style;

const USAGE: &str = "\
demo [--once] [--mdns]

Starts two HTTP apps and a gRPC app with a sidecar each, and calls them by name over HTTP and gRPC.

  --once    ends after the calls, with a failure when anything was not as expected;
            otherwise everything stays up until Ctrl-C
  --mdns    names come from mDNS, as they do without any configuration, instead of a SQLite file
  --help    this text

  DAPRD_BIN=PATH runs another daprd binary. NO_COLOR=1 and an output that is no terminal switch colours off.
";

#[tokio::main]
async fn main() -> ExitCode {
    let mut once = false;
    let mut names = Names::Sqlite;
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--once" => once = true,
            "--mdns" => names = Names::Mdns,
            "--help" | "-h" => {
                print!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            unknown => {
                eprintln!("demo: there is no option {unknown:?}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let outcome = run(once, names).await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\ndemo: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(once: bool, names: Names) -> Result<(), String> {
    let style = Style::of_stdout();
    let mut stage = unless_interrupted(Stage::set(names)).await??;
    stage.introduce(style);
    let finding = unless_interrupted(tour::go(&mut stage, style)).await?;
    if let Err(message) = &finding {
        println!("\n{}", style.bad(message));
        stage.show_logs();
    } else {
        println!("\n{}", style.good("Every call was answered as expected."));
    }
    if once || finding.is_err() {
        let end = stage.clear().await;
        return finding.and(end);
    }
    if unless_interrupted(stage.stay(style)).await.is_err() {
        // A terminal tells the sidecars too, and they may be gone already.
        println!();
        let _ = stage.clear().await;
    }
    Ok(())
}

/// What the future gives, or an error when a signal comes first. What the future held is dropped then.
async fn unless_interrupted<T>(future: impl Future<Output = T>) -> Result<T, String> {
    tokio::select! {
        output = future => Ok(output),
        () = interrupt() => Err("interrupted".to_owned()),
    }
}

/// Waits for Ctrl-C or for the signal that a process manager sends.
async fn interrupt() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be waited for");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
