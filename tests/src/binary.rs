//! Where the `daprd` binary and the examples of the crates are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

static BINARY: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("DAPRD_BIN") {
    Some(given) => given.into(),
    None => build("daprd-bin", "--bin", "daprd"),
});

/// The binary under test: what `DAPRD_BIN` names, else the workspace's own, built in the profile of the tests.
pub fn daprd_binary() -> &'static Path {
    &BINARY
}

/// An example of a crate, built in the profile of the tests.
///
/// # Panics
/// When it does not build.
pub fn example(package: &str, name: &str) -> PathBuf {
    build(package, "--example", name)
}

fn build(package: &str, kind: &str, name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", package, kind, name]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // Cargo tells programs that it starts about their package. Build scripts that ask for these variables would run again,
    // and much would be built anew.
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("CARGO_PKG_") || shown.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let status = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "{name} does not build");
    // Tests run from `<target>/<profile>/deps/`, programs from `<target>/<profile>/`.
    let this = std::env::current_exe().expect("the path of the test or program");
    let folder = this.parent().expect("the folder of the program");
    let profile = if folder.ends_with("deps") {
        folder.parent().expect("the folder of the profile")
    } else {
        folder
    };
    let folder = if kind == "--example" {
        profile.join("examples")
    } else {
        profile.to_owned()
    };
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
