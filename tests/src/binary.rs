//! Where the `daprd` binary is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

static BINARY: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("DAPRD_BIN") {
    Some(given) => given.into(),
    None => build(),
});

/// The binary under test: what `DAPRD_BIN` names, else the workspace's own, built in the profile of the tests.
pub fn daprd_binary() -> &'static Path {
    &BINARY
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "daprd-bin", "--bin", "daprd"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "daprd does not build");
    // Tests run from `<target>/<profile>/deps/`.
    let this = std::env::current_exe().expect("the path of the test");
    let profile = this.ancestors().nth(2).expect("the folder of the profile");
    profile.join(format!("daprd{}", std::env::consts::EXE_SUFFIX))
}
