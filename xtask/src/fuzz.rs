//! `fuzz`: the targets with random inputs, or led by the code that they reach.
//!
//! An engine that sees which code an input reaches (libFuzzer, which `bolero` brings) needs counters in that code. `cargo fuzz`
//! and `cargo bolero` get them from nightly's sanitizers; stable has the same pass of LLVM, and takes its options. The engine
//! runs a test of its own accord and never returns to it, so each target is a run of its program with one test.
//!
//! What is found is kept in the target folder as a whole, and beside the targets in few files, where bolero's usual engine
//! replays them in every `cargo test`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::corpus;
use crate::dist::target_folder;
use crate::run::{Outcome, cargo, output, root, step};

/// The package of the fuzz targets.
pub(crate) const PACKAGE: &str = "fuzz";
/// How many inputs each target gets, unless a time is given.
const INPUTS: &str = "1000";
/// The place where bolero looks for inputs of a test, below the folder of the package.
const KEPT: &str = "tests/fuzz/__fuzz__";
/// As long are inputs at most, in bytes; bolero's own limit.
const LONGEST: u32 = 4096;
/// An input for which a target needs longer than this is a finding, in seconds.
const PATIENCE: u32 = 20;
/// What makes the compiler count which code is reached, and which numbers and texts are compared there.
const COVERAGE: &str = "--cfg fuzzing --cfg fuzzing_libfuzzer -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The fuzz targets: with what is kept and a bounded number of random inputs, or with `--seconds N` so long each, led by
/// the code that is reached.
pub(crate) fn run(args: &[String]) -> Outcome {
    let mut filter = Vec::new();
    let mut seconds = None;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            let number = args.next().and_then(|number| number.parse::<u32>().ok());
            seconds = Some(number.ok_or("--seconds needs a number")?);
        } else {
            filter.push(arg.as_str());
        }
    }
    match seconds {
        None => replay(&filter),
        Some(seconds) => explore(&filter, seconds),
    }
}

fn replay(filter: &[&str]) -> Outcome {
    let mut command = cargo(&[
        "test",
        "--package",
        PACKAGE,
        "--tests",
        "--locked",
        "--no-fail-fast",
    ]);
    command.env("BOLERO_RANDOM_ITERATIONS", INPUTS);
    step("fuzz targets", command.arg("--").args(filter))
}

/// A test of one of the programs.
struct Target {
    program: PathBuf,
    name: String,
}

fn explore(filter: &[&str], seconds: u32) -> Outcome {
    let folder = target_folder()?.join("coverage");
    let targets = targets(&folder, filter)?;
    if targets.is_empty() {
        return Err(format!("no target is called {}", filter.join(" or ")));
    }
    let mut failed = Vec::new();
    for target in &targets {
        if let Err(error) = target.explore(&folder, seconds) {
            println!("    {error}");
            failed.push(target.name.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}: what they fail with lies in {KEPT}/TARGET/crashes, and `cargo xtask fuzz TARGET` shows it small",
        failed.join(", ")
    ))
}

/// Builds the programs, and asks them for their tests.
fn targets(folder: &Path, filter: &[&str]) -> Result<Vec<Target>, String> {
    let build = || {
        let mut command = cargo(&["test", "--package", PACKAGE, "--tests", "--locked", "--no-run"]);
        command.args(["--profile", "fuzz", "--target"]).arg(host()?);
        // A target that is named, though it is this one, keeps the options away from build scripts and macros.
        command.env("RUSTFLAGS", COVERAGE).arg("--target-dir").arg(folder);
        Ok::<_, String>(command)
    };
    step("fuzz targets that count what they reach", &mut build()?)?;
    let messages = output(build()?.args(["--quiet", "--message-format", "json"]))?;
    let mut targets = Vec::new();
    for message in messages.lines() {
        let message: serde_json::Value =
            serde_json::from_str(message).map_err(|error| format!("cargo: {error}"))?;
        let is_test = message["target"]["kind"][0].as_str() == Some("test");
        let Some(program) = message["executable"].as_str().filter(|_| is_test) else {
            continue;
        };
        for line in output(Command::new(program).args(["--list", "--format", "terse"]))?.lines() {
            let Some(name) = line.strip_suffix(": test") else {
                continue;
            };
            if filter.is_empty() || filter.iter().any(|part| name.contains(part)) {
                targets.push(Target {
                    program: program.into(),
                    name: name.to_owned(),
                });
            }
        }
    }
    let mut names = BTreeSet::new();
    match targets.iter().find(|target| !names.insert(target.name.as_str())) {
        Some(twice) => Err(format!(
            "two targets are called {}: they would share what is kept",
            twice.name
        )),
        None => Ok(targets),
    }
}

/// The platform of this machine.
fn host() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc does not say what it runs on")?.to_owned())
}

impl Target {
    fn explore(&self, folder: &Path, seconds: u32) -> Outcome {
        let all = folder.join("corpus").join(&self.name);
        let kept = root().join(KEPT).join(self.name.replace("::", "__"));
        let (corpus, crashes) = (kept.join("corpus"), kept.join("crashes"));
        for folder in [&all, &corpus, &crashes] {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let limits = format!("-max_total_time={seconds} -timeout={PATIENCE} -rss_limit_mb=4096");
        let prefix = format!("-artifact_prefix={}/", crashes.display());
        let places = [all.display().to_string(), corpus.display().to_string()];
        let mut run = self.run(&[&limits, &prefix, &places[0], &places[1]])?;
        let ended = step(&format!("{} for {seconds} s", self.name), &mut run);
        let chosen = corpus::choose(&[&corpus, &all], |control| {
            let control = format!("-merge_control_file={}", control.display());
            output(&mut self.run(&["-merge_inner=2", &control])?).map(drop)
        })?;
        corpus::replace(&corpus, &chosen)?;
        let bytes: usize = chosen.iter().map(|input| input.bytes.len()).sum();
        println!(
            "    {}: {} inputs are kept, {bytes} bytes",
            self.name,
            chosen.len()
        );
        // It goes only if it is empty, which says that there was nothing.
        let _ = fs::remove_dir(&crashes);
        ended
    }

    /// The program with this test alone, and options for the engine.
    fn run(&self, options: &[&str]) -> Result<Command, String> {
        // The engine wants them in one text, with a blank between.
        if let Some(path) = options
            .iter()
            .find(|option| option.contains('/') && option.contains(' '))
        {
            return Err(format!(
                "{path:?}: a path with a blank in it cannot be told to the engine"
            ));
        }
        let mut command = Command::new(&self.program);
        command
            .arg(&self.name)
            .args(["--exact", "--nocapture", "--quiet", "--test-threads=1"]);
        let options = format!("-max_len={LONGEST} -verbosity=0 {}", options.join(" "));
        command.env("BOLERO_LIBFUZZER_ARGS", options).current_dir(root());
        Ok(command)
    }
}
