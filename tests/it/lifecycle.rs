//! Signals, the drain, exit codes.

use std::sync::Arc;

use integration_tests::{DaprdBuilder, HttpApp, Mesh, Protocol, RawClient, Request, eventually, text};
use rustix::process::Signal;
use tokio::sync::Notify;

use crate::stage::{Pair, head, soon};

/// An app that tells when a call is there, and answers when it is let.
struct HeldApp {
    app: HttpApp,
    called: Arc<Notify>,
    release: Arc<Notify>,
}

impl HeldApp {
    async fn start() -> Self {
        let (called, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (calls, wait) = (Arc::clone(&called), Arc::clone(&release));
        let app = HttpApp::start(Protocol::Http, move |request: Request| {
            let (calls, wait) = (Arc::clone(&calls), Arc::clone(&wait));
            async move {
                if request.uri().path() != "/held" {
                    return text(200, "");
                }
                calls.notify_one();
                wait.notified().await;
                text(200, "finished")
            }
        })
        .await;
        Self { app, called, release }
    }
}

#[tokio::test]
async fn signals_that_mean_nothing_and_one_that_ends_at_once() {
    let daprd = Mesh::new().sidecar("L0-app").start().await;
    for signal in [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::POWER,
    ] {
        daprd.signal(signal);
    }
    daprd.await_status("/v1.0/healthz", 204).await;
    daprd.signal(Signal::QUIT);
    let exit = daprd.exit().await;
    assert_eq!(exit.code, Some(2), "{}", exit.stdout);
    assert!(exit.stdout.contains("Received signal 'quit'"), "{}", exit.stdout);
}

#[tokio::test]
async fn the_default_address_of_the_metrics_is_that_of_both_families() {
    let daprd = Mesh::new()
        .sidecar("L0-metrics")
        // The last one counts, and this is the default.
        .arg("--metrics-listen-address=0.0.0.0")
        .start()
        .await;
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for host in ["127.0.0.1", "[::1]"] {
        if host == "[::1]" && !has_ipv6 {
            continue;
        }
        let url = format!("http://{host}:{}/", daprd.metrics_port);
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), 200, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_ends_well() {
    for stops_caller in [true, false] {
        let held = HeldApp::start().await;
        let pair = Pair::with(held.app.port, |sidecar| {
            sidecar.arg("--dapr-graceful-shutdown-seconds=60")
        })
        .await;
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client.send(format!("{}\r\n", head("GET", "held"))).await;
        soon("the call", held.called.notified()).await;
        let stopped = if stops_caller { pair.caller } else { pair.callee };
        let port = stopped.http_port;
        stopped.signal(Signal::TERM);
        eventually("the port to be closed", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err()
        })
        .await;
        held.release.notify_one();
        let answer = client.receive().await.expect("a complete answer");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "finished"));
        let exit = stopped.exit().await;
        assert_eq!(exit.code, Some(0));
        assert!(exit.stdout.contains("Daprd shutdown gracefully"));
        assert_eq!(exit.stderr, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_period_ends() {
    let held = HeldApp::start().await;
    let pair = Pair::with(held.app.port, |sidecar| {
        sidecar.arg("--dapr-graceful-shutdown-seconds=1")
    })
    .await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client.send(format!("{}\r\n", head("GET", "held"))).await;
    soon("the call", held.called.notified()).await;
    let exit = pair.caller.stop().await;
    assert_eq!(exit.code, Some(1));
    assert!(
        exit.stdout
            .contains("Graceful shutdown timeout exceeded, forcing shutdown")
    );
    assert!(client.receive().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_is_impatient() {
    let held = HeldApp::start().await;
    let pair = Pair::with(held.app.port, |sidecar| {
        sidecar.arg("--dapr-graceful-shutdown-seconds=600")
    })
    .await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client.send(format!("{}\r\n", head("GET", "held"))).await;
    soon("the call", held.called.notified()).await;
    pair.caller.signal(Signal::TERM);
    pair.caller.await_log("Dapr is shutting down").await;
    pair.caller.signal(Signal::INT);
    let exit = pair.caller.exit().await;
    assert_eq!(exit.code, Some(1));
    assert!(
        exit.stdout
            .contains("Received signal 'interrupt' during shutdown; exiting immediately")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_sidecar_stops_on_every_kind_of_request() {
    let mesh = Mesh::new();
    for signal in [Signal::TERM, Signal::INT] {
        let sidecar = mesh.sidecar("idle").start().await;
        // Connections without a request do not hold the stop.
        let _idle = RawClient::connect(sidecar.http_port).await;
        let mut used = RawClient::connect(sidecar.http_port).await;
        used.send("GET /v1.0/healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(used.receive().await.unwrap().status(), 204);
        sidecar.signal(signal);
        let exit = sidecar.exit().await;
        assert_eq!(exit.code, Some(0), "{signal:?}");
    }
    for (force, code, last) in [
        (None, 0, "Daprd shutdown gracefully"),
        (
            Some("TRUE"),
            1,
            "Force shutdown requested, exiting immediately without graceful shutdown",
        ),
    ] {
        let sidecar = mesh.sidecar("idle").start().await;
        let mut request = reqwest::Client::new().post(sidecar.url("/v1.0/shutdown"));
        if let Some(force) = force {
            request = request.header("dapr-force-shutdown", force);
        }
        assert_eq!(request.send().await.unwrap().status(), 204);
        let exit = sidecar.exit().await;
        assert_eq!(exit.code, Some(code));
        assert!(exit.stdout.contains(last), "{}", exit.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reads_the_configuration_again_in_place() {
    let app = HttpApp::echo(Protocol::Http).await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let write = |features: &str, names: &str| {
        let names = folder.path().join(names);
        let text = format!(
            "spec:\n  features: {features}\n  nameResolution:\n    component: sqlite\n    configuration:\n      \
             connectionString: {}\n",
            names.display()
        );
        std::fs::write(&config, text).unwrap();
    };
    write("[{name: Before, enabled: true}]", "names.db");
    let sidecar = DaprdBuilder::new("callee")
        .app_port(app.port)
        .arg(format!("--config={}", config.display()))
        .start()
        .await;
    let pid = sidecar.pid();
    let metadata = async || {
        reqwest::get(sidecar.url("/v1.0/metadata"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    assert!(metadata().await.contains("Before"));
    // The feature would notice the change by itself.
    write(
        "[{name: After, enabled: true}, {name: HotReload, enabled: false}]",
        "names.db",
    );
    sidecar.signal(Signal::HUP);
    eventually("the other configuration", async || {
        metadata().await.contains("After")
    })
    .await;
    let starts = || {
        sidecar
            .log()
            .matches("dapr initialized. Status: Running.")
            .count()
    };
    assert_eq!(starts(), 1);
    // What cannot be read changes nothing.
    std::fs::write(&config, "spec: [").unwrap();
    sidecar.signal(Signal::HUP);
    sidecar
        .await_log("The configuration stays as it was: error loading configuration")
        .await;
    assert!(metadata().await.contains("After"));
    // Nor does it begin a second life when apps are found in another way.
    write("[{name: Third, enabled: true}]", "others.db");
    sidecar.signal(Signal::HUP);
    eventually("the third configuration", async || {
        metadata().await.contains("Third")
    })
    .await;
    assert_eq!(starts(), 1);
    assert_eq!(sidecar.pid(), pid);
    let answer = reqwest::get(sidecar.invoke_url("callee", "m")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_stop_goes_on_as_before() {
    let app = HttpApp::echo(Protocol::Http).await;
    let pair = Pair::with(app.port, |sidecar| {
        sidecar.arg("--dapr-block-shutdown-duration=2s")
    })
    .await;
    pair.callee.signal(Signal::TERM);
    pair.callee.await_log("Blocking graceful shutdown for 2s").await;
    assert_eq!(reqwest::get(pair.url("m")).await.unwrap().status(), 200);
    pair.callee.await_health().await;
    let exit = pair.callee.exit().await;
    assert_eq!(exit.code, Some(0));
    assert!(
        exit.stdout
            .contains("Block shutdown period expired, entering shutdown...")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_waits_for_its_app_and_serves_meanwhile() {
    let port = integration_tests::free_port();
    let mesh = Mesh::new();
    let other = HttpApp::echo(Protocol::Http).await;
    let _callee = mesh.sidecar("callee").app_port(other.port).start().await;
    let sidecar = mesh
        .sidecar("early")
        .app_port(port)
        .without_waiting()
        .start()
        .await;
    sidecar.await_status("/v1.0/healthz/outbound", 204).await;
    let answer = reqwest::get(sidecar.url("/v1.0/healthz")).await.unwrap();
    assert_eq!(answer.status(), 500);
    assert_eq!(
        answer.text().await.unwrap(),
        r#"{"errorCode":"ERR_HEALTH_NOT_READY","message":"dapr is not ready: [runtime]"}"#
    );
    let url = sidecar.invoke_url("callee", "m");
    assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let _app = HttpApp::start_on(listener, Protocol::Http, |_| async { text(200, "late") });
    sidecar.await_health().await;
    sidecar.await_log("application discovered on port").await;
    let answer = reqwest::get(sidecar.invoke_url("early", "m")).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_waits_for_its_app_can_be_stopped() {
    let mesh = Mesh::new();
    let sidecar = mesh
        .sidecar("alone")
        .app_port(integration_tests::free_port())
        .without_waiting()
        .start()
        .await;
    sidecar.await_log("waiting on port").await;
    assert_eq!(sidecar.stop().await.code, Some(0));
}
