//! Against an API that says what the tests want.

use std::sync::Arc;

use invoke_core::Resolver;
use invoke_core::balance::{EndpointWatch, Resolution, watched};
use lifecycle::Tasks;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::{Kubernetes, Name};
use super::*;
use crate::refresh::Refreshing;
use crate::scripted::{Said, Scripted};
use crate::trouble::STALE;

const PATIENCE: Duration = Duration::from_secs(20);
const LIST: &str = "GET /apis/discovery.k8s.io/v1/namespaces/ns/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D\
                    a-dapr";

fn slice(version: &str, addresses: &[&str]) -> Value {
    json!({
        "metadata": {"name": "a-dapr-x", "resourceVersion": version},
        "addressType": "IPv4",
        "endpoints": addresses.iter().map(|address| json!({"addresses": [address]})).collect::<Value>(),
    })
}

fn list(version: &str, addresses: &[&str]) -> Said {
    let items = json!({"metadata": {"resourceVersion": version}, "items": [slice("1", addresses)]});
    Said::Answer(200, 0, items.to_string())
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// A sidecar that looks, and what it sees.
struct Looking {
    api: Scripted,
    folder: tempfile::TempDir,
    watch: EndpointWatch,
    asks_dns: JoinHandle<bool>,
}

/// The API on a port of this host, and the folder of its token.
fn cluster(port: u16) -> (Arc<Cluster>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "first\n").unwrap();
    let place = Place {
        authority: format!("127.0.0.1:{port}"),
        prefix: String::new(),
        tls: None,
        unix: None,
    };
    let origin = Origin::new(place, &Means::with_variables(|_| None)).unwrap();
    (Arc::new(Cluster::at(origin, token, 50002, 1)), folder)
}

async fn look(script: impl Fn(usize, &str) -> Said + Send + Sync + 'static) -> Looking {
    let api = Scripted::start(move |before, asked| script(before, &asked.line)).await;
    let (cluster, folder) = cluster(api.port);
    let (publisher, watch) = watched();
    let asks_dns = tokio::spawn(async move {
        cluster
            .keep(&AppRef::new("a", "ns"), "a-dapr.ns", &publisher)
            .await
    });
    Looking {
        api,
        folder,
        watch,
        asks_dns,
    }
}

async fn await_pods(watch: &EndpointWatch, wanted: &[&str]) {
    let is_there = |resolution: &Resolution| match resolution {
        Resolution::Endpoints(found) => found
            .iter()
            .map(|one| one.address().to_string())
            .eq(wanted.iter().map(ToString::to_string)),
        _ => false,
    };
    let found = timeout(PATIENCE, watch.wait_for(is_there)).await;
    assert!(
        found.is_ok_and(|found| is_there(&found)),
        "{wanted:?} {:?}",
        watch.now()
    );
}

impl Looking {
    async fn await_pods(&self, wanted: &[&str]) {
        await_pods(&self.watch, wanted).await;
    }

    async fn await_requests(&self, count: usize) -> Vec<String> {
        let begun = Instant::now();
        while self.api.lines().len() < count {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.api.lines());
            sleep(Duration::from_millis(5)).await;
        }
        self.api.lines()
    }
}

#[tokio::test]
async fn changes_are_told_one_a_line() {
    let looking = look(|before, _| match before {
        0 => list("7", &["10.0.0.1"]),
        1 => Said::Lines(vec![
            event("MODIFIED", &slice("8", &["10.0.0.1", "10.0.0.2"])),
            // One event may come in pieces.
            event("ADDED", &slice("9", &["10.0.0.3"]))
                .split_at(20)
                .0
                .to_owned(),
            event("ADDED", &slice("9", &["10.0.0.3"]))
                .split_at(20)
                .1
                .to_owned(),
            event("BOOKMARK", &json!({"metadata": {"resourceVersion": "15"}})),
        ]),
        _ => Said::Nothing,
    })
    .await;
    looking.await_pods(&["10.0.0.3:50002"]).await;
    let asked = looking.await_requests(3).await;
    let watch = format!("{LIST}&watch=1&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=");
    assert_eq!(
        asked,
        [LIST.to_owned(), format!("{watch}7"), format!("{watch}15")]
    );
}

#[tokio::test]
async fn what_is_too_old_is_asked_for_anew() {
    let gone = json!({"kind": "Status", "code": 410, "message": "too old resource version"});
    for end in [
        Said::Lines(vec![event("ERROR", &gone)]),
        Said::Answer(410, 0, String::new()),
    ] {
        let looking = look(move |before, _| match before {
            0 => list("7", &["10.0.0.1"]),
            1 => end.clone(),
            2 => list("20", &["10.0.0.2"]),
            _ => Said::Nothing,
        })
        .await;
        looking.await_pods(&["10.0.0.2:50002"]).await;
        let asked = looking.await_requests(4).await;
        assert_eq!(asked[2], LIST);
        assert!(asked[3].ends_with("&resourceVersion=20"), "{asked:?}");
    }
}

#[tokio::test]
async fn trouble_with_the_api_takes_nothing_away() {
    for fault in [
        Said::Answer(500, 0, "etcd".to_owned()),
        Said::Answer(401, 0, String::new()),
        Said::Lines(vec!["{\"type\":\n".to_owned()]),
        Said::Lines(vec![event("ERROR", &json!({"code": 500}))]),
        Said::Cut(event("MODIFIED", &slice("8", &["10.0.0.1"]))),
    ] {
        let shown = format!("{fault:?}");
        let looking = look(move |before, _| match before {
            0 => list("7", &["10.0.0.1"]),
            1 => fault.clone(),
            2 => list("9", &["10.0.0.1", "10.0.0.2"]),
            _ => Said::Nothing,
        })
        .await;
        looking.await_pods(&["10.0.0.1:50002"]).await;
        fs::write(looking.folder.path().join("token"), "second").unwrap();
        looking.await_pods(&["10.0.0.1:50002", "10.0.0.2:50002"]).await;
        assert!(!looking.asks_dns.is_finished(), "{shown}");
        let last = looking.await_requests(4).await.len() - 1;
        let asked = looking.api.asked();
        assert_eq!(asked[0].header("authorization"), Some("Bearer first"));
        assert_eq!(
            asked[last].header("authorization"),
            Some("Bearer second"),
            "the token was renewed"
        );
    }
}

/// Lets time pass of which the API notices nothing.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Faults far from each other are two troubles, however little was told of between them.
#[tokio::test]
async fn a_list_ends_a_trouble() {
    let looking = look(|before, _| match before {
        0 => list("7", &["10.0.0.1"]),
        1 => Said::Answer(500, 0, String::new()),
        2 => list("8", &["10.0.0.1"]),
        4 => list("9", &["10.0.0.2"]),
        _ => Said::Nothing,
    })
    .await;
    looking.await_requests(4).await;
    // The watch that is open ends by its limit.
    pass(STALE + Duration::from_secs(1)).await;
    looking.await_pods(&["10.0.0.2:50002"]).await;
    assert!(!looking.asks_dns.is_finished());
}

#[tokio::test]
async fn a_change_that_is_too_long_is_not_read_to_its_end() {
    let looking = look(|before, _| match before {
        0 => list("7", &["10.0.0.1"]),
        1 => Said::Lines(vec!["x".repeat(LONGEST + 1)]),
        2 => list("8", &["10.0.0.2"]),
        _ => Said::Nothing,
    })
    .await;
    looking.await_pods(&["10.0.0.2:50002"]).await;
    assert_eq!(looking.await_requests(4).await[2], LIST, "all is asked for anew");
}

/// The cluster of these tests watches one app.
#[tokio::test]
async fn apps_beyond_those_that_are_watched_are_looked_up() {
    let api = Scripted::start(move |before, _| match before {
        0 => list("7", &["10.0.0.1"]),
        _ => Said::Nothing,
    })
    .await;
    let (cluster, _folder) = cluster(api.port);
    let tasks = Tasks::new();
    let resolver = resolver(cluster, &tasks);
    let watched = resolver.watch(&AppRef::new("a", "ns"));
    await_pods(&watched, &["10.0.0.1:50002"]).await;
    let looked_up = resolver.watch(&AppRef::new("b", "ns"));
    await_pods(&looked_up, &["127.0.0.1:50002"]).await;
    assert!(!api.lines().iter().any(|line| line.contains("b-dapr")));
}

#[tokio::test]
async fn who_may_not_look_asks_the_dns() {
    let looking = look(|_, _| Said::Answer(403, 0, "{\"message\":\"forbidden\"}".to_owned())).await;
    assert!(timeout(PATIENCE, looking.asks_dns).await.unwrap().unwrap());
}

/// A resolver whose DNS has one address for all apps.
fn resolver(cluster: Arc<Cluster>, tasks: &Tasks) -> Kubernetes {
    Kubernetes {
        name: Name::parse("127.0.0.1:{{.Port}}").unwrap(),
        port: 50002,
        refreshing: Arc::new(Refreshing::new(COMPONENT, tasks.clone())),
        cluster: Some(cluster),
        tasks: tasks.clone(),
    }
}

#[tokio::test]
async fn the_dns_is_asked_for_a_minute_in_place_of_the_api() {
    for trouble in [429, 500, 403] {
        let api = Scripted::start(move |before, _| match before {
            0 => Said::Answer(trouble, 0, String::new()),
            1 => Said::Answer(503, 0, String::new()),
            2 => list("7", &["10.0.0.1"]),
            _ => Said::Nothing,
        })
        .await;
        let (cluster, _folder) = cluster(api.port);
        let tasks = Tasks::new();
        let watch = resolver(cluster, &tasks).watch(&AppRef::new("a", "ns"));
        await_pods(&watch, &["127.0.0.1:50002"]).await;
        // What the DNS said does not become true because the API is tried.
        for wanted in [&["127.0.0.1:50002"], &["10.0.0.1:50002"]] {
            let before = api.lines().len();
            pass(AGAIN + Duration::from_secs(1)).await;
            while api.lines().len() == before {
                sleep(Duration::from_millis(5)).await;
            }
            await_pods(&watch, wanted).await;
        }
        assert_eq!(tasks.len(), 1, "the task has an owner");
        drop(watch);
        timeout(PATIENCE, tasks.wait()).await.unwrap();
    }
}

#[tokio::test]
async fn a_namespace_that_is_denied_is_not_asked_for_by_each_call() {
    for status in [401, 403] {
        let api = Scripted::start(move |_, _| Said::Answer(status, 0, String::new())).await;
        let (cluster, _folder) = cluster(api.port);
        let tasks = Tasks::new();
        let resolver = resolver(cluster, &tasks);
        for (id, namespace, wanted) in [("a", "ns", 1), ("a", "ns", 1), ("b", "ns", 1), ("a", "other", 2)] {
            let watch = resolver.watch(&AppRef::new(id, namespace));
            await_pods(&watch, &["127.0.0.1:50002"]).await;
            assert_eq!(api.lines().len(), wanted, "{id} {namespace}");
        }
    }
}

#[tokio::test]
async fn an_app_without_pods_is_not_there() {
    for answer in [
        list("7", &[]),
        Said::Answer(200, 0, "{\"items\":null}".to_owned()),
    ] {
        let looking = look(move |_, _| answer.clone()).await;
        match timeout(PATIENCE, looking.watch.first()).await.unwrap() {
            Resolution::Failed(error) => assert_eq!(
                error.to_string(),
                "failed to resolve address for 'a-dapr.ns': lookup a-dapr.ns: no such host"
            ),
            other => panic!("{other:?}"),
        }
        assert!(!timeout(PATIENCE, looking.asks_dns).await.unwrap().unwrap());
    }
}

#[test]
fn what_a_pod_needs() {
    let folder = tempfile::tempdir().unwrap();
    let account = folder.path().display().to_string();
    let made = |variables: &'static [&'static str]| {
        let means = Means::with_variables(move |name| variables.contains(&name).then(|| "1".to_owned()));
        Cluster::new(&account, 1, &means).map(drop).unwrap_err()
    };
    assert_eq!(
        made(&[]),
        "endpointSlices: KUBERNETES_SERVICE_HOST is not set, so this is no pod of a cluster"
    );
    let error = made(&["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"]);
    assert!(
        error.starts_with(&format!("endpointSlices: open {account}/ca.crt: ")),
        "{error}"
    );
}
