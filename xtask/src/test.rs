//! `test` and `it`: the two kinds of tests.

use crate::run::{Outcome, cargo, step};

/// The package of the integration suite.
const SUITE: &str = "integration-tests";
/// How many integration tests run at a time.
const AT_ONCE: u32 = 8;

/// Unit tests: everything but the integration suite.
pub(crate) fn unit(args: &[String]) -> Outcome {
    let mut command = cargo(&["test", "--workspace", "--exclude", SUITE, "--locked"]);
    step("unit tests", command.args(args))
}

/// Integration tests against the binary, which is built first.
pub(crate) fn integration(args: &[String]) -> Outcome {
    step(
        "daprd",
        &mut cargo(&["build", "--package", "daprd-bin", "--bin", "daprd", "--locked"]),
    )?;
    let keep_logs = args.iter().any(|arg| arg == "--keep-logs");
    let filter: Vec<&String> = args.iter().filter(|arg| *arg != "--keep-logs").collect();
    let mut command = cargo(&["test", "--package", SUITE, "--locked", "--"]);
    // Most of a test is waiting for processes and time limits, so more of them run at once than there are cores.
    command.arg(format!("--test-threads={AT_ONCE}"));
    command.args(filter);
    if keep_logs {
        command.arg("--nocapture").env("KEEP_LOGS", "1");
    }
    step("integration tests", &mut command)
}
