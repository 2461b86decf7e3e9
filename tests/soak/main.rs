//! `soak`: calls of every kind for a long time, while apps and sidecars are killed, stopped and started again.
//!
//! Two sidecars call; they are never touched, and what they hold is watched. Three instances of each of two apps
//! answer; one of them is always going down or coming up. A call may fail while its instance dies. It must never be
//! answered wrongly, never look complete when it is not, and never hang. With `--reload` nothing dies: configuration and
//! resources of the callers change, and no call may fail.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that shows something to a person"
)]

mod apps;
mod calls;
mod chaos;
mod options;
mod reload;
mod steady;
mod tally;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apps::echo;
use calls::Caller;
use integration_tests::{Daprd, DaprdBuilder, Instances, Mesh, Protocol};
use options::{Options, USAGE};
use reload::Changes;
use tally::{Held, Tally};
use tokio::task::JoinSet;

/// How long the sidecars may take to get to work before what they hold is measured.
const WARM_UP: Duration = Duration::from_secs(20);
/// How much more memory a calling sidecar may hold at the end than after the warm-up.
const GROWTH: u64 = 16 << 20;
/// How many more descriptors.
const MORE_FILES: usize = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("soak: {message}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}, {:?}", options.seed, options.length);
    let mesh = Mesh::new();
    let tally = Arc::<Tally>::default();
    let groups = [
        instances(&mesh, "soak-http", Protocol::Http).await,
        instances(&mesh, "soak-h2c", Protocol::H2c).await,
    ];
    let mut changes = options
        .reloads
        .then(|| Changes::new(&mesh, [groups[0].port(0), groups[0].port(1)], options.seed));
    let start = |id: &str| {
        let level = if options.reloads { "fatal" } else { "error" };
        let mut sidecar = match &changes {
            None => mesh.sidecar(id),
            Some(changes) => changes
                .args()
                .into_iter()
                .fold(DaprdBuilder::new(id), DaprdBuilder::arg),
        };
        sidecar = sidecar.log_level(level);
        sidecar.start()
    };
    let callers = Arc::new([start("soak-caller-1").await, start("soak-caller-2").await]);
    let mut workers = JoinSet::new();
    let end = Instant::now() + options.length;
    if options.reloads {
        for sidecar in callers.iter() {
            let (port, tally) = (sidecar.http_port, Arc::clone(&tally));
            workers.spawn(async move { steady::call_until(port, end, &tally).await });
        }
    }
    for worker in 0..options.workers {
        let sidecar = &callers[worker % callers.len()];
        let mut caller = Caller::new(sidecar.http_port, sidecar.grpc_port, options.seed + worker as u64);
        if options.reloads {
            caller = caller.with_endpoint("soak-web");
        }
        let tally = Arc::clone(&tally);
        workers.spawn(async move { caller.call_until(end, &tally).await });
    }
    let begun = match changes.take() {
        None => {
            let seed = options.seed;
            tokio::spawn(async move { (chaos::make(groups, end, seed).await, None) })
        }
        Some(changes) => {
            let callers = Arc::clone(&callers);
            // The apps last as long as the calls.
            tokio::spawn(async move { (changes.make(end, &*callers).await, Some(groups)) })
        }
    };
    let before = settle(&*callers, end).await;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        tokio::time::sleep(left.min(Duration::from_secs(30))).await;
        println!("{}", tally.line());
    }
    while workers.join_next().await.is_some() {}
    let (events, _groups) = begun.await.expect("the chaos ends");
    let after: Vec<Held> = callers.iter().map(|caller| Held::by(caller.pid())).collect();
    let what = if options.reloads {
        "changes"
    } else {
        "kills, stops and restarts"
    };
    println!("\n{}\n{events} {what}", tally.report());
    let mut problems = tally.problems(options.reloads);
    if options.reloads {
        problems.extend(reload::ends_in_the_last_state(&callers[..]).await);
    }
    for (name, (before, after)) in ["caller 1", "caller 2"].iter().zip(before.iter().zip(&after)) {
        println!("{name}: {before} after the warm-up, {after} at the end");
        if after.memory > before.memory + GROWTH || after.files > before.files + MORE_FILES {
            problems.push(format!("{name} holds more and more"));
        }
    }
    for caller in Arc::into_inner(callers).expect("nobody else has them") {
        let exit = caller.stop().await;
        if exit.code != Some(0) {
            problems.push(format!("a caller ended with {:?}", exit.code));
        }
    }
    for problem in &problems {
        eprintln!("soak: {problem}");
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Three instances of an app that gives back what it gets.
async fn instances(mesh: &Mesh, app_id: &str, protocol: Protocol) -> Instances {
    let sidecar = mesh.sidecar(app_id).log_level("error");
    Instances::start(3, protocol, sidecar, |_, request| echo(request)).await
}

/// What the callers hold once they are at work.
async fn settle(callers: &[Daprd], end: Instant) -> Vec<Held> {
    let left = end.saturating_duration_since(Instant::now());
    tokio::time::sleep(WARM_UP.min(left / 4)).await;
    callers.iter().map(|caller| Held::by(caller.pid())).collect()
}
