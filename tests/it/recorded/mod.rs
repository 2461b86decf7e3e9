//! Calls that were recorded with Dapr's own daprd: the same request to ours has the same answer, and the app sees
//! the same.
//!
//! Where ours differs on purpose the reason stands in [`differences`], and in the compatibility page of the docs.

mod app;
mod client;
mod differences;
mod grpc;
mod grpc_app;
mod normal;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use integration_tests::{Daprd, Mesh};
use serde_json::Value;

use app::ScriptedApp;
use grpc_app::ScriptedGrpcApp;
use normal::{Ports, Seen};

const RECORDED: &str = include_str!("../data/recorded.jsonl");

/// The sidecars and apps of the recording.
struct Stage {
    _mesh: Mesh,
    sidecars: BTreeMap<&'static str, Daprd>,
    app: ScriptedApp,
    own: ScriptedApp,
    grpc: ScriptedGrpcApp,
    ports: Ports,
}

impl Stage {
    async fn new() -> Self {
        let mesh = Mesh::new();
        let (app, own, gone) = (
            ScriptedApp::start("happ").await,
            ScriptedApp::start("call").await,
            ScriptedApp::start("down").await,
        );
        let grpc = ScriptedGrpcApp::start().await;
        let start = |id: &str| mesh.sidecar(id).env("DAPR_HOST_IP", "127.0.0.1");
        let mut sidecars = BTreeMap::new();
        sidecars.insert("call", start("W0-call").app_port(own.port).start().await);
        sidecars.insert("happ", start("W0-happ").app_port(app.port).start().await);
        sidecars.insert("noap", start("W0-noap").start().await);
        sidecars.insert("down", start("W0-down").app_port(gone.port).start().await);
        let gapp = start("W0-gapp").app_port(grpc.app.port);
        sidecars.insert("gapp", gapp.arg("--app-protocol=grpc").start().await);
        let ports = Ports::new(&[
            ("@HAPP", app.port),
            ("@CAPP", own.port),
            ("@DOWN", gone.port),
            ("@GAPP", grpc.app.port),
        ]);
        drop(gone);
        Self {
            _mesh: mesh,
            sidecars,
            app,
            own,
            grpc,
            ports,
        }
    }

    /// Plays one recorded call; tells where it differs.
    async fn play(&self, call: &Value) -> Vec<String> {
        let script = &call["app_answers"];
        self.app.script(script);
        self.own.script(script);
        self.grpc.script(script);
        let sidecar = &self.sidecars[call["sidecar"].as_str().expect("a sidecar")];
        if call["api"] == "grpc" {
            let request = grpc::text(&call["request"]);
            let got = grpc::exchange(sidecar.grpc_port, &call["request"], &self.ports).await;
            let normal = normal::Normal::new(&self.ports, request.as_bytes());
            self.found(
                call,
                &normal,
                &normal.grpc_client(&call["client_got"]),
                &normal.grpc_got(&got, call["request"]["path"].as_str().expect("a path")),
            )
        } else {
            let ends =
                call["client_got"]["after"] == "eof" && !differences::of(call).contains(&"client: after");
            let got = client::exchange(sidecar.http_port, &call["request"], &self.ports, ends).await;
            let request = normal::latin1(call["request"]["http"].as_str().expect("a request"));
            let normal = normal::Normal::new(&self.ports, &request);
            self.found(
                call,
                &normal,
                &normal.client(&call["client_got"]),
                &normal.got(&got),
            )
        }
    }

    /// Where the app and the client saw something else.
    fn found(&self, call: &Value, normal: &normal::Normal<'_>, wanted: &Seen, got: &Seen) -> Vec<String> {
        let mut found = Vec::new();
        let calls = self.grpc.take_seen();
        let seen = if calls.is_empty() {
            let mut requests = self.app.take_seen();
            requests.extend(self.own.take_seen());
            normal.seen(&requests)
        } else {
            normal.seen_calls(&calls)
        };
        compare("app", &normal.app(&call["app_saw"]), &seen, &mut found);
        compare("client", wanted, got, &mut found);
        found
    }
}

fn compare(side: &str, wanted: &Seen, got: &Seen, found: &mut Vec<String>) {
    for (key, wanted) in wanted {
        match got.get(key) {
            Some(got) if got == wanted || normal::is_abbreviated(wanted, got) => {}
            Some(got) => found.push(format!("{side}: {key}: recorded {wanted:?}, got {got:?}")),
            None => found.push(format!("{side}: {key}: recorded {wanted:?}, got none")),
        }
    }
    for (key, got) in got {
        if !wanted.contains_key(key) {
            found.push(format!("{side}: {key}: recorded none, got {got:?}"));
        }
    }
}

/// Plays the recorded calls of one kind; how many, and where they differ.
async fn play_all(is_wanted: impl Fn(&Value) -> bool) -> (usize, String) {
    let stage = Stage::new().await;
    let mut report = String::new();
    let mut played = 0;
    for line in RECORDED.lines() {
        let call: Value = serde_json::from_str(line).expect("JSON");
        let name = call["name"].as_str().expect("a name");
        let is_known = call["sidecar"]
            .as_str()
            .is_some_and(|sidecar| stage.sidecars.contains_key(sidecar));
        if !is_known || !is_wanted(&call) || line.contains("W0-hc2a") {
            continue;
        }
        played += 1;
        let mut found = stage.play(&call).await;
        let expected = differences::of(&call);
        found.retain(|difference| !expected.iter().any(|known| difference.contains(known)));
        if !found.is_empty() {
            let _ = writeln!(report, "\n{name}: {}", call["request"]);
            for difference in found {
                let _ = writeln!(report, "    {difference}");
            }
        }
    }
    (played, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn http_calls_are_answered_as_recorded() {
    let (played, report) = play_all(|call| call["api"] == "http/1.1").await;
    assert!(report.is_empty(), "calls that differ:\n{report}");
    assert!(played > 180, "only {played} calls were played");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_are_answered_as_recorded() {
    let (played, report) = play_all(|call| call["api"] == "grpc").await;
    assert!(report.is_empty(), "calls that differ:\n{report}");
    assert!(played > 110, "only {played} calls were played");
}
