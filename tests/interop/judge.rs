//! What the programs of others say.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long a judge may take. It bounds hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a program said, on both of its outputs, and whether it was content.
pub(crate) struct Verdict {
    pub(crate) text: String,
    pub(crate) is_content: bool,
}

impl Verdict {
    /// What a person reads of it: judges that print whole messages say more than that.
    pub(crate) fn shown(&self) -> String {
        self.text.trim().chars().take(2000).collect()
    }
}

/// Runs a judge to its end.
pub(crate) async fn ask(command: &mut Command) -> Result<Verdict, String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output())
        .await
        .map_err(|_| format!("{command:?} does not end"))?
        .map_err(|error| format!("{command:?}: {error}"))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Verdict {
        text,
        is_content: output.status.success(),
    })
}
