//! Changes of everything that can change while a sidecar runs.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use integration_tests::{Daprd, Mesh};
use rustix::process::Signal;

/// What can be changed: the resources of the callers, and their configuration.
pub(crate) struct Changes {
    folder: PathBuf,
    config: PathBuf,
    /// The configuration as it was, to which sections are added.
    base: String,
    /// Where the endpoint that is called leads to: apps that do the same.
    apps: [u16; 2],
    random: Rng,
}

impl Changes {
    /// Makes the folder, with the endpoint that is called.
    pub(crate) fn new(mesh: &Mesh, apps: [u16; 2], seed: u64) -> Self {
        let folder = mesh.folder().join("resources");
        fs::create_dir(&folder).expect("a folder");
        let config = mesh.folder().join("callers.yaml");
        let base = fs::read_to_string(mesh.folder().join("config.yaml")).expect("a configuration");
        fs::write(&config, &base).expect("a configuration");
        let mut changes = Self {
            folder,
            config,
            base,
            apps,
            random: Rng::with_seed(seed),
        };
        changes.endpoint();
        changes
    }

    pub(crate) fn args(&self) -> [String; 2] {
        [
            format!("--resources-path={}", self.folder.display()),
            format!("--config={}", self.config.display()),
        ]
    }

    /// Changes one thing after the other until `end`; tells how often.
    pub(crate) async fn make(mut self, end: Instant, callers: &[Daprd]) -> usize {
        let mut count = 0;
        // The rest is for the last state to be put in place.
        while Instant::now() + Duration::from_secs(2) < end {
            tokio::time::sleep(Duration::from_millis(self.random.u64(1..150))).await;
            match self.random.u8(..8) {
                0 | 1 => self.component(),
                2 => self.endpoint(),
                3 => self.unused_endpoint(),
                4 => self.policy(),
                5 => self.configuration(),
                6 => self.half().await,
                _ => self.random.choice(callers).expect("callers").signal(Signal::HUP),
            }
            count += 1;
        }
        self.finish();
        count
    }

    /// The last state: two files and nothing else.
    fn finish(&mut self) {
        put(&self.config, &self.base);
        for entry in fs::read_dir(&self.folder).expect("a folder").flatten() {
            if entry.file_name() != "web.yaml" {
                fs::remove_file(entry.path()).expect("a file");
            }
        }
        self.put("last.yaml", &component("last"));
    }

    fn put(&self, name: &str, text: &str) {
        put(&self.folder.join(name), text);
    }

    fn component(&mut self) {
        let name = format!("component-{}", self.random.u8(..4));
        let file = format!("{name}.yaml");
        match self.random.u8(..4) {
            0 => drop(fs::remove_file(self.folder.join(file))),
            1 => self.put(&file, "kind: ["),
            _ => {
                let version = self.random.u8(1..4);
                self.put(&file, &component(&name).replace("v1\n", &format!("v{version}\n")));
            }
        }
    }

    /// The endpoint that is called is always there, here or there.
    fn endpoint(&mut self) {
        let port = self.apps[usize::from(self.random.bool())];
        self.put("web.yaml", &endpoint("soak-web", port));
    }

    fn unused_endpoint(&mut self) {
        let name = format!("endpoint-{}", self.random.u8(..4));
        let file = format!("{name}.yaml");
        if self.random.bool() {
            let port = self.random.u16(1..);
            self.put(&file, &endpoint(&name, port));
        } else {
            let _ = fs::remove_file(self.folder.join(file));
        }
    }

    fn policy(&mut self) {
        let file = format!("policy-{}.yaml", self.random.u8(..2));
        if self.random.u8(..3) == 0 {
            let _ = fs::remove_file(self.folder.join(file));
            return;
        }
        let (timeout, retries) = (self.random.u8(60..90), self.random.u8(..3));
        self.put(
            &file,
            &format!(
                "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {{name: p}}\nspec:\n  policies:\n    \
                 timeouts: {{t: {timeout}s}}\n    retries:\n      r: {{maxRetries: {retries}, duration: 1ms}}\n    \
                 circuitBreakers:\n      b: {{maxRequests: 1, trip: consecutiveFailures > 1000}}\n  targets:\n    \
                 apps:\n      soak-http: {{timeout: t, retry: r}}\n      soak-web: {{timeout: t, circuitBreaker: b}}\n"
            ),
        );
    }

    fn configuration(&mut self) {
        let text = match self.random.u8(..6) {
            0 => format!("{}  api: 7\n", self.base),
            1 => "spec: [".to_owned(),
            2 => format!(
                "{}  metrics:\n    http:\n      increasedCardinality: {}\n",
                self.base,
                self.random.bool()
            ),
            3 => format!(
                "{}  tracing:\n    samplingRate: \"{}\"\n",
                self.base,
                self.random.u8(..2)
            ),
            4 => format!("{}  accessControl:\n    defaultAction: allow\n", self.base),
            _ => self.base.clone(),
        };
        put(&self.config, &text);
    }

    /// A file that is written slowly, in its place.
    async fn half(&mut self) {
        let text = component("half");
        let (begin, end) = text.split_at(self.random.usize(..text.len()));
        let mut file = fs::File::create(self.folder.join("half.yaml")).expect("a file");
        file.write_all(begin.as_bytes()).expect("room");
        tokio::time::sleep(Duration::from_millis(self.random.u64(..50))).await;
        file.write_all(end.as_bytes()).expect("room");
    }
}

/// What the callers list in the end, where it is not the last state.
pub(crate) async fn ends_in_the_last_state(callers: &[Daprd]) -> Vec<String> {
    let mut problems = Vec::new();
    for caller in callers {
        let metadata = match reqwest::get(caller.url("/v1.0/metadata")).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap_or_default();
        let names = |kind: &str| {
            let resources = metadata[kind].as_array().cloned().unwrap_or_default();
            let names = resources
                .iter()
                .map(|resource| resource["name"].as_str().unwrap_or_default());
            names.map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        let found = ["components", "httpEndpoints", "resiliencies"].map(names);
        if found != [vec!["last".to_owned()], vec!["soak-web".to_owned()], vec![]] {
            problems.push(format!("{} lists {found:?} in the end", caller.app_id));
        }
    }
    problems
}

/// Puts a file in place as a whole.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("room");
    fs::rename(beside, path).expect("one folder");
}

fn component(name: &str) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\nspec:\n  type: state.in-memory\n  \
         version: v1\n"
    )
}

fn endpoint(name: &str, port: u16) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: HTTPEndpoint\nmetadata:\n  name: {name}\nspec:\n  baseUrl: \
         http://127.0.0.1:{port}\n"
    )
}
