//! `bench`: what two sidecars cost a call, beside no sidecar, other proxies and another daprd.
//!
//! Every round of a chain starts its processes anew; the rounds of the chains are interleaved, in an order that
//! rotates, so that a slow moment of the machine does not fall on one chain alone.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that shows something to a person"
)]

mod app;
mod axis;
mod callers;
mod certificates;
mod chain;
mod curve;
mod curve_plot;
mod extremes;
mod figures;
mod grpc;
mod hop;
mod kind;
mod load;
mod measure;
mod mover;
mod options;
mod pace;
mod plot;
mod process;
mod proxy_config;
mod relay;
mod relay_tls;
mod report;
mod sidecar;
mod stack;
mod sweep;

use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::time::Instant;

use axis::Axis;
use chain::{Chain, OWN};
use curve::Curve;
use kind::{Kind, Scene};
use load::Oha;
use options::{Options, USAGE};
use report::{Measured, OfChain};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("relay", args)) => ended(in_runtime(relay::run(args)).and_then(|ended| ended)),
        Some(("mover", args)) => ended(mover::run(args)),
        _ => in_runtime(bench(args)).unwrap_or_else(|problem| ended(Err(problem))),
    }
}

/// With a thread for each processor.
fn in_runtime<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    Ok(runtime.block_on(work))
}

async fn bench(args: Vec<String>) -> ExitCode {
    let options = match Options::parse(args) {
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
    if let Some(figures) = &options.plot {
        return ended(plot::draw(figures, &options.picture, &options.curves));
    }
    // What is dropped ends, sidecars and oha too.
    let outcome = tokio::select! {
        outcome = run(&options) => outcome,
        () = interrupt() => Err("interrupted".to_owned()),
    };
    ended(outcome)
}

fn ended(outcome: Result<(), String>) -> ExitCode {
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
    check_open_files(options)?;
    let machine = machine(&chains, &oha, options);
    for (name, value) in &machine {
        println!("{name:<16}{value}");
    }
    if cfg!(debug_assertions) {
        println!(
            "\nThis build is not optimised: its figures mean little. `cargo xtask bench` builds one that is."
        );
    }
    println!();
    let scenes = options.kinds.iter().flat_map(|kind| kind.scenes());
    let mut all: Vec<Measured> = Vec::new();
    for scene in scenes {
        if all.iter().all(|measured| measured.scene != *scene) {
            all.push(measure(*scene, &chains, &oha, options).await);
        }
    }
    let mut curves = Vec::new();
    for axis in &options.axes {
        curves.push(sweep(*axis, &chains, &oha, options).await);
    }
    println!(
        "\nMedians of {} rounds, with the least and the greatest. RSS loaded is the peak after the closed loop.\n\
         A ratio is the median of {OWN} divided by the other's: more is better for calls/s and MiB/s, less for the rest.\n",
        options.rounds
    );
    for measured in &all {
        println!("{}", measured.table(options));
    }
    for curve in &curves {
        println!("{}", curve.table());
    }
    for (what, name, problem) in problems(&all, &curves) {
        println!("{what}, {name}: {problem}");
    }
    if let Some(file) = &options.json {
        let text = format!("{:#}\n", report::json(&all, &curves, &machine, options));
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        println!("JSON: {}", file.display());
    }
    // What goes wrong with a peer is a figure like any other.
    if problems(&all, &curves).any(|(_, name, _)| chain::is_own(name)) {
        return Err("not every call was answered; what went wrong stands above".to_owned());
    }
    Ok(())
}

/// What went wrong: in which measurement, of which chain, what.
fn problems<'a>(
    all: &'a [Measured],
    curves: &'a [Curve],
) -> impl Iterator<Item = (&'static str, &'a str, &'a str)> {
    let of_scenes = all.iter().flat_map(|measured| {
        let chains = measured.chains.iter();
        chains.map(|chain| (measured.scene.name(), &*chain.name, &chain.problems))
    });
    let of_axes = curves.iter().flat_map(|curve| {
        let chains = curve.chains.iter();
        chains.map(|chain| (curve.axis.name(), &*chain.name, &chain.problems))
    });
    of_scenes
        .chain(of_axes)
        .flat_map(|(what, name, problems)| problems.iter().map(move |problem| (what, name, &**problem)))
}

/// The client and the app each have a connection for every call of a crowd.
fn check_open_files(options: &Options) -> Result<(), String> {
    let crowd = if options.kinds.contains(&Kind::Crowd) {
        options.concurrent
    } else {
        0
    };
    let idle = if options.kinds.contains(&Kind::IdleConnections) {
        options.idle
    } else {
        0
    };
    let grown = options.axes.iter().map(|axis| axis.most_connections()).max();
    let most = crowd.max(idle).max(options.connections).max(grown.unwrap_or(0));
    let needed = 2 * most as u64 + 200;
    match process::raise_open_files() {
        Some(allowed) if allowed < needed => Err(format!(
            "so many connections need {needed} open files, allowed are {allowed}: ulimit -n"
        )),
        _ => Ok(()),
    }
}

/// All rounds of all chains of one scene.
async fn measure(scene: Scene, chains: &[Chain], oha: &Oha, options: &Options) -> Measured {
    let chains: Vec<_> = chains.iter().filter(|chain| chain.suits(scene)).collect();
    let mut measured: Vec<_> = chains
        .iter()
        .map(|chain| OfChain {
            name: chain.name.clone(),
            rounds: Vec::new(),
            problems: Vec::new(),
        })
        .collect();
    for round in 0..options.rounds {
        for at in 0..chains.len() {
            let at = (round + at) % chains.len();
            let (chain, measured) = (chains[at], &mut measured[at]);
            let number = round + 1;
            let begun = progress(&format!(
                "{}, round {number} of {}, {}",
                scene.name(),
                options.rounds,
                chain.name
            ));
            match measure::round(scene, chain, oha, options).await {
                Ok(sample) => {
                    if let Some(calls) = sample.figures.get("closed_calls_per_second") {
                        print!("{calls:.0} calls/s, ");
                    }
                    let problems = sample.problems.iter();
                    measured
                        .problems
                        .extend(problems.map(|problem| format!("round {number}, {problem}")));
                    measured.rounds.push(sample);
                    println!("{:.0} s", begun.elapsed().as_secs_f64());
                }
                Err(problem) => {
                    println!("failed: {problem}");
                    measured.problems.push(format!("round {number}: {problem}"));
                }
            }
        }
    }
    Measured {
        scene,
        chains: measured,
    }
}

/// All rounds of all chains of one axis.
async fn sweep(axis: Axis, chains: &[Chain], oha: &Oha, options: &Options) -> Curve {
    let chains: Vec<_> = chains.iter().filter(|chain| chain.suits_axis(axis)).collect();
    let mut curve = Curve {
        axis,
        chains: chains
            .iter()
            .map(|chain| curve::OfChain::new(&chain.name, axis))
            .collect(),
    };
    for round in 0..options.rounds {
        for at in 0..chains.len() {
            let at = (round + at) % chains.len();
            let number = round + 1;
            let (rounds, name) = (options.rounds, &chains[at].name);
            let begun = progress(&format!("{}, round {number} of {rounds}, {name}", axis.name()));
            let swept = sweep::round(axis, round, chains[at], oha, options).await;
            println!(
                "{} steps, {:.0} s",
                swept.steps.len(),
                begun.elapsed().as_secs_f64()
            );
            curve.add(at, number, swept);
        }
    }
    curve
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
        if let Some(description) = chain.description() {
            lines.push((chain.name.clone(), description));
        }
    }
    lines
}

fn progress(what: &str) -> Instant {
    print!("{what} ... ");
    let _ = std::io::stdout().flush();
    Instant::now()
}
