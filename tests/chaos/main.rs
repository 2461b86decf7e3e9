//! `chaos`: what callers see when one of three instances dies, stalls, gets slow, when it cannot be
//! reached any more, or when all of them are replaced.
//!
//! One sidecar calls an app that has three instances, at a steady rate, with calls that may be repeated. In each scene
//! something happens to an instance, and is undone later. What comes out is how many calls failed, how slow the others
//! were, and how soon all was as before. `--peer` plays the same scenes with other binaries.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that shows something to a person"
)]

mod apps;
mod calls;
mod figures;
mod link;
mod options;
mod picture;
mod report;
mod scene;

use std::process::ExitCode;

use options::{Options, USAGE};
use report::Report;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("chaos: {message}");
            return ExitCode::from(2);
        }
    };
    if let Some(figures) = &options.plot {
        return match picture::draw(figures, &options.pictures) {
            Ok(drawn) => {
                for file in drawn {
                    println!("{}", file.display());
                }
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("chaos: {message}");
                ExitCode::FAILURE
            }
        };
    }
    println!(
        "{} calls/s for {:?} in each scene, seed {}\n\n{}",
        options.rate,
        options.length,
        options.seed,
        Report::HEAD
    );
    let (mut problems, mut played) = (Vec::new(), Vec::new());
    for scene in &options.scenes {
        for binary in &options.binaries {
            let report = scene::play(*scene, binary, &options).await;
            println!("{}", report.line(scene.name(), &binary.name));
            played.push(figures::of_scene(*scene, &binary.name, &report, options.length));
            // Others are shown beside ours, and not judged.
            if binary.is_ours && scene.loses_nothing() && report.failed() > 0 {
                problems.push(format!("{}: {} calls failed", scene.name(), report.failed()));
            }
        }
    }
    if let Some(file) = &options.json {
        let text = format!("{:#}\n", figures::of_run(&options, played));
        if let Err(error) = std::fs::write(file, text) {
            problems.push(format!("{}: {error}", file.display()));
        }
    }
    for problem in &problems {
        eprintln!("chaos: {problem}");
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
