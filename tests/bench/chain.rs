//! What a call goes through: straight to the app, or through two sidecars.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration_tests::{Daprd, DaprdBuilder, Mesh, daprd_binary};

use crate::app::BenchApp;
use crate::options::{Options, Resolver};
use crate::process::{self, Memory};

/// How many chains were started: names on the network are not used twice.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// How long a sidecar may take to become healthy.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// A sidecar is idle when it had nothing to do for so long.
const REST: Duration = Duration::from_millis(500);

/// A chain to measure.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: String,
    /// The daprd binary; none for calls straight to the app.
    pub(crate) binary: Option<PathBuf>,
}

/// A chain whose processes run. They end when it is dropped.
pub(crate) struct Running {
    /// The app id of the callee.
    callee: String,
    /// The caller's sidecar and the callee's.
    pub(crate) sidecars: Vec<Daprd>,
    /// How long each took from its start until it was healthy.
    pub(crate) start_up: Vec<Duration>,
    /// The resident memory of each after a single call and a rest.
    pub(crate) idle: Vec<Memory>,
    /// After the sidecars: what they use goes when they are gone.
    mesh: Mesh,
}

/// All chains of a run, in the order of the table.
pub(crate) fn all(options: &Options) -> Result<Vec<Chain>, String> {
    let own = match &options.daprd {
        Some(given) => given.clone(),
        None => own_binary()?,
    };
    let chain = |name: &str, binary| Chain {
        name: name.to_owned(),
        binary,
    };
    let mut chains = vec![chain("direct", None), chain("daprd-rs", Some(own))];
    for peer in &options.peers {
        if chains.iter().any(|known| known.name == peer.name) {
            return Err(format!("--peer: there are two chains of the name {}", peer.name));
        }
        chains.push(chain(&peer.name, Some(peer.binary.clone())));
    }
    Ok(chains)
}

impl Chain {
    /// Starts the sidecars, one after the other so that their start-up times do not mix.
    pub(crate) async fn start(&self, app: &BenchApp, options: &Options) -> Result<Running, String> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let id = |role: &str| format!("bench-{role}-{}-{number}", std::process::id());
        let mut running = Running {
            callee: id("callee"),
            sidecars: Vec::new(),
            start_up: Vec::new(),
            idle: Vec::new(),
            mesh: Mesh::new(),
        };
        let Some(binary) = &self.binary else {
            return Ok(running);
        };
        let builder = |id: &str| match options.resolver {
            Resolver::Sqlite => running.mesh.sidecar(id),
            // mDNS announces the address of the host unless told otherwise.
            Resolver::Mdns => DaprdBuilder::new(id).env("DAPR_HOST_IP", "127.0.0.1"),
        };
        let builders = [
            builder(&running.callee).app_port(app.port),
            builder(&id("caller")),
        ];
        for builder in builders {
            let builder = builder
                .binary(binary)
                .log_level("error")
                .arg("--enable-api-logging=false")
                .arg("--max-body-size=1Gi");
            let (sidecar, took) = start(builder).await.map_err(|what| self.says(&what))?;
            running.sidecars.insert(0, sidecar);
            running.start_up.insert(0, took);
        }
        running
            .await_first_call()
            .await
            .map_err(|what| self.says(&what))?;
        tokio::time::sleep(REST).await;
        running.idle = running.memory()?;
        Ok(running)
    }

    fn says(&self, what: &str) -> String {
        format!("{}: {what}", self.name)
    }
}

impl Running {
    /// The URL of a method of the app.
    pub(crate) fn url(&self, app: &BenchApp, method: &str) -> String {
        match self.sidecars.first() {
            Some(caller) => caller.invoke_url(&self.callee, method),
            None => format!("http://127.0.0.1:{}/{method}", app.port),
        }
    }

    /// The CPU time of each sidecar so far.
    pub(crate) fn cpu_time(&self) -> Result<Vec<Duration>, String> {
        self.of_each(process::cpu_time)
    }

    /// The resident memory of each sidecar.
    pub(crate) fn memory(&self) -> Result<Vec<Memory>, String> {
        self.of_each(process::memory)
    }

    /// Ends the sidecars as a platform does.
    pub(crate) async fn stop(self) {
        for sidecar in self.sidecars {
            sidecar.stop().await;
        }
    }

    fn of_each<T>(&self, ask: impl Fn(u32) -> Option<T>) -> Result<Vec<T>, String> {
        let answers = self.sidecars.iter().map(|sidecar| ask(sidecar.pid()));
        answers
            .collect::<Option<_>>()
            .ok_or_else(|| "a sidecar ended early".to_owned())
    }

    /// Calls until the callee is found: a name may take a moment to get around.
    async fn await_first_call(&self) -> Result<(), String> {
        let Some(caller) = self.sidecars.first() else {
            return Ok(());
        };
        let url = caller.invoke_url(&self.callee, "fixed");
        let client = reqwest::Client::new();
        let begun = Instant::now();
        loop {
            let problem = match client.get(&url).send().await {
                Ok(answer) if answer.status() == 200 => return Ok(()),
                Ok(answer) => format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) => error.to_string(),
            };
            if begun.elapsed() > START_PATIENCE {
                return Err(format!("no call comes through: {problem}\n{}", caller.log()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Starts a sidecar and measures how long it takes until it is healthy.
async fn start(builder: DaprdBuilder) -> Result<(Daprd, Duration), String> {
    let client = reqwest::Client::new();
    let begun = Instant::now();
    let sidecar = builder.without_waiting().start().await;
    let health = sidecar.url("/v1.0/healthz");
    loop {
        if matches!(client.get(&health).send().await, Ok(answer) if answer.status() == 204) {
            return Ok((sidecar, begun.elapsed()));
        }
        if begun.elapsed() > START_PATIENCE {
            let id = sidecar.app_id.clone();
            let exit = sidecar.stop().await;
            return Err(format!(
                "{id} does not become healthy (exit code {:?}): {}{}",
                exit.code, exit.stdout, exit.stderr
            ));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The workspace's own binary.
fn own_binary() -> Result<PathBuf, String> {
    let given = daprd_binary();
    if given.is_file() {
        return Ok(given.to_path_buf());
    }
    // A test runs one folder below the binaries, this program beside them.
    let beside = std::env::current_exe().map(|this| this.with_file_name("daprd"));
    match beside {
        Ok(beside) if beside.is_file() && std::env::var_os("DAPRD_BIN").is_none() => Ok(beside),
        _ => Err(format!(
            "there is no daprd binary at {}: `cargo build --release --package daprd-bin`, or --daprd PATH",
            given.display()
        )),
    }
}
