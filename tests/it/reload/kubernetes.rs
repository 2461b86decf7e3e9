//! What the operator pushes.

use std::sync::{Arc, Mutex};

use integration_tests::operator::{Operator, OperatorAnswer, OperatorRequest, Pushed};
use integration_tests::sentry::Sentry;
use integration_tests::{Daprd, DaprdBuilder, HttpApp, Protocol, eventually, text};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::{Load, listed};

/// What the operator has, and whom it tells.
#[derive(Clone)]
struct Cluster {
    held: Arc<Mutex<Held>>,
    events: [broadcast::Sender<Pushed>; 3],
}

#[derive(Default)]
struct Held {
    resources: [Vec<Value>; 3],
    configuration: Value,
}

const KINDS: [&str; 3] = ["Component", "HTTPEndpoint", "Resiliency"];
const CREATED: u8 = 1;
const UPDATED: u8 = 2;
const DELETED: u8 = 3;

impl Cluster {
    fn new() -> Self {
        let held = Held {
            configuration: json!({"metadata": {"name": "conf"}, "spec": {}}),
            ..Held::default()
        };
        Self {
            held: Arc::new(Mutex::new(held)),
            events: std::array::from_fn(|_| broadcast::channel(16).0),
        }
    }

    fn answer(&self, asked: &OperatorRequest) -> OperatorAnswer {
        let held = self.held.lock().unwrap();
        let index = KINDS.iter().position(|kind| asked.method.contains(kind));
        match (asked.method.as_str(), index) {
            ("GetConfiguration", _) => OperatorAnswer::Resources(vec![held.configuration.to_string()]),
            ("ConfigurationUpdate", _) => OperatorAnswer::Status(12, "older than this"),
            (method, Some(index)) if method.starts_with("List") => {
                let resources = held.resources[index].iter().map(ToString::to_string);
                OperatorAnswer::Resources(resources.collect())
            }
            (_, Some(index)) => OperatorAnswer::Events(self.events[index].clone()),
            _ => OperatorAnswer::Status(12, "unknown"),
        }
    }

    /// Tells it to those who listen, once somebody does.
    async fn push(&self, kind: usize, pushed: Pushed) {
        let events = &self.events[kind];
        eventually("somebody listens", || async { events.receiver_count() > 0 }).await;
        events.send(pushed).unwrap();
    }

    async fn event(&self, kind: usize, change: u8, resource: Value) {
        self.push(kind, Pushed::Event(change, resource.to_string())).await;
    }
}

fn store(name: &str, generation: u64) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "generation": generation},
           "spec": {"type": "state.in-memory", "version": format!("v{generation}")}})
}

async fn pod(app_id: &str, sentry: &Sentry, operator: &Operator, app: &HttpApp) -> Daprd {
    let sidecar = DaprdBuilder::new(app_id)
        .app_port(app.port)
        .arg("--mode=kubernetes")
        .arg("--config=conf")
        .arg("--hot-reload-reconcile-interval=1h")
        .arg(format!("--sentry-address={}", sentry.address))
        .arg(format!("--control-plane-address={}", operator.address))
        .arg("--disable-builtin-k8s-secret-store")
        .env("DAPR_TRUST_ANCHORS", &sentry.anchors())
        .env("DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK", "true")
        .start()
        .await;
    sidecar
        .await_log("Starting to watch Configuration updates for SIGHUP reload")
        .await;
    sidecar
}

async fn lists(sidecar: &Daprd, kind: usize, names: &[&str]) {
    eventually(&format!("{names:?} in the metadata"), || async {
        listed(sidecar).await[kind] == names
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_every_kind() {
    let (sentry, cluster) = (Sentry::start().await, Cluster::new());
    cluster.held.lock().unwrap().resources[0].push(store("a", 2));
    let operator = {
        let cluster = cluster.clone();
        Operator::start(sentry.authority(), move |asked| cluster.answer(asked)).await
    };
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "fine") }).await;
    let sidecar = pod("RO1", &sentry, &operator, &app).await;
    let load = Load::begin(sidecar.http_port, &["RO1"]);
    lists(&sidecar, 0, &["a"]).await;

    cluster.event(0, CREATED, store("b", 1)).await;
    lists(&sidecar, 0, &["a", "b"]).await;
    // What comes late changes nothing, and neither does rubbish.
    cluster.event(0, UPDATED, store("a", 1)).await;
    sidecar
        .await_log("Ignoring stale event for a (generation 1 < installed 2)")
        .await;
    cluster.push(0, Pushed::Event(UPDATED, "[".to_owned())).await;
    sidecar
        .await_log("A Component of the operator cannot be used and changes nothing")
        .await;
    cluster
        .event(0, UPDATED, json!({"metadata": {"name": "a"}, "spec": 7}))
        .await;
    cluster.event(0, DELETED, store("b", 1)).await;
    lists(&sidecar, 0, &["a"]).await;

    let web =
        json!({"metadata": {"name": "web"}, "spec": {"baseUrl": format!("http://127.0.0.1:{}", app.port)}});
    cluster.event(1, CREATED, web.clone()).await;
    lists(&sidecar, 1, &["web"]).await;
    let answer = reqwest::get(sidecar.invoke_url("web", "m")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let count = |text: &str| sidecar.log().matches(text).count();
    let received = "Received HTTPEndpoint";
    assert_eq!(count(received), 1);
    cluster.event(1, UPDATED, web.clone()).await;
    cluster
        .event(2, CREATED, json!({"metadata": {"name": "p"}, "spec": {}}))
        .await;
    lists(&sidecar, 2, &["p"]).await;
    assert_eq!(count(received), 1, "what did not change is no change");
    cluster.event(1, DELETED, web).await;
    lists(&sidecar, 1, &[]).await;
    sidecar
        .await_log("Configuration HotReloading is not supported by the Dapr control plane")
        .await;
    load.goes_on().await;
    load.ends_well().await;
    assert_eq!(count("Received signal"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_is_opened_again_and_all_is_listed() {
    let (sentry, cluster) = (Sentry::start().await, Cluster::new());
    let operator = {
        let cluster = cluster.clone();
        Operator::start(sentry.authority(), move |asked| cluster.answer(asked)).await
    };
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "fine") }).await;
    let sidecar = pod("RO2", &sentry, &operator, &app).await;
    cluster.held.lock().unwrap().resources[0].push(store("missed", 1));
    cluster.push(0, Pushed::End).await;
    lists(&sidecar, 0, &["missed"]).await;
    sidecar.await_log("Reconnected to operator").await;
    cluster.event(0, CREATED, store("told", 1)).await;
    lists(&sidecar, 0, &["missed", "told"]).await;
}

/// What changes behind the list and before the stream is told by neither of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_a_stream_is_opened_is_seen() {
    let (sentry, cluster) = (Sentry::start().await, Cluster::new());
    let operator = {
        let cluster = cluster.clone();
        Operator::start(sentry.authority(), move |asked| {
            if asked.method == "ComponentUpdate" {
                let mut held = cluster.held.lock().unwrap();
                held.resources[0] = vec![store("between", 1)];
            }
            cluster.answer(asked)
        })
        .await
    };
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "fine") }).await;
    let sidecar = pod("RO3", &sentry, &operator, &app).await;
    lists(&sidecar, 0, &["between"]).await;
}
