//! Connections to the app that are not used again for ever: for what shares connections out in front of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use integration_tests::grpc::{GrpcApp, GrpcClient, InvokeServiceRequest};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, Request, eventually, run_daprd, text};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const PAGE: &str = include_str!("../../docs/src/invocation.md");

/// The section of the page's example.
fn of_page() -> &'static str {
    let examples = PAGE.split("```yaml\n").skip(1);
    let mut examples = examples.filter_map(|rest| rest.split("```").next());
    let example = examples
        .find(|example| example.contains("mostCalls: 1\n"))
        .unwrap();
    example.split_once("spec:\n").unwrap().1
}

/// A balancer of connections, as a service of Kubernetes is one: they go to the instances in turn.
struct Front {
    port: u16,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Front {
    async fn of(instances: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let instance = instances[number % instances.len()];
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", instance)).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self {
            port,
            connections,
            task,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes the configuration of a mesh anew.
fn configure(mesh: &Mesh, spec: &str) {
    let path = mesh.folder().join("config.yaml");
    let before = fs::read_to_string(&path).unwrap();
    let kept = before.split("  daprd:").next().unwrap();
    // Put in place as a whole.
    let beside = mesh.folder().join("beside");
    fs::write(&beside, format!("{kept}{spec}")).unwrap();
    fs::rename(beside, path).unwrap();
}

async fn sidecar(mesh: &Mesh, front: &Front, protocol: &str) -> Daprd {
    let sidecar = mesh.sidecar("app").app_port(front.port);
    let sidecar = sidecar
        .arg(format!("--app-protocol={protocol}"))
        .arg("--disable-init-endpoints=config,subscribe");
    sidecar.start().await
}

/// Calls ten times, and tells how many connections were made and how many different answers came.
async fn ten<F: Future<Output = String>>(front: &Front, call: impl Fn() -> F) -> (usize, usize) {
    let before = front.connections();
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(call().await);
    }
    answers.sort_unstable();
    answers.dedup();
    (front.connections() - before, answers.len())
}

/// Goes through the settings with an app that is called in some way.
async fn goes_through<F: Future<Output = String>>(mesh: &Mesh, front: &Front, call: impl Fn() -> F) {
    call().await;
    assert_eq!(ten(front, &call).await, (0, 1), "one connection serves all");
    configure(mesh, of_page());
    eventually("each call has a connection", || async {
        ten(front, &call).await == (10, 2)
    })
    .await;
    configure(mesh, "  daprd: {app: {connections: {mostCalls: 5}}}\n");
    eventually("five calls share one", || async {
        ten(front, &call).await == (2, 2)
    })
    .await;
    configure(mesh, "");
    eventually("it is as it was", || async { ten(front, &call).await == (0, 1) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_http_apps() {
    for (protocol, name) in [(Protocol::Http, "http"), (Protocol::H2c, "h2c")] {
        let mut instances = Vec::new();
        for says in ["a", "b"] {
            instances.push(HttpApp::start(protocol, move |_: Request| async move { text(200, says) }).await);
        }
        let front = Front::of(instances.iter().map(|app| app.port).collect()).await;
        let mesh = Mesh::new();
        let sidecar = sidecar(&mesh, &front, name).await;
        let client = reqwest::Client::new();
        goes_through(&mesh, &front, || async {
            let answer = client.post(sidecar.invoke_url("app", "m")).body("x").send().await;
            answer.unwrap().error_for_status().unwrap().text().await.unwrap()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_of_grpc_apps() {
    let app = GrpcApp::echo().await;
    // One instance behind two addresses: what is counted are its connections.
    let front = Front::of(vec![app.port]).await;
    let mesh = Mesh::new();
    let sidecar = sidecar(&mesh, &front, "grpc").await;
    let client = GrpcClient::connect(sidecar.grpc_port).await;
    let call = || async {
        let request = InvokeServiceRequest::post("app", "m", "x");
        let (answer, response) = client.invoke(&request, &[]).await;
        assert_eq!((answer.code(), response.body()), (0, &b"x"[..]));
        String::new()
    };
    call().await;
    assert_eq!(ten(&front, call).await, (0, 1));
    configure(&mesh, "  daprd: {app: {connections: {mostCalls: 1}}}\n");
    eventually("each call has a connection", || async {
        ten(&front, call).await == (10, 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxied_calls() {
    let mut instances = Vec::new();
    for name in ["a", "b"] {
        let app = GrpcApp::start(move |mut call| async move {
            call.messages().await;
            call.send(name.as_bytes()).await;
            call.finish(0, "", &[]);
        });
        instances.push(app.await);
    }
    let front = Front::of(instances.iter().map(|app| app.port).collect()).await;
    let mesh = Mesh::new();
    let sidecar = sidecar(&mesh, &front, "grpc").await;
    let client = GrpcClient::connect(sidecar.grpc_port).await;
    goes_through(&mesh, &front, || async {
        let answer = client.proxy("app", "/a.b.C/D", b"x").await;
        String::from_utf8(answer.only().to_vec()).unwrap()
    })
    .await;
}

/// Many calls at once: none waits for the connection of another one, and none is lost.
#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once() {
    for (protocol, name) in [(Protocol::Http, "http"), (Protocol::H2c, "h2c")] {
        let at_once = Arc::new(tokio::sync::Barrier::new(20));
        let app = HttpApp::start(protocol, move |_: Request| {
            let at_once = Arc::clone(&at_once);
            async move {
                at_once.wait().await;
                text(200, "together")
            }
        })
        .await;
        let front = Front::of(vec![app.port]).await;
        let mesh = Mesh::with_configuration("  daprd: {app: {connections: {mostCalls: 1, maxAge: 30s}}}\n");
        let sidecar = sidecar(&mesh, &front, name).await;
        let client = reqwest::Client::new();
        let before = front.connections();
        let calls = (0..20).map(|_| client.post(sidecar.invoke_url("app", "m")).body("x").send());
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.unwrap().text().await.unwrap(), "together");
        }
        assert_eq!(front.connections() - before, 20, "{name}");
    }
}

#[tokio::test]
async fn mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    for (section, wanted) in [
        (
            "mostCalls: 0",
            "expected a whole number from 1 to 1000000, found 0",
        ),
        (
            "maxAge: soon",
            "spec.daprd.app.connections.maxAge: a duration from 1s to 24h is wanted, not \"soon\"",
        ),
        ("reuse: never", "reuse"),
    ] {
        let text = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {{name: c}}\nspec: {{daprd: {{app: \
             {{connections: {{{section}}}}}}}}}\n"
        );
        fs::write(&file, text).unwrap();
        let checked = run_daprd(["check", &file.display().to_string()]).await;
        assert!(checked.stdout.contains(wanted), "{section}: {}", checked.stdout);
        assert!(
            checked.stdout.contains("spec.daprd.app.connections"),
            "{section}: {}",
            checked.stdout
        );
        let config = format!("--config={}", file.display());
        let started = run_daprd(["--app-id=a", &config]).await;
        assert_eq!(started.code, Some(1), "{section}");
        assert!(
            started.stdout.contains(wanted.split('"').next().unwrap()),
            "{section}: {}",
            started.stdout
        );
    }
}
