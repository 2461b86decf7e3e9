//! What the demo starts: apps, sidecars, and the names by which they find each other.

use std::path::{Path, PathBuf};

use integration_tests::grpc::GrpcApp;
use integration_tests::{Daprd, DaprdBuilder, HttpApp, Mesh, daprd_binary};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::apps::{self, Event, What};
use crate::grpc;
use crate::style::Style;

/// The ids of the apps; the third one speaks gRPC.
pub(crate) const FIRST: &str = "app-1";
pub(crate) const SECOND: &str = "app-2";
pub(crate) const THIRD: &str = "app-3";
/// How much of a log is shown after a failure.
const LAST_LINES: usize = 20;

/// How the sidecars find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// A file that both write and read.
    Sqlite,
    /// Multicast on the network.
    Mdns,
}

/// Everything that runs.
pub(crate) struct Stage {
    pub(crate) sidecars: [Daprd; 3],
    pub(crate) events: UnboundedReceiver<Event>,
    pub(crate) client: reqwest::Client,
    /// The command lines of the calls so far.
    pub(crate) commands: Vec<String>,
    logs: [PathBuf; 3],
    binary: PathBuf,
    names: Names,
    apps: [HttpApp; 2],
    grpc_app: GrpcApp,
    mesh: Mesh,
}

impl Stage {
    /// Starts everything.
    pub(crate) async fn set(names: Names) -> Result<Self, String> {
        let binary = binary()?;
        let (sender, events) = unbounded_channel();
        let apps = [
            apps::start(FIRST, sender.clone()).await,
            apps::start(SECOND, sender.clone()).await,
        ];
        let grpc_app = grpc::start(THIRD, sender).await;
        let mesh = Mesh::new();
        let logs = [FIRST, SECOND, THIRD].map(|id| mesh.folder().join(format!("{id}.log")));
        let sidecar = |id: &str, app_port: u16, log: &Path| {
            let builder = match names {
                Names::Sqlite => mesh.sidecar(id),
                // mDNS announces the address of the host unless told otherwise.
                Names::Mdns => DaprdBuilder::new(id).env("DAPR_HOST_IP", "127.0.0.1"),
            };
            builder
                .binary(&binary)
                .app_port(app_port)
                .log_level("info")
                .arg("--enable-api-logging")
                .arg(format!("--log-file={}", log.display()))
        };
        let first = sidecar(FIRST, apps[0].port, &logs[0]).start();
        let second = sidecar(SECOND, apps[1].port, &logs[1]).start();
        let third = sidecar(THIRD, grpc_app.port, &logs[2]).arg("--app-protocol=grpc");
        let (first, second, third) = tokio::join!(first, second, third.start());
        Ok(Self {
            sidecars: [first, second, third],
            events,
            client: reqwest::Client::new(),
            commands: Vec::new(),
            logs,
            binary,
            names,
            apps,
            grpc_app,
            mesh,
        })
    }

    /// Says what runs and where.
    pub(crate) fn introduce(&mut self, style: Style) {
        println!("\n{}", style.title("What runs"));
        println!("  daprd      {}", self.binary.display());
        match self.names {
            Names::Sqlite => println!("  names      a SQLite file in {}", self.mesh.folder().display()),
            Names::Mdns => println!("  names      mDNS"),
        }
        let [first, second] = [&self.apps[0], &self.apps[1]].map(|app| ("HTTP", app.port));
        let apps = [first, second, ("gRPC", self.grpc_app.port)];
        let parts = self.sidecars.iter().zip(apps).zip(&self.logs);
        for (number, ((sidecar, (protocol, port)), log)) in (1..).zip(parts) {
            println!("  {}      {protocol} on port {port}", sidecar.app_id);
            println!(
                "  sidecar {number}  HTTP {}, gRPC {}, between sidecars {}, metrics {}, process {}",
                sidecar.http_port,
                sidecar.grpc_port,
                sidecar.internal_port,
                sidecar.metrics_port,
                sidecar.pid()
            );
            println!("             log: {}", log.display());
        }
        while let Ok(event) = self.events.try_recv() {
            if let What::Request { line, .. } = event.what {
                let asked = format!("  at start   the sidecar asked {}: {line}", event.app);
                println!("{}", style.aside(&asked));
            }
        }
    }

    /// Prints the end of the logs.
    pub(crate) fn show_logs(&self) {
        for (sidecar, log) in self.sidecars.iter().zip(&self.logs) {
            let text = std::fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
            let lines: Vec<_> = text.lines().collect();
            println!("\n--- the end of the log of {}'s sidecar ---", sidecar.app_id);
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                println!("{line}");
            }
        }
    }

    /// Stays up for calls by hand. Ends when the caller stops waiting.
    pub(crate) async fn stay(&mut self, style: Style) {
        println!("\n{}", style.title("Everything stays up; try it yourself"));
        for command in &self.commands {
            println!("  {}", style.command(command));
        }
        for log in &self.logs {
            println!("  {}", style.command(&format!("tail -f {}", log.display())));
        }
        for sidecar in &self.sidecars {
            let metrics = format!("curl http://127.0.0.1:{}/metrics", sidecar.metrics_port);
            println!("  {}", style.command(&metrics));
        }
        println!("\nCtrl-C ends it. Requests that the apps see:");
        while let Some(event) = self.events.recv().await {
            if let What::Request { line, headers } = event.what {
                let caller = headers.iter().find(|(name, _)| name == "dapr-caller-app-id");
                let caller = caller.map_or("somebody without a sidecar", |(_, caller)| caller);
                println!("  {}  {line}  from {caller}", event.app);
            }
        }
    }

    /// Stops the sidecars as a platform does.
    pub(crate) async fn clear(self) -> Result<(), String> {
        for sidecar in self.sidecars {
            let id = sidecar.app_id.clone();
            let exit = sidecar.stop().await;
            if exit.code != Some(0) {
                return Err(format!(
                    "the sidecar of {id} did not stop as it should: {:?}",
                    exit.code
                ));
            }
        }
        Ok(())
    }
}

/// The sidecar's binary.
fn binary() -> Result<PathBuf, String> {
    let given = daprd_binary();
    if given.is_file() {
        return Ok(given.to_path_buf());
    }
    // A test runs one folder below the binaries, this program beside them.
    let beside = std::env::current_exe().map(|this| this.with_file_name("daprd"));
    match beside {
        Ok(beside) if beside.is_file() && std::env::var_os("DAPRD_BIN").is_none() => Ok(beside),
        _ => Err(format!(
            "there is no daprd binary at {}: `cargo build --package daprd-bin`, or DAPRD_BIN=PATH",
            given.display()
        )),
    }
}
