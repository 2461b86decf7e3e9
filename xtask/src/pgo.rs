//! Profile-guided optimisation: a build that counts, calls through it, and a build that is laid out after the counts.
//!
//! What calls go through lies together then, and what they do not is small. The calls are those of the bench, with mTLS
//! and without.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::dist::{Build, host};
use crate::run::{cargo, has, step};

/// The calls that are counted.
const CALLS: [&str; 7] = [
    "http",
    "grpc-proxy",
    "grpc-stream",
    "invoke-service",
    "http-to-grpc",
    "large-body",
    "start",
];

/// Builds twice and makes calls in between; returns how to build what is optimised after the counts.
pub(crate) fn guided(sysroot: &Path, plain: Build) -> Result<Build, String> {
    let merge = sysroot
        .join("lib/rustlib")
        .join(host()?)
        .join("bin/llvm-profdata");
    if !merge.is_file() {
        return Err("dist --pgo needs LLVM's tools: rustup component add llvm-tools".to_owned());
    }
    if !has("oha") {
        return Err("dist --pgo calls with oha: cargo install --locked oha".to_owned());
    }
    let counts = plain.folder().join("pgo/counts");
    // What an older build counted does not fit this one; and cargo does not see that the counts behind a flag changed.
    for old in [&counts, &plain.folder().join("pgo/guided")] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(|error| format!("{}: {error}", old.display()))?;
        }
    }
    let counting = plain.apart("pgo/counting", format!("-Cprofile-generate={}", counts.display()))?;
    let binary = counting.run("daprd that counts", "full")?;
    step("calls to count", &mut calls(&binary))?;

    let profile = plain.folder().join("pgo/daprd.profdata");
    let mut merging = Command::new(&merge);
    merging.arg("merge").arg("--output").arg(&profile).arg(&counts);
    step("counts, merged", &mut merging)?;

    plain.apart("pgo/guided", format!("-Cprofile-use={}", profile.display()))
}

fn calls(daprd: &Path) -> Command {
    let mut command = cargo(&["run", "--quiet", "--release", "--locked"]);
    command.args(["--package", "integration-tests", "--bin", "bench", "--"]);
    command.arg("--daprd").arg(daprd);
    for kind in CALLS {
        command.args(["--kind", kind]);
    }
    command.args(["--mtls", "--chain", "daprd-rs", "--chain", "daprd-rs+mtls"]);
    command.args(["--rounds", "1", "--seconds", "2"]);
    command
}
