//! `interop`: judges that others wrote, against whole sidecars.
//!
//! They are written in Go. Go fetches and builds them, once; what it makes stays in the target folder.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::dist::target_folder;
use crate::run::{Outcome, cargo, step};

/// What is built: the package with its version, and the program that comes of it.
const TOOLS: [(&str, &str); 3] = [
    (
        "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible",
        "h2spec",
    ),
    ("google.golang.org/grpc/interop/client@v1.71.0", "client"),
    ("google.golang.org/grpc/interop/server@v1.71.0", "server"),
];

pub(crate) fn run(args: &[String]) -> Outcome {
    if !has_go() {
        return Err("go is missing, which builds the judges: https://go.dev/dl".to_owned());
    }
    let tools = target_folder()?.join("interop");
    build(&tools)?;
    judge(&tools, args)
}

/// As part of `ci`: what cannot be had judges nothing, and that is said.
pub(crate) fn where_possible() -> Outcome {
    if !has_go() {
        println!("\n==> interop: left out, there is no Go here to build the judges");
        return Ok(());
    }
    let tools = target_folder()?.join("interop");
    if let Err(error) = build(&tools) {
        println!("\n==> interop: left out: {error}");
        return Ok(());
    }
    judge(&tools, &[])
}

fn has_go() -> bool {
    let mut go = Command::new("go");
    go.arg("version").stdout(Stdio::null()).stderr(Stdio::null());
    go.status().is_ok_and(|status| status.success())
}

fn build(tools: &Path) -> Outcome {
    for (package, program) in TOOLS {
        if tools.join(program).exists() {
            continue;
        }
        let mut go = Command::new("go");
        go.args(["install", package]).env("GOBIN", tools);
        step(&format!("interop: {package}"), &mut go)
            .map_err(|error| format!("{error}: can the proxy of Go's modules be reached?"))?;
    }
    Ok(())
}

fn judge(tools: &Path, args: &[String]) -> Outcome {
    let run = [
        "run",
        "--quiet",
        "--package",
        "integration-tests",
        "--bin",
        "interop",
        "--",
    ];
    step("interop", cargo(&run).arg("--tools").arg(tools).args(args))
}
