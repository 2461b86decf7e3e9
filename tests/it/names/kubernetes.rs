//! The API of a cluster, which tells which pods an app has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use integration_tests::{
    BodySender, Daprd, DaprdBuilder, HttpApp, Protocol, Request, TlsApp, eventually, pki, stream, text,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Configured, page};

/// One slice for each port, which is how pods of one address are told apart.
fn slice(port: u16) -> Value {
    json!({
        "metadata": {"name": format!("callee-dapr-{port}"), "resourceVersion": "1"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "dapr-internal", "port": port}],
    })
}

async fn say(sender: &mut BodySender, kind: &str, object: &Value) {
    let line = format!("{}\n", json!({"type": kind, "object": object}));
    sender.send_data(line.into()).await.unwrap();
}

async fn call(sidecar: &Daprd) -> String {
    let answer = reqwest::get(sidecar.invoke_url("callee", "m")).await.unwrap();
    answer.text().await.unwrap()
}

async fn app(says: &'static str) -> HttpApp {
    HttpApp::start(Protocol::Http, move |_: Request| async move { text(200, says) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_told_by_the_api_of_the_cluster() {
    let (one, two) = (app("one").await, app("two").await);
    let first = DaprdBuilder::new("callee").app_port(one.port).start().await;
    let second = DaprdBuilder::new("callee").app_port(two.port).start().await;
    let (watchers, mut watches) = mpsc::unbounded_channel::<BodySender>();
    let lists = Arc::new(AtomicUsize::new(0));
    let (port, listed) = (first.internal_port, Arc::clone(&lists));
    let api = HttpApp::start(Protocol::Http, move |request: Request| {
        let (watchers, listed) = (watchers.clone(), Arc::clone(&listed));
        async move {
            let token = request.headers().get("authorization").cloned();
            let uri = request.uri().to_string();
            let wanted = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=";
            if !uri.starts_with(wanted) || token.is_none_or(|token| token != "Bearer t0ken") {
                return text(401, uri);
            }
            if !uri.contains("watch=1") {
                listed.fetch_add(1, Ordering::Relaxed);
                let list = json!({"metadata": {"resourceVersion": "5"}, "items": [slice(port)]});
                return text(200, list.to_string());
            }
            let (sender, answer) = stream(200);
            watchers.send(sender).unwrap();
            answer
        }
    })
    .await;
    let authority = pki::Authority::new();
    let front = TlsApp::in_front_of(&authority, api.port).await;
    let account = tempfile::tempdir().unwrap();
    std::fs::write(account.path().join("ca.crt"), authority.pem()).unwrap();
    std::fs::write(account.path().join("token"), "t0ken\n").unwrap();
    let settings = format!(
        "endpointSlices: true\n      serviceAccount: {}",
        account.path().display()
    );
    let mesh = Configured::by_example(page!("kubernetes"), &[("endpointSlices: true", settings)]);
    let caller = mesh
        .sidecar("caller")
        .env("KUBERNETES_SERVICE_HOST", "localhost")
        .env("KUBERNETES_SERVICE_PORT", &front.port.to_string())
        .start()
        .await;
    assert_eq!(call(&caller).await, "one");
    let mut watch = watches.recv().await.unwrap();
    say(&mut watch, "ADDED", &slice(second.internal_port)).await;
    eventually("the second pod", || async { call(&caller).await == "two" }).await;
    say(&mut watch, "DELETED", &slice(port)).await;
    first.kill().await;
    for _ in 0..20 {
        assert_eq!(call(&caller).await, "two", "nobody asks the one that is gone");
    }
    assert_eq!(lists.load(Ordering::Relaxed), 1);
    // What the API has forgotten is asked for anew.
    say(&mut watch, "ERROR", &json!({"kind": "Status", "code": 410})).await;
    eventually("a second list", || async { lists.load(Ordering::Relaxed) == 2 }).await;
}
