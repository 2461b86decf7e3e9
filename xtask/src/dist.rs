//! `dist`: the release binaries, static where the toolchain can; with `--pgo` laid out after a run of calls.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::pgo;
use crate::run::{Outcome, cargo, output, root, step};

/// The binaries: their names, and the features of `daprd-bin` that they have.
const BINARIES: [(&str, &str); 2] = [("daprd", "lean"), ("daprd-full", "full")];

/// A build of the binaries as they are released.
pub(crate) struct Build {
    /// The target triple, when it is not the toolchain's own.
    target: Option<String>,
    /// Where cargo builds.
    folder: PathBuf,
    /// A flag for rustc beside those of the environment.
    flag: Option<String>,
}

/// The target of a static binary for this machine's architecture.
fn musl() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

pub(crate) fn run(args: &[String]) -> Outcome {
    let is_guided = match args {
        [] => false,
        [arg] if arg == "--pgo" => true,
        _ => return Err("dist: the only option is --pgo".to_owned()),
    };
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let sysroot = Path::new(sysroot.trim());
    let build = Build {
        target: static_target(sysroot),
        folder: target_folder()?,
        flag: None,
    };
    if build.target.is_none() {
        println!(
            "The target {0} is not installed (rustup target add {0}): \
             the binary will need the C library of this machine.",
            musl()
        );
    }
    let (build, how) = if is_guided {
        (pgo::guided(sysroot, build)?, "optimised after the counts")
    } else {
        (build, "optimised")
    };
    let dist = root().join("dist");
    fs::create_dir_all(&dist).map_err(|error| format!("{}: {error}", dist.display()))?;
    for (name, features) in BINARIES {
        let built = build.run(&format!("{name}, {how}"), features)?;
        let to = dist.join(name);
        let bytes = fs::copy(&built, &to).map_err(|error| format!("{}: {error}", built.display()))?;
        println!("{} ({:.1} MB)", to.display(), bytes as f64 / 1e6);
    }
    Ok(())
}

impl Build {
    /// The same in a folder of its own below the target folder, with one more flag. The target is named in any case:
    /// else the flag would go to build scripts, too.
    pub(crate) fn apart(&self, name: &str, flag: String) -> Result<Self, String> {
        Ok(Self {
            target: Some(match &self.target {
                Some(target) => target.clone(),
                None => host()?,
            }),
            folder: self.folder.join(name),
            flag: Some(flag),
        })
    }

    /// Where it builds.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Builds with features of `daprd-bin`; returns the binary.
    pub(crate) fn run(&self, what: &str, features: &str) -> Result<PathBuf, String> {
        let mut command = cargo(&["build", "--release", "--locked"]);
        command.args(["--package", "daprd-bin", "--bin", "daprd", "--target-dir"]);
        command.arg(&self.folder);
        command.args(["--no-default-features", "--features", features]);
        if let Some(flag) = &self.flag {
            let given = std::env::var("RUSTFLAGS").unwrap_or_default();
            let flags: Vec<&str> = given.split_whitespace().chain([flag.as_str()]).collect();
            // Unlike RUSTFLAGS it does not end a flag at a space.
            command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        }
        let mut built = self.folder.clone();
        if let Some(target) = &self.target {
            command.args(["--target", target]);
            built.push(target);
        }
        step(what, &mut command)?;
        Ok(built.join("release/daprd"))
    }
}

fn static_target(sysroot: &Path) -> Option<String> {
    let musl = musl();
    let is_installed = sysroot.join("lib/rustlib").join(&musl).is_dir();
    is_installed.then_some(musl)
}

/// The toolchain's own target.
pub(crate) fn host() -> Result<String, String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".to_owned())
}

pub(crate) fn target_folder() -> Result<PathBuf, String> {
    let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let folder = metadata["target_directory"]
        .as_str()
        .ok_or("cargo metadata names no target folder")?;
    Ok(folder.into())
}
