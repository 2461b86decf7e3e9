//! `dist`: the release binary, static where the toolchain can.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{Outcome, cargo, output, root, step};

/// The target of a static binary for this machine's architecture.
fn musl() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

pub(crate) fn run() -> Outcome {
    let mut build = cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "daprd-bin",
        "--bin",
        "daprd",
    ]);
    let target = static_target()?;
    match &target {
        Some(target) => {
            build.args(["--target", target]);
        }
        None => println!(
            "The target {0} is not installed (rustup target add {0}): \
             the binary will need the C library of this machine.",
            musl()
        ),
    }
    step("daprd, optimised", &mut build)?;
    let folder = target_folder()?;
    let built = match target {
        Some(target) => folder.join(target).join("release/daprd"),
        None => folder.join("release/daprd"),
    };
    let dist = root().join("dist");
    fs::create_dir_all(&dist).map_err(|error| format!("{}: {error}", dist.display()))?;
    let to = dist.join("daprd");
    let bytes = fs::copy(&built, &to).map_err(|error| format!("{}: {error}", built.display()))?;
    println!("{} ({:.1} MB)", to.display(), bytes as f64 / 1e6);
    Ok(())
}

fn static_target() -> Result<Option<String>, String> {
    let musl = musl();
    let root = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let installed = Path::new(root.trim()).join("lib/rustlib").join(&musl).is_dir();
    Ok(installed.then_some(musl))
}

pub(crate) fn target_folder() -> Result<std::path::PathBuf, String> {
    let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let folder = metadata["target_directory"]
        .as_str()
        .ok_or("cargo metadata names no target folder")?;
    Ok(folder.into())
}
