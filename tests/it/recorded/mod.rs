//! Calls that were recorded with Dapr's own daprd: the same request to ours has the same answer, and the app sees
//! the same.
//!
//! Where ours differs on purpose the reason stands in [`differences`], and in the compatibility page of the docs.

mod app;
mod client;
mod differences;
mod normal;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use integration_tests::{Daprd, Mesh};
use serde_json::Value;

use app::ScriptedApp;
use normal::{Ports, Seen};

const RECORDED: &str = include_str!("../data/recorded.jsonl");

/// The sidecars and apps of the recording.
struct Stage {
    _mesh: Mesh,
    sidecars: BTreeMap<&'static str, Daprd>,
    app: ScriptedApp,
    own: ScriptedApp,
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
        let start = |id: &str| mesh.sidecar(id).env("DAPR_HOST_IP", "127.0.0.1");
        let mut sidecars = BTreeMap::new();
        sidecars.insert("call", start("W0-call").app_port(own.port).start().await);
        sidecars.insert("happ", start("W0-happ").app_port(app.port).start().await);
        sidecars.insert("noap", start("W0-noap").start().await);
        sidecars.insert("down", start("W0-down").app_port(gone.port).start().await);
        let ports = Ports::new(&[("@HAPP", app.port), ("@CAPP", own.port), ("@DOWN", gone.port)]);
        drop(gone);
        Self {
            _mesh: mesh,
            sidecars,
            app,
            own,
            ports,
        }
    }

    /// Plays one recorded call; tells where it differs.
    async fn play(&self, call: &Value) -> Vec<String> {
        let script = &call["app_answers"];
        self.app.script(script);
        self.own.script(script);
        let sidecar = &self.sidecars[call["sidecar"].as_str().expect("a sidecar")];
        let ends = call["client_got"]["after"] == "eof";
        let got = client::exchange(sidecar.http_port, &call["request"], &self.ports, ends).await;
        let mut seen = self.app.take_seen();
        seen.extend(self.own.take_seen());
        let mut found = Vec::new();
        let request = normal::latin1(call["request"]["http"].as_str().expect("a request"));
        let normal = normal::Normal::new(&self.ports, &request);
        compare(
            "app",
            &normal.app(&call["app_saw"]),
            &normal.seen(&seen),
            &mut found,
        );
        compare(
            "client",
            &normal.client(&call["client_got"]),
            &normal.got(&got),
            &mut found,
        );
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

#[tokio::test(flavor = "multi_thread")]
async fn http_calls_are_answered_as_recorded() {
    let stage = Stage::new().await;
    let mut report = String::new();
    let mut played = 0;
    for line in RECORDED.lines() {
        let call: Value = serde_json::from_str(line).expect("JSON");
        let name = call["name"].as_str().expect("a name");
        let is_known = call["sidecar"]
            .as_str()
            .is_some_and(|sidecar| stage.sidecars.contains_key(sidecar));
        let text = call.to_string();
        if call["api"] != "http/1.1" || !is_known || text.contains("W0-gapp") || text.contains("W0-hc2a") {
            continue;
        }
        played += 1;
        let mut found = stage.play(&call).await;
        let expected = differences::of(name);
        found.retain(|difference| !expected.iter().any(|known| difference.contains(known)));
        if !found.is_empty() {
            let _ = writeln!(report, "\n{name}: {}", call["request"]["http"]);
            for difference in found {
                let _ = writeln!(report, "    {difference}");
            }
        }
    }
    assert!(report.is_empty(), "calls that differ:\n{report}");
    assert!(played > 150, "only {played} calls were played");
}
