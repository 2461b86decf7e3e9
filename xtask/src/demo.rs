//! `demo`, `bench`, `soak` and `chaos`: programs of the integration-test package, built and started.

use crate::run::{Outcome, cargo, step};

pub(crate) fn run(args: &[String]) -> Outcome {
    step(
        "daprd",
        &mut cargo(&["build", "--package", "daprd-bin", "--bin", "daprd"]),
    )?;
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--package",
        "integration-tests",
        "--bin",
        "demo",
        "--",
    ]);
    step("demo", command.args(args))
}

pub(crate) fn bench(args: &[String]) -> Outcome {
    // A picture of what was measured needs no sidecar, and who names a binary needs no other.
    let has_binary = args
        .iter()
        .any(|arg| arg.starts_with("--plot") || arg.starts_with("--daprd"));
    optimised("bench", args, !has_binary)
}

pub(crate) fn soak(args: &[String]) -> Outcome {
    optimised("soak", args, true)
}

pub(crate) fn chaos(args: &[String]) -> Outcome {
    // A picture of what was played needs no sidecar.
    let is_picture = args.iter().any(|arg| arg == "--plot");
    optimised("chaos", args, !is_picture)
}

/// A program that measures: daprd and itself are built as they are released.
fn optimised(program: &str, args: &[String], needs_daprd: bool) -> Outcome {
    if needs_daprd {
        let mut build = cargo(&["build", "--release", "--package", "daprd-bin", "--bin", "daprd"]);
        step("daprd, optimised", &mut build)?;
    }
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--release",
        "--package",
        "integration-tests",
        "--bin",
        program,
        "--",
    ]);
    step(program, command.args(args))
}
