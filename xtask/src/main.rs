//! `cargo xtask`: everything that is done with this workspace, one command each.
//!
//! A command is a file of its own. It calls cargo and the project's own programs, prints what it does and how
//! long each step took, and says plainly what is missing when something is. Nothing here is needed to use the
//! crates; nothing here is part of the sidecar.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks to a person"
)]

mod ci;
mod corpus;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod interop;
mod limits;
mod observe;
mod pgo;
mod run;
mod sdk;
mod simulate;
mod test;
mod tidy;

use std::process::ExitCode;

use run::Outcome;

const USAGE: &str = "\
cargo xtask COMMAND

  demo [--once]                 apps, sidecars, calls over HTTP and gRPC; stays up until Ctrl-C without --once
  test [FILTER]                 unit tests
  it [FILTER] [--keep-logs]     integration tests: real daprd processes
  it --peer NAME=PATH           what is recorded of retries, timeouts and breakers, live with another daprd
  sdk [python] [javascript]     the published SDKs against two sidecars; installs them from their registries
  interop [--peer NAME=PATH]    h2spec, gRPC for Go, nghttp2 against sidecars; Go builds the first two
  observe [--peer NAME=PATH]    Prometheus, Zipkin, a collector of OpenTelemetry look at sidecars; fetches them
  fuzz [TARGET]                 fuzz targets: what is kept of earlier runs and 1,000 random inputs each
  fuzz [TARGET] --seconds N     N seconds each, led by the code that is reached; what reaches more is kept
  models [FILTER]               models of what tasks share, in many orders of what these do
  ci                            everything that CI checks: tidy, fmt, clippy, docs, test, models, fuzz, it, interop
  tidy                          the house rules: who may know whom, file sizes, licences of dependencies
  bench [OPTIONS]               calls through two sidecars, measured; `bench --help` tells the options
  bench --plot FILE.json        a picture of what was measured
  soak [--minutes N] [--reload] calls of every kind while apps and sidecars are killed and started again, or while
                                configuration and resources change
  chaos [--peer NAME=PATH]      what callers see when instances die, stall, are cut off, get slow or are replaced
  chaos --plot FILE.json        pictures of what they saw, which --json FILE has written
  simulate [OPTIONS]            what becomes of thousands of sidecars; `simulate --help` tells the options
  docs [--open]                 the API documentation and, with mdbook at hand, the book
  dist [--pgo]                  the release binaries in ./dist; --pgo lays them out after calls that it counts before
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let outcome: Outcome = match command {
        "demo" => demo::run(rest),
        "bench" => demo::bench(rest),
        "soak" => demo::soak(rest),
        "chaos" => demo::chaos(rest),
        "simulate" => simulate::run(rest),
        "test" => test::unit(rest),
        "it" => test::integration(rest),
        "fuzz" => fuzz::run(rest),
        "models" => test::models(rest),
        "sdk" => sdk::run(rest),
        "interop" => interop::run(rest),
        "observe" => observe::run(rest),
        "ci" => ci::run(),
        "tidy" => tidy::run(),
        "docs" => docs::run(rest),
        "dist" => dist::run(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        unknown => Err(format!("there is no command {unknown:?}\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\nxtask: {message}");
            ExitCode::FAILURE
        }
    }
}
