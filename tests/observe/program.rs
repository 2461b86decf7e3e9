//! The programs of others.

use std::process::Stdio;

use tokio::process::{Child, Command};

/// A program that runs until it is dropped; what it says goes into a file.
pub(crate) struct Program {
    _child: Child,
    log: tempfile::NamedTempFile,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let log = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        let end = || log.reopen().map(Stdio::from).map_err(|error| error.to_string());
        command
            .stdin(Stdio::null())
            .stdout(end()?)
            .stderr(end()?)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self { _child: child, log })
    }

    /// All that it said.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

/// Runs a program to its end with `input`, and gives back what it said if it was not content.
pub(crate) async fn ask(command: &mut Command, input: &str) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    std::fs::write(file.path(), input).map_err(|error| error.to_string())?;
    let input = file.reopen().map_err(|error| error.to_string())?;
    command.stdin(input).kill_on_drop(true);
    let output = command
        .output()
        .await
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&said).trim()))
}
