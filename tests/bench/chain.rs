//! What a call goes through: straight to the app, or through two proxies.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration_tests::{Daprd, DaprdBuilder, Mesh, daprd_binary};

use crate::app::BenchApp;
use crate::grpc;
use crate::hop::{Hop, Plan};
use crate::kind::{Scene, Speech};
use crate::options::{Options, Resolver};
use crate::process::{self, Memory};

/// The name of the chain that the others are compared with.
pub(crate) const OWN: &str = "daprd-rs";
/// The name of the chain without a sidecar.
pub(crate) const DIRECT: &str = "direct";

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
    stack: Stack,
}

/// What stands between the caller and the app.
#[derive(Clone, Debug)]
enum Stack {
    Nothing,
    Daprd(PathBuf),
    Relay(PathBuf),
    Nginx(PathBuf),
    Envoy(PathBuf),
}

/// A chain whose processes run. They end when it is dropped.
pub(crate) struct Running {
    /// The app id of the callee.
    callee: String,
    scene: Scene,
    is_daprd: bool,
    /// The ports of the app: for HTTP, for gRPC.
    app_ports: (u16, u16),
    /// The caller's hop and the callee's.
    pub(crate) hops: Vec<Hop>,
    /// How long each took from its start until it was healthy.
    pub(crate) start_up: Vec<Duration>,
    /// The resident memory of each after a single call and a rest.
    pub(crate) idle: Vec<Memory>,
    /// After the hops: what they use goes when they are gone.
    mesh: Mesh,
}

/// The chains of a run, in the order of the table.
pub(crate) fn all(options: &Options) -> Result<Vec<Chain>, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut chains = Vec::new();
    let mut add = |name: &str, stack| {
        let name = name.to_owned();
        chains.push(Chain { name, stack });
    };
    add(DIRECT, Stack::Nothing);
    add("relay", Stack::Relay(this));
    add(
        OWN,
        Stack::Daprd(match &options.daprd {
            Some(given) => given.clone(),
            None => own_binary()?,
        }),
    );
    for peer in &options.peers {
        add(&peer.name, Stack::Daprd(peer.binary.clone()));
    }
    if let Some(program) = process::find("nginx") {
        add("nginx", Stack::Nginx(program));
    }
    if let Some(program) = process::find("envoy") {
        add("envoy", Stack::Envoy(program));
    }
    let is_twice = |name: &String| chains.iter().filter(|chain| chain.name == *name).count() > 1;
    if let Some(twice) = chains.iter().map(|chain| &chain.name).find(|name| is_twice(name)) {
        return Err(format!("--peer: there are two chains of the name {twice}"));
    }
    for wanted in &options.chains {
        if !chains.iter().any(|chain| chain.name == *wanted) {
            return Err(format!("--chain: there is no chain {wanted:?} on this machine"));
        }
    }
    chains.retain(|chain| options.chains.is_empty() || options.chains.contains(&chain.name));
    Ok(chains)
}

impl Chain {
    /// Whether the chain can do what a scene needs.
    pub(crate) fn suits(&self, scene: Scene) -> bool {
        match self.stack {
            Stack::Nothing => scene.can_be_direct(),
            Stack::Daprd(_) => true,
            Stack::Relay(_) | Stack::Nginx(_) | Stack::Envoy(_) => !scene.is_of_dapr(),
        }
    }

    /// What the program says of itself.
    pub(crate) fn description(&self) -> Option<String> {
        match &self.stack {
            Stack::Nothing => None,
            Stack::Daprd(binary) => Some(format!("version {}", process::describe(binary, "--version"))),
            Stack::Relay(_) => Some("hyper alone, HTTP/2 between the hops".to_owned()),
            Stack::Nginx(program) => Some(format!(
                "{}, HTTP/1 between the hops but for gRPC",
                process::describe(program, "-v")
            )),
            Stack::Envoy(program) => Some(process::describe(program, "--version")),
        }
    }

    /// Starts the hops, the callee's first, so that their start-up times do not mix.
    pub(crate) async fn start(
        &self,
        scene: Scene,
        app: &BenchApp,
        options: &Options,
    ) -> Result<Running, String> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let mut running = Running {
            callee: format!("bench-callee-{}-{number}", std::process::id()),
            scene,
            is_daprd: matches!(self.stack, Stack::Daprd(_)),
            app_ports: (app.port, app.grpc_port),
            hops: Vec::new(),
            start_up: Vec::new(),
            idle: Vec::new(),
            mesh: Mesh::new(),
        };
        let caller = format!("bench-caller-{}-{number}", std::process::id());
        let says = |what: String| format!("{}: {what}", self.name);
        for is_last in [true, false] {
            let hop = match &self.stack {
                Stack::Nothing => break,
                Stack::Daprd(binary) => {
                    let id = if is_last { &running.callee } else { &caller };
                    let builder = running.daprd(id, is_last, options).binary(binary);
                    start_daprd(builder).await
                }
                other => start_proxy(other, running.plan(is_last)).await,
            };
            let (hop, took) = hop.map_err(says)?;
            running.hops.insert(0, hop);
            running.start_up.insert(0, took);
        }
        running.await_first_call(options).await.map_err(says)?;
        if !running.hops.is_empty() {
            tokio::time::sleep(REST).await;
            running.idle = running.memory()?;
        }
        Ok(running)
    }
}

impl Running {
    fn daprd(&self, id: &str, has_app: bool, options: &Options) -> DaprdBuilder {
        let builder = match options.resolver {
            Resolver::Sqlite => self.mesh.sidecar(id),
            // mDNS announces the address of the host unless told otherwise.
            Resolver::Mdns => DaprdBuilder::new(id).env("DAPR_HOST_IP", "127.0.0.1"),
        };
        let builder = builder
            .log_level("error")
            .arg("--enable-api-logging=false")
            .arg("--max-body-size=1Gi");
        match (has_app, self.scene.app()) {
            (false, _) => builder,
            (true, Speech::Http) => builder.app_port(self.app_ports.0),
            (true, Speech::Grpc) => builder.app_port(self.app_ports.1).arg("--app-protocol=grpc"),
        }
    }

    fn plan(&self, is_last: bool) -> (u16, Speech, bool) {
        let speech = self.scene.door();
        let next = match (self.hops.first(), speech) {
            (Some(next), _) => next.port(speech),
            (None, Speech::Http) => self.app_ports.0,
            (None, Speech::Grpc) => self.app_ports.1,
        };
        (next, speech, is_last)
    }

    /// The port that the load calls.
    pub(crate) fn port(&self) -> u16 {
        match (self.hops.first(), self.scene.door()) {
            (Some(caller), door) => caller.port(door),
            (None, Speech::Http) => self.app_ports.0,
            (None, Speech::Grpc) => self.app_ports.1,
        }
    }

    /// What is measured.
    pub(crate) fn scene(&self) -> Scene {
        self.scene
    }

    /// The path of a method of the app, or of the gRPC method that the load calls.
    pub(crate) fn path(&self, method: &str) -> String {
        match self.scene {
            Scene::GrpcProxy => grpc::UNARY.to_owned(),
            Scene::GrpcStream => grpc::ECHO.to_owned(),
            Scene::InvokeHttpApp | Scene::InvokeGrpcApp => grpc::INVOKE_SERVICE.to_owned(),
            _ if self.is_daprd => format!("/v1.0/invoke/{}/method/{method}", self.callee),
            _ => format!("/{method}"),
        }
    }

    /// The same as a URL.
    pub(crate) fn url(&self, method: &str) -> String {
        format!("http://127.0.0.1:{}{}", self.port(), self.path(method))
    }

    /// The metadata of a gRPC call.
    pub(crate) fn metadata(&self) -> Vec<(&'static str, String)> {
        match self.scene {
            Scene::GrpcProxy | Scene::GrpcStream if self.is_daprd => {
                vec![("dapr-app-id", self.callee.clone())]
            }
            _ => Vec::new(),
        }
    }

    /// The message of a gRPC call.
    pub(crate) fn message(&self, length: usize) -> bytes::Bytes {
        let body = vec![b'x'; length];
        match self.scene {
            Scene::InvokeHttpApp | Scene::InvokeGrpcApp => grpc::invoke_service(&self.callee, "fixed", &body),
            _ => grpc::framed(&body),
        }
    }

    /// The CPU time of each hop so far.
    pub(crate) fn cpu_time(&self) -> Result<Vec<Duration>, String> {
        self.of_each(process::cpu_time)
    }

    /// The resident memory of each hop.
    pub(crate) fn memory(&self) -> Result<Vec<Memory>, String> {
        self.of_each(process::memory)
    }

    /// Ends the hops as a platform does.
    pub(crate) async fn stop(self) {
        for hop in self.hops {
            hop.stop().await;
        }
    }

    fn of_each<T>(&self, ask: impl Fn(u32) -> Option<T>) -> Result<Vec<T>, String> {
        let answers = self.hops.iter().map(|hop| ask(hop.pid()));
        answers
            .collect::<Option<_>>()
            .ok_or_else(|| "a process of the chain ended early".to_owned())
    }

    /// Calls until a good answer comes: a name may take a moment to get around.
    async fn await_first_call(&self, options: &Options) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let called = match self.scene.door() {
                Speech::Http => self.call_http().await,
                Speech::Grpc => self.call_grpc(options.body).await,
            };
            let length = match called {
                Ok(length) if length >= options.body => return Ok(()),
                Ok(length) => format!("an answer of {length} bytes"),
                Err(problem) => problem,
            };
            if begun.elapsed() > START_PATIENCE {
                let logs: Vec<_> = self.hops.iter().map(Hop::log).collect();
                return Err(format!("no call comes through: {length}\n{}", logs.join("\n")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn call_http(&self) -> Result<usize, String> {
        let client = reqwest::Client::new();
        let answer = client
            .post(self.url("fixed"))
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| error.to_string())?;
        if status == 200 {
            return Ok(body.len());
        }
        Err(format!("{status}: {}", String::from_utf8_lossy(&body)))
    }

    async fn call_grpc(&self, body: usize) -> Result<usize, String> {
        let path = self.path("");
        let (metadata, message) = (self.metadata(), self.message(body));
        grpc::call(self.port(), &path, &metadata, message).await
    }
}

async fn start_proxy(
    stack: &Stack,
    (next, speech, is_last): (u16, Speech, bool),
) -> Result<(Hop, Duration), String> {
    let plan = |program| Plan {
        next,
        speech,
        is_last,
        program,
    };
    let started = match stack {
        Stack::Relay(program) => plan(program).relay().await,
        Stack::Nginx(program) => plan(program).nginx().await,
        Stack::Envoy(program) => plan(program).envoy().await,
        Stack::Nothing | Stack::Daprd(_) => return Err("no proxy".to_owned()),
    };
    started.map(|(proxy, took)| (Hop::Proxy(Box::new(proxy)), took))
}

/// Starts a sidecar and measures how long it takes until it is healthy.
async fn start_daprd(builder: DaprdBuilder) -> Result<(Hop, Duration), String> {
    let client = reqwest::Client::new();
    let begun = Instant::now();
    let sidecar: Daprd = builder.without_waiting().start().await;
    let health = sidecar.url("/v1.0/healthz");
    loop {
        if matches!(client.get(&health).send().await, Ok(answer) if answer.status() == 204) {
            return Ok((Hop::Daprd(Box::new(sidecar)), begun.elapsed()));
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

/// The workspace's own binary: what `DAPRD_BIN` names, else the one beside this program.
fn own_binary() -> Result<PathBuf, String> {
    if std::env::var_os("DAPRD_BIN").is_some() {
        return Ok(daprd_binary().to_path_buf());
    }
    let beside = std::env::current_exe().map(|this| this.with_file_name("daprd"));
    let beside = beside.map_err(|error| error.to_string())?;
    if beside.is_file() {
        return Ok(beside);
    }
    Err(format!(
        "there is no daprd binary at {}: `cargo xtask bench` builds one; or --daprd PATH",
        beside.display()
    ))
}
