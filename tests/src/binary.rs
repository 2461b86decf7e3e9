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
    assert!(status.success(), "daprd does not build");
    // Tests run from `<target>/<profile>/deps/`, programs from `<target>/<profile>/`.
    let this = std::env::current_exe().expect("the path of the test or program");
    let folder = this.parent().expect("the folder of the program");
    let profile = if folder.ends_with("deps") {
        folder.parent().expect("the folder of the profile")
    } else {
        folder
    };
    profile.join(format!("daprd{}", std::env::consts::EXE_SUFFIX))
}
