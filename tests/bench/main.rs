//! `bench`: what two sidecars cost a call, beside no sidecar and beside another daprd.
//!
//! Every round of a chain starts its sidecars anew; the rounds of the chains are interleaved, in an order that
//! rotates, so that a slow moment of the machine does not fall on one chain alone.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that shows something to a person"
)]

mod app;
mod chain;
mod extremes;
mod figures;
mod load;
mod measure;
mod options;
mod process;
mod report;

use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::time::Instant;

use app::BenchApp;
use chain::Chain;
use extremes::Extremes;
use load::Oha;
use options::{Options, USAGE};
use report::Measured;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("bench: {message}");
            return ExitCode::from(2);
        }
    };
    // What is dropped ends, sidecars and oha too.
    let outcome = tokio::select! {
        outcome = run(&options) => outcome,
        () = interrupt() => Err("interrupted".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\nbench: {message}");
            ExitCode::FAILURE
        }
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

async fn run(options: &Options) -> Result<(), String> {
    let oha = Oha::find()?;
    let chains = chain::all(options)?;
    let open_files = process::raise_open_files();
    // The client and the app each have a connection for every call of the crowd.
    let needed = 2 * options.concurrent as u64 + 200;
    if open_files.is_some_and(|allowed| allowed < needed) {
        return Err(format!(
            "{} calls at the same time need {needed} open files, allowed are {}: ulimit -n, or --concurrent N",
            options.concurrent,
            open_files.unwrap_or(0)
        ));
    }
    let machine = machine(&chains, &oha, options);
    for (name, value) in &machine {
        println!("{name:<12}{value}");
    }
    if cfg!(debug_assertions) {
        println!(
            "\nThis build is not optimised: its figures mean little. `cargo xtask bench` builds one that is."
        );
    }
    println!();

    let mut all: Vec<_> = chains
        .into_iter()
        .map(|chain| Measured {
            chain,
            rounds: Vec::new(),
            extremes: Extremes::default(),
            problems: Vec::new(),
        })
        .collect();
    rounds(&mut all, &oha, options).await;
    for one in &mut all {
        let begun = progress(&format!(
            "{}, large bodies and many calls at once",
            one.chain.name
        ));
        one.extremes = Extremes::measure(&one.chain, &oha, options).await;
        one.problems.extend(one.extremes.problems());
        done(begun);
    }

    println!(
        "\nMedians of {} rounds. RSS loaded is the peak after the closed loop.",
        options.rounds
    );
    if !options.peers.is_empty() {
        println!(
            "A ratio is our figure divided by the peer's: more is better for calls/s and MiB/s, less for the rest."
        );
    }
    println!();
    println!("{}", report::table(&all, options));
    for one in &all {
        for problem in &one.problems {
            println!("{}: {problem}", one.chain.name);
        }
    }
    if let Some(file) = &options.json {
        let text = format!("{:#}\n", report::json(&all, &machine, options));
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        println!("JSON: {}", file.display());
    }
    // What goes wrong with a peer is a figure like any other.
    let own = &all[..all.len() - options.peers.len()];
    if own.iter().any(|one| !one.problems.is_empty()) {
        return Err("not every call was answered; what went wrong stands above".to_owned());
    }
    Ok(())
}

/// All rounds of all chains.
async fn rounds(all: &mut [Measured], oha: &Oha, options: &Options) {
    let app = BenchApp::start(options.body);
    let chains = all.len();
    for round in 0..options.rounds {
        for at in 0..chains {
            let one = &mut all[(round + at) % chains];
            let name = &one.chain.name;
            let begun = progress(&format!("round {} of {}, {name}", round + 1, options.rounds));
            let measured = match measure::round(&one.chain, &app, oha, options).await {
                Ok(measured) => measured,
                Err(problem) => {
                    println!("failed: {problem}");
                    one.problems.push(format!("round {}: {problem}", round + 1));
                    continue;
                }
            };
            print!("{:.0} calls/s, ", measured.closed.per_second);
            done(begun);
            for (what, report) in [("closed loop", &measured.closed), ("open loop", &measured.open)] {
                if report.errors > 0 {
                    let reasons = report.reasons.join(", ");
                    one.problems
                        .push(format!("round {}, {what}: {reasons}", round + 1));
                }
            }
            one.rounds.push(measured);
        }
    }
}

/// The machine and the programs.
fn machine(chains: &[Chain], oha: &Oha, options: &Options) -> Vec<(String, String)> {
    let mut lines = process::machine();
    lines.push((
        "load".to_owned(),
        process::first_line(Command::new(oha.program()).arg("--version")),
    ));
    lines.push(("names".to_owned(), options.resolver.name().to_owned()));
    for chain in chains {
        if let Some(binary) = &chain.binary {
            lines.push((chain.name.clone(), process::describe(binary)));
        }
    }
    lines
}

fn progress(what: &str) -> Instant {
    print!("{what} ... ");
    let _ = std::io::stdout().flush();
    Instant::now()
}

fn done(begun: Instant) {
    println!("{:.0} s", begun.elapsed().as_secs_f64());
}
