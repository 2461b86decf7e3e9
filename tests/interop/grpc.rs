//! gRPC's own interoperability tests, with gRPC for Go on both ends and two sidecars, or one, in between.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use integration_tests::{Daprd, DaprdBuilder, Mesh, Tools, daprd_binary, eventually, free_port};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::Findings;
use crate::judge::ask;

/// The cases of gRPC's interoperability tests that need no certificates and no accounts.
const CASES: &[&str] = &[
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

const APP: &str = "interop-app";

/// Judges proxied calls, between each pair of binaries.
pub(crate) async fn judge(tools: &Tools, mesh: &Mesh, peers: &[(String, PathBuf)]) -> Findings {
    let (Some(client), Some(server)) = (tools.find("client"), tools.find("server")) else {
        return Findings::new();
    };
    let mut findings = Findings::new();
    let port = free_port();
    let mut app = Command::new(server);
    app.arg(format!("--port={port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let _app = match app.spawn() {
        Ok(app) => app,
        Err(error) => return vec![format!("{app:?}: {error}")],
    };
    eventually("the server of the interoperability tests", || async {
        TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    let ours = ("daprd-rs", daprd_binary());
    let mut pairs = vec![(ours, ours)];
    for (name, path) in peers {
        let peer = (name.as_str(), path.as_path());
        pairs.extend([(ours, peer), (peer, ours)]);
    }
    for (caller, callee) in pairs {
        // Others may know no resolver but mDNS.
        let of = |app_id| match peers {
            [] => mesh.sidecar(app_id),
            _ => DaprdBuilder::new(app_id),
        };
        let callee_sidecar = start(of(APP).app_port(port), callee.1).await;
        let caller_sidecar = start(of("interop-caller"), caller.1).await;
        let mut roads = vec![(format!("{} to {}", caller.0, callee.0), &caller_sidecar)];
        if caller == callee {
            roads.push((format!("{} to its own app", callee.0), &callee_sidecar));
        }
        for (road, sidecar) in roads {
            let failed = cases(&client, sidecar).await;
            let content = CASES.len() - failed.len();
            println!("gRPC for Go, {road}: {content} of {}", CASES.len());
            findings.extend(failed.into_iter().map(|failed| format!("{road}: {failed}")));
        }
        caller_sidecar.stop().await;
        callee_sidecar.stop().await;
    }
    findings
}

async fn start(sidecar: DaprdBuilder, binary: &Path) -> Daprd {
    sidecar
        .binary(binary)
        .arg("--app-protocol=grpc")
        .arg("--enable-mtls=false")
        .log_level("warn")
        .start()
        .await
}

async fn cases(client: &Path, sidecar: &Daprd) -> Findings {
    let mut findings = Findings::new();
    for case in CASES {
        let mut command = Command::new(client);
        command
            .arg("--server_host=127.0.0.1")
            .arg(format!("--server_port={}", sidecar.grpc_port))
            .arg(format!("--additional_metadata=dapr-app-id:{APP}"))
            .arg(format!("--test_case={case}"));
        match ask(&mut command).await {
            Ok(verdict) if verdict.is_content => {}
            Ok(verdict) => findings.push(format!("{case}: {}", verdict.shown())),
            Err(error) => findings.push(error),
        }
    }
    findings
}
