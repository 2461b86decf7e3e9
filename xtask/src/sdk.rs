//! `sdk`: the published SDK packages against two sidecars.
//!
//! These tests need an interpreter and a package registry, so they are no part of `ci`. What they install is pinned
//! and stays in the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::dist::target_folder;
use crate::run::{Outcome, cargo, has, output, root, step};

/// The oldest versions that the SDKs and the tests run on.
const PYTHON: (u32, u32) = (3, 11);
const NODE: (u32, u32) = (20, 14);

/// A language: its name, and what runs its tests against a binary.
type Language = (&'static str, fn(&Path, &Path) -> Outcome);

const LANGUAGES: &[Language] = &[("python", python), ("javascript", javascript)];

pub(crate) fn run(args: &[String]) -> Outcome {
    let known = |name: &str| LANGUAGES.iter().find(|(known, _)| *known == name);
    let mut chosen = Vec::new();
    for name in args {
        chosen.push(
            *known(name).ok_or_else(|| format!("there are no tests for {name:?}: python, javascript"))?,
        );
    }
    if chosen.is_empty() {
        chosen = LANGUAGES.to_vec();
    }
    step(
        "daprd",
        &mut cargo(&["build", "--package", "daprd-bin", "--bin", "daprd", "--locked"]),
    )?;
    let target = target_folder()?;
    let daprd = target.join("debug/daprd");
    let mut failed = Vec::new();
    for (name, tests) in chosen {
        let folder = target.join("sdk").join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if let Err(error) = tests(&folder, &daprd) {
            println!("    {error}");
            failed.push(name);
        }
    }
    match failed[..] {
        [] => Ok(()),
        _ => Err(format!("not proven with: {}", failed.join(", "))),
    }
}

fn python(folder: &Path, daprd: &Path) -> Outcome {
    let interpreter = "python3";
    new_enough(interpreter, PYTHON, "https://www.python.org")?;
    let sources = root().join("tests/sdk/python");
    let wanted = sources.join("requirements.txt");
    let environment = folder.join("venv");
    let inside = environment.join("bin/python");
    install(folder, &wanted, &inside, |what| {
        let mut make = Command::new(interpreter);
        step(
            "python: a virtual environment",
            make.args(["-m", "venv", "--clear"]).arg(&environment),
        )?;
        let mut pip = Command::new(&inside);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        step(what, pip.arg("--requirement").arg(&wanted))
    })?;
    let mut tests = Command::new(&inside);
    tests.args(["-B", "-W", "ignore", "-m", "unittest", "--verbose"]);
    step("python", tests.current_dir(sources).env("DAPRD_BIN", daprd))
}

fn javascript(folder: &Path, daprd: &Path) -> Outcome {
    new_enough("node", NODE, "https://nodejs.org")?;
    if !has("npm") {
        return Err("npm is missing, which comes with node".to_owned());
    }
    // Modules are looked for beside the file that wants them.
    let sources = root().join("tests/sdk/javascript");
    for name in [
        "package.json",
        "package-lock.json",
        "sidecars.mjs",
        "invocation.test.mjs",
        "limits.test.mjs",
    ] {
        let from = sources.join(name);
        fs::copy(&from, folder.join(name)).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    let wanted = folder.join("package-lock.json");
    install(folder, &wanted, &folder.join("node_modules"), |what| {
        let mut npm = Command::new("npm");
        npm.args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]);
        step(what, npm.current_dir(folder))
    })?;
    let mut tests = Command::new("npm");
    tests.args(["test", "--silent"]);
    step("javascript", tests.current_dir(folder).env("DAPRD_BIN", daprd))
}

/// Installs what a file names, unless that was done before.
fn install(folder: &Path, wanted: &Path, made: &Path, install: impl FnOnce(&str) -> Outcome) -> Outcome {
    let wanted = fs::read(wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    let stamp: PathBuf = folder.join("installed");
    if made.exists() && fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let what = "the packages of the SDK";
    install(what).map_err(|error| format!("{error}: can the package registry be reached?"))?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))
}

/// Whether an interpreter is there, in a version that will do.
fn new_enough(program: &str, (major, minor): (u32, u32), home: &str) -> Outcome {
    let advice = format!("{program} {major}.{minor} or newer is needed: {home}");
    let mut command = Command::new(program);
    if !command
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        return Err(format!("{program} is missing; {advice}"));
    }
    let shown = output(Command::new(program).arg("--version"))?;
    match version(&shown) {
        Some(found) if found >= (major, minor) => Ok(()),
        _ => Err(format!("this is {}; {advice}", shown.trim())),
    }
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let digits = text.trim_start_matches(|character: char| !character.is_ascii_digit());
    let mut numbers = digits.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, wanted) in [
            ("Python 3.11.7\n", Some((3, 11))),
            ("v20.20.2\n", Some((20, 20))),
            ("v21", None),
            ("none", None),
        ] {
            assert_eq!(version(text), wanted, "{text:?}");
        }
    }
}
