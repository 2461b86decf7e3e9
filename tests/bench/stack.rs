//! What stands between the caller and the app: the programs that a chain is made of.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::hop::{Hop, Plan};
use crate::kind::Speech;
use crate::process;

/// What stands between the caller and the app.
#[derive(Clone, Debug)]
pub(crate) enum Stack {
    Nothing,
    Daprd(PathBuf),
    Mover(PathBuf),
    Relay(PathBuf),
    Nginx(PathBuf),
    Envoy(PathBuf),
    Haproxy(PathBuf),
}

impl Stack {
    /// Whether the hops can have mTLS between them.
    pub(crate) fn may_prove(&self) -> bool {
        matches!(
            self,
            Self::Daprd(_) | Self::Relay(_) | Self::Envoy(_) | Self::Haproxy(_)
        )
    }

    /// What the program says of itself.
    pub(crate) fn description(&self) -> Option<String> {
        match self {
            Stack::Nothing => None,
            Stack::Daprd(binary) => Some(format!("version {}", process::describe(binary, "--version"))),
            Stack::Mover(_) => Some("only moves bytes".to_owned()),
            Stack::Relay(_) => Some("hyper alone, HTTP/2 between the hops".to_owned()),
            Stack::Nginx(program) => Some(format!(
                "{}, HTTP/1 between the hops but for gRPC, never TLS",
                process::describe(program, "-v")
            )),
            Stack::Envoy(program) => Some(format!(
                "{}, HTTP/2 between the hops",
                process::describe(program, "--version")
            )),
            Stack::Haproxy(program) => Some(format!(
                "{}, two threads, HTTP/2 between the hops",
                process::describe(program, "-v")
            )),
        }
    }
}

/// Starts one that is no daprd.
pub(crate) async fn start_proxy(
    stack: &Stack,
    (next, speech, is_last): (u16, Speech, bool),
    mtls: bool,
    folder: &TempDir,
) -> Result<(Hop, Duration), String> {
    let plan = |program| Plan {
        next,
        speech,
        is_last,
        program,
        certificates: mtls.then(|| folder.path()),
    };
    let started = match stack {
        Stack::Mover(program) => plan(program).mover().await,
        Stack::Relay(program) => plan(program).relay().await,
        Stack::Nginx(program) => plan(program).nginx().await,
        Stack::Envoy(program) => plan(program).envoy().await,
        Stack::Haproxy(program) => plan(program).haproxy().await,
        Stack::Nothing | Stack::Daprd(_) => return Err("no proxy".to_owned()),
    };
    started.map(|(proxy, took)| (Hop::Proxy(Box::new(proxy)), took))
}
