//! `simulate`: what becomes of thousands of sidecars when all start at once, when instances come, go, die, get slow or
//! refuse, and when the network is cut.
//!
//! The sidecars that call are those of the product, from the call of an app to the choice of an endpoint and the next
//! attempt: `invoke-core`'s `Outbound` with its balancer, `resiliency`'s policies, the watches of `name-resolution`, the
//! queue of `app-channel`. The network, the instances and the clock are simulated, in one thread: the clock of Tokio
//! jumps to the next event, and chance has a seed. So a minute of a thousand sidecars takes seconds, and the same seed
//! always gives the same result.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that shows something to a person"
)]

mod callers;
mod instance;
mod links;
mod names;
mod options;
mod picture;
mod report;
mod scene;
mod signal;
mod sizes;
mod tally;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
mod tests;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use options::{Options, USAGE};
use report::Report;
use sizes::Sizes;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("simulate: {message}");
            return ExitCode::from(2);
        }
    };
    if options.is_for_sizes {
        println!("{}", Sizes::HEAD);
        for count in [1, 10, 100, 1_000, 10_000, 100_000] {
            println!("{}", Sizes::of(count).line());
        }
        return ExitCode::SUCCESS;
    }
    println!("seed {}\n\n{}", options.seed, Report::HEAD);
    let mut is_well = true;
    let mut reports = Vec::new();
    for scene in &options.scenes {
        for scale in &options.scales {
            let begun = Instant::now();
            let report = match scene::play(*scene, *scale, options.seed) {
                Ok(played) => Report::of(*scene, &played),
                Err(error) => {
                    eprintln!("simulate: {error}");
                    return ExitCode::FAILURE;
                }
            };
            println!("{}  [{:.1} s]", report.line(), begun.elapsed().as_secs_f64());
            for problem in &report.problems {
                is_well = false;
                eprintln!(
                    "simulate: {problem}; again with --scene {} --scale {scale} --seed {}",
                    scene.name(),
                    options.seed
                );
            }
            reports.push(report);
        }
    }
    if let Some(file) = &options.picture
        && let Err(error) = std::fs::write(file, picture::svg(&reports))
    {
        eprintln!("simulate: {}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
