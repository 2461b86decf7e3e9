//! Changes of configuration and resources while calls are running: none of them fails, and no connection is closed.

mod configuration;
mod files;
mod kinds;
mod kubernetes;
mod many;
mod names;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use integration_tests::{Daprd, HttpApp, Mesh, Protocol, RawClient, eventually, text};
use serde_json::Value;
use tokio::task::JoinSet;

/// How many connections call at the same time.
const CALLERS: usize = 4;

/// A sidecar with an app and a folder of resources, which calls itself and another one all the time.
pub(super) struct Stage {
    pub(super) mesh: Mesh,
    pub(super) folder: PathBuf,
    pub(super) sidecar: Daprd,
    load: Load,
    _other: Daprd,
    _app: HttpApp,
}

impl Stage {
    /// `id` is unique to the test; `files` are there from the start.
    pub(super) async fn new(id: &str, files: &[(&str, &str)]) -> Self {
        let mesh = Mesh::new();
        let folder = mesh.folder().join("resources");
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        let app = HttpApp::start(Protocol::Http, |_| async { text(200, "fine") }).await;
        let path = format!("--resources-path={}", folder.display());
        let (one, other) = (format!("{id}-one"), format!("{id}-two"));
        let sidecar = mesh.sidecar(&one).app_port(app.port).arg(path).start();
        let peer = mesh.sidecar(&other).app_port(app.port).start();
        let (sidecar, peer) = tokio::join!(sidecar, peer);
        sidecar.await_log("Starting to watch Resiliency updates").await;
        let load = Load::begin(sidecar.http_port, &[&one, &other]);
        load.goes_on().await;
        Self {
            mesh,
            folder,
            sidecar,
            load,
            _other: peer,
            _app: app,
        }
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).unwrap();
    }

    /// What the metadata lists: names of components, HTTP endpoints and resiliency policies.
    pub(super) async fn listed(&self) -> [Vec<String>; 3] {
        listed(&self.sidecar).await
    }

    pub(super) async fn lists(&self, kind: usize, names: &[&str]) {
        eventually(&format!("{names:?} in the metadata"), || async {
            self.listed().await[kind] == names
        })
        .await;
    }

    pub(super) async fn lists_components(&self, names: &[&str]) {
        self.lists(0, names).await;
    }

    /// Ends the calls; all must have been answered, each on the connection that it began with.
    pub(super) async fn ends_well(self) {
        self.load.goes_on().await;
        self.load.ends_well().await;
        assert!(
            !self.sidecar.log().contains("level=fatal"),
            "{}",
            self.sidecar.log()
        );
    }
}

pub(super) async fn listed(sidecar: &Daprd) -> [Vec<String>; 3] {
    let metadata = reqwest::get(sidecar.url("/v1.0/metadata")).await.unwrap();
    let metadata: Value = metadata.json().await.unwrap();
    ["components", "httpEndpoints", "resiliencies"].map(|kind| {
        let resources = metadata[kind].as_array().cloned().unwrap_or_default();
        let mut names: Vec<_> = resources
            .iter()
            .map(|resource| resource["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    })
}

/// Calls that go on as long as the test lasts.
pub(super) struct Load {
    seen: Arc<Seen>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    right: AtomicU64,
    wrong: AtomicU64,
    closed: AtomicU64,
}

impl Load {
    pub(super) fn begin(port: u16, targets: &[&str]) -> Self {
        let seen = Arc::<Seen>::default();
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (seen, target) = (Arc::clone(&seen), targets[caller % targets.len()].to_owned());
            callers.spawn(async move {
                let mut client = RawClient::connect(port).await;
                let request = format!("GET /v1.0/invoke/{target}/method/m HTTP/1.1\r\nHost: a\r\n\r\n");
                while !seen.is_over.load(Ordering::Relaxed) {
                    let answer = if client.try_send(&request).await {
                        client.receive().await
                    } else {
                        None
                    };
                    let count = match answer {
                        Some(answer) if answer.status() == 200 && answer.body == b"fine" => &seen.right,
                        Some(answer) => {
                            println!("{}: {}", answer.status(), answer.text());
                            &seen.wrong
                        }
                        None => {
                            client = RawClient::connect(port).await;
                            &seen.closed
                        }
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { seen, callers }
    }

    /// Waits until each caller has called once more.
    pub(super) async fn goes_on(&self) {
        let before = self.seen.right.load(Ordering::Relaxed);
        eventually("more calls", || async {
            self.seen.right.load(Ordering::Relaxed) >= before + 20
        })
        .await;
    }

    pub(super) async fn ends_well(mut self) {
        self.seen.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        let counts = [&self.seen.wrong, &self.seen.closed].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(
            counts,
            [0, 0],
            "calls that failed, and connections that were closed"
        );
    }
}

/// A component that does nothing.
pub(super) fn component(name: &str) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\nspec:\n  type: state.in-memory\n  \
         version: v1\n"
    )
}

pub(super) fn endpoint(name: &str, base: &str) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: HTTPEndpoint\nmetadata:\n  name: {name}\nspec:\n  baseUrl: {base}\n"
    )
}

pub(super) fn policy(name: &str, spec: &str) -> String {
    format!("apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata:\n  name: {name}\nspec:\n{spec}")
}
