//! Stamps a build from a checkout with its commit, for the first line of the log and for `--build-info`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=DAPRD_COMMIT");
    // Whoever builds a release says which commit it is.
    if std::env::var_os("DAPRD_COMMIT").is_some() {
        return;
    }
    let Some(commit) = commit() else { return };
    println!("cargo::rustc-env=DAPRD_COMMIT={commit}");
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// The commit that is checked out. Another repository that happens to lie around this one has none of ours.
fn commit() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let is_ours = Path::new(&top).canonicalize().ok()? == own.canonicalize().ok()?;
    is_ours.then(|| git(&["rev-parse", "HEAD"])).flatten()
}

/// What git says; nothing without git, or outside of a checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
