//! `test`, `it` and `models`: the kinds of tests.

use crate::fuzz;
use crate::run::{Outcome, cargo, step};

/// The package of the integration suite.
const SUITE: &str = "integration-tests";
/// The crates that have models.
const MODELLED: [&str; 4] = ["app-channel", "http2", "invoke-core", "transport"];
/// How many integration tests run at a time.
const AT_ONCE: u32 = 8;

/// Unit tests: everything but the integration suite and the fuzz targets.
pub(crate) fn unit(args: &[String]) -> Outcome {
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--exclude",
        SUITE,
        "--exclude",
        fuzz::PACKAGE,
        "--locked",
    ]);
    step("unit tests", command.args(args))
}

/// The small binary: what it leaves out is missed nowhere, and refused by its name.
pub(crate) fn lean() -> Outcome {
    let lean = [
        "test",
        "--package",
        "daprd-bin",
        "--package",
        "middleware",
        "--no-default-features",
        "--features",
        "daprd-bin/lean",
        "--locked",
    ];
    let mut test = cargo(&lean);
    step(
        "unit tests, few components",
        test.args(["--bins", "--lib", "--", "load", "components"]),
    )
}

/// The resolver that is not in the usual build, in a step of its own: the SDK that it needs is to be in no other test.
pub(crate) fn cloud_map() -> Outcome {
    let feature = [
        "--package",
        "name-resolution",
        "--features",
        "aws-cloudmap",
        "--locked",
    ];
    let mut clippy = cargo(&["clippy", "--all-targets", "--quiet"]);
    clippy.args(feature).args(["--", "-D", "warnings"]);
    step("clippy, aws-cloudmap", &mut clippy)?;
    let mut test = cargo(&["test", "--lib"]);
    step("unit tests, aws-cloudmap", test.args(feature).arg("cloudmap"))
}

/// The models, crate by crate: the feature `model` exchanges what a crate is built on, so nothing else of it can be tested
/// at the same time.
pub(crate) fn models(args: &[String]) -> Outcome {
    let mut command = cargo(&["test", "--lib", "--locked"]);
    for name in MODELLED {
        command.args(["--package", name, "--features", &format!("{name}/model")]);
    }
    step("models", command.args(["model::", "--"]).args(args))
}

/// What was recorded of policies, once more with the program that it was recorded from, or with another one.
fn recorded(peer: &str) -> Outcome {
    let (name, path) = peer
        .split_once('=')
        .ok_or_else(|| format!("--peer: {peer:?} is not NAME=PATH"))?;
    let path = std::path::absolute(path).map_err(|error| format!("--peer: {path}: {error}"))?;
    let mut command = cargo(&["test", "--package", SUITE, "--locked", "--test", "it", "--"]);
    command.arg("resiliency::recorded").env("DAPRD_BIN", path);
    // All that every daprd knows: run it where sidecars can multicast.
    command.env("DAPRD_PEER", name).env("DAPRD_RESOLVER", "mdns");
    step(&format!("what was recorded, live with {name}"), &mut command)
}

/// Integration tests against the binary, which is built first. With `--peer` another binary plays what is recorded.
pub(crate) fn integration(args: &[String]) -> Outcome {
    step(
        "daprd",
        &mut cargo(&["build", "--package", "daprd-bin", "--bin", "daprd", "--locked"]),
    )?;
    if let [flag, peer] = args
        && flag == "--peer"
    {
        return recorded(peer);
    }
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
