//! What a call goes through: straight to the app, or through two proxies.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration_tests::sentry::Sentry;
use tempfile::TempDir;

use crate::app::BenchApp;
use crate::axis::Axis;
use crate::hop::Hop;
use crate::kind::{Scene, Speech};
use crate::options::Options;
use crate::process::{self, Memory};
use crate::sidecar::{self, Setting, Told};
use crate::stack::{Stack, start_proxy};
use crate::{certificates, grpc};

/// The name of the chain that the others are compared with.
pub(crate) const OWN: &str = "daprd-rs";
/// The name of the chain without a sidecar.
pub(crate) const DIRECT: &str = "direct";
/// What stands behind the name of a chain whose hops speak TLS with each other.
pub(crate) const MTLS: &str = "+mtls";

/// How many chains were started: names on the network are not used twice.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// How long the first call may take to come through.
const FIRST_PATIENCE: Duration = Duration::from_secs(15);
/// A sidecar is idle when it had nothing to do for so long.
const REST: Duration = Duration::from_millis(500);

/// A chain to measure.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: String,
    stack: Stack,
    /// Whether the hops speak TLS with each other, and each proves who it is.
    mtls: bool,
}

/// A chain whose processes run. They end when it is dropped.
pub(crate) struct Running {
    /// The app ids that are called; all are the callee's.
    callees: Vec<String>,
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
    sentry: Option<Sentry>,
    folder: TempDir,
}

/// The chains of a run, in the order of the table.
pub(crate) fn all(options: &Options) -> Result<Vec<Chain>, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut chains = Vec::new();
    let mut add = |name: &str, stack: Stack| {
        let may_prove = options.mtls && stack.may_prove();
        let chain = |mtls: bool| Chain {
            name: format!("{name}{}", if mtls { MTLS } else { "" }),
            stack: stack.clone(),
            mtls,
        };
        chains.push(chain(false));
        chains.extend(may_prove.then(|| chain(true)));
    };
    add(DIRECT, Stack::Nothing);
    add("bytes", Stack::Mover(this.clone()));
    add("relay", Stack::Relay(this));
    add(
        OWN,
        Stack::Daprd(match &options.daprd {
            Some(given) => given.clone(),
            None => sidecar::own_binary()?,
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
    if let Some(program) = process::find("haproxy") {
        add("haproxy", Stack::Haproxy(program));
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

/// Whether a chain is made of our sidecars.
pub(crate) fn is_own(name: &str) -> bool {
    name.strip_suffix(MTLS).unwrap_or(name) == OWN
}

impl Chain {
    /// Whether the chain can do what a scene needs.
    pub(crate) fn suits(&self, scene: Scene) -> bool {
        match self.stack {
            Stack::Nothing => scene.can_be_direct(),
            Stack::Daprd(_) => true,
            _ => !scene.is_of_dapr(),
        }
    }

    /// What the program says of itself.
    pub(crate) fn description(&self) -> Option<String> {
        if self.mtls {
            return Some("the same with mTLS between the hops".to_owned());
        }
        self.stack.description()
    }

    /// Whether something can grow in the chain.
    pub(crate) fn suits_axis(&self, axis: Axis) -> bool {
        match (axis, &self.stack) {
            // They prove who they are on this axis in any case.
            (Axis::Policies, _) if self.mtls => false,
            (Axis::Connections, Stack::Nothing) => false,
            (_, stack) => matches!(stack, Stack::Daprd(_)) || !axis.is_of_dapr(),
        }
    }

    /// Starts the hops for calls to one app.
    pub(crate) async fn start(
        &self,
        scene: Scene,
        app: &BenchApp,
        options: &Options,
    ) -> Result<Running, String> {
        self.start_with(scene, app, options, Setting::default()).await
    }

    /// Starts the hops, the callee's first, so that their start-up times do not mix.
    pub(crate) async fn start_with(
        &self,
        scene: Scene,
        app: &BenchApp,
        options: &Options,
        setting: Setting,
    ) -> Result<Running, String> {
        let says = |what: String| format!("{}: {what}", self.name);
        let mut running = self.nothing_yet(scene, app, setting).await.map_err(says)?;
        let callee = running.callees[0].clone();
        let caller = callee.replace("callee", "caller");
        for is_last in [true, false] {
            let hop = match &self.stack {
                Stack::Nothing => break,
                Stack::Daprd(binary) => {
                    let told = Told {
                        folder: running.folder.path(),
                        resolver: options.resolver,
                        setting,
                        sentry: running.sentry.as_ref(),
                        caller: &caller,
                    };
                    let id = if is_last { &callee } else { &caller };
                    if let Some(hop) = running.hops.first() {
                        told.register(&running.callees, hop).map_err(says)?;
                    }
                    let builder = told.sidecar(id, is_last).map_err(says)?.binary(binary);
                    sidecar::start(match (is_last, scene.app()) {
                        (false, _) => builder,
                        (true, Speech::Http) => builder.app_port(app.port),
                        (true, Speech::Grpc) => builder.app_port(app.grpc_port).arg("--app-protocol=grpc"),
                    })
                    .await
                }
                other => start_proxy(other, running.plan(is_last), self.mtls, &running.folder).await,
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

    /// What the hops need, without the hops.
    async fn nothing_yet(&self, scene: Scene, app: &BenchApp, setting: Setting) -> Result<Running, String> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new().prefix("bench-").tempdir();
        let folder = folder.map_err(|error| error.to_string())?;
        let is_daprd = matches!(self.stack, Stack::Daprd(_));
        if self.mtls && !is_daprd {
            certificates::write(folder.path())?;
        }
        let needs_sentry = is_daprd && (self.mtls || setting.policies.is_some());
        Ok(Running {
            callees: setting.callees(&format!("bench-callee-{}-{number}", std::process::id())),
            scene,
            is_daprd,
            app_ports: (app.port, app.grpc_port),
            hops: Vec::new(),
            start_up: Vec::new(),
            idle: Vec::new(),
            sentry: if needs_sentry {
                Some(Sentry::start().await)
            } else {
                None
            },
            folder,
        })
    }
}

impl Running {
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
        self.path_to(&self.callees[0], method)
    }

    fn path_to(&self, callee: &str, method: &str) -> String {
        match self.scene {
            Scene::GrpcProxy => grpc::UNARY.to_owned(),
            Scene::GrpcStream => grpc::ECHO.to_owned(),
            Scene::InvokeHttpApp | Scene::InvokeGrpcApp => grpc::INVOKE_SERVICE.to_owned(),
            _ if self.is_daprd => format!("/v1.0/invoke/{callee}/method/{method}"),
            _ => format!("/{method}"),
        }
    }

    /// The same as a URL.
    pub(crate) fn url(&self, method: &str) -> String {
        format!("http://127.0.0.1:{}{}", self.port(), self.path(method))
    }

    /// The same for every app.
    pub(crate) fn urls(&self, method: &str) -> Vec<String> {
        let port = self.port();
        let urls = self.callees.iter().map(|callee| self.path_to(callee, method));
        urls.map(|path| format!("http://127.0.0.1:{port}{path}"))
            .collect()
    }

    /// The metadata of a gRPC call.
    pub(crate) fn metadata(&self) -> Vec<(&'static str, String)> {
        match self.scene {
            Scene::GrpcProxy | Scene::GrpcStream if self.is_daprd => {
                vec![("dapr-app-id", self.callees[0].clone())]
            }
            _ => Vec::new(),
        }
    }

    /// The message of a gRPC call.
    pub(crate) fn message(&self, length: usize) -> bytes::Bytes {
        let body = vec![b'x'; length];
        match self.scene {
            Scene::InvokeHttpApp | Scene::InvokeGrpcApp => {
                grpc::invoke_service(&self.callees[0], "fixed", &body)
            }
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
            if begun.elapsed() > FIRST_PATIENCE {
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
