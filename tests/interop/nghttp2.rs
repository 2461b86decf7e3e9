//! The programs of nghttp2: a client that shows all frames, and one that makes load.

use integration_tests::{Daprd, Tools};
use tokio::process::Command;

use crate::Findings;
use crate::judge::ask;

/// Calls of the load, on how many connections, and how many at once on each. Their product is more than an app with one
/// thread and a short queue of new connections takes at once.
const LOAD: [&str; 6] = ["-n", "3000", "-c", "8", "-m", "25"];

/// Judges the HTTP port.
pub(crate) async fn judge(tools: &Tools, judged: &Daprd) -> Findings {
    let mut findings = Findings::new();
    let health = format!("http://127.0.0.1:{}/v1.0/healthz", judged.http_port);
    let call = judged.invoke_url("interop-judged", "m");
    if let Some(nghttp) = tools.find("nghttp") {
        for (what, args) in [("prior knowledge", &["-nv"][..]), ("upgrade", &["-nvu"])] {
            match ask(Command::new(&nghttp).args(args).arg(&health)).await {
                Ok(verdict) if verdict.is_content && verdict.text.contains(":status: 204") => {
                    println!("nghttp, {what}: content");
                }
                Ok(verdict) => findings.push(format!("nghttp, {what}:\n{}", verdict.shown())),
                Err(error) => findings.push(error),
            }
        }
    }
    if let Some(h2load) = tools.find("h2load") {
        for (what, args) in [("HTTP/2", &[][..]), ("HTTP/1.1", &["--h1"])] {
            match ask(Command::new(&h2load).args(LOAD).args(args).arg(&call)).await {
                Ok(verdict) if verdict.text.contains(" 3000 succeeded, 0 failed") => {
                    println!("h2load, {what}: 3000 calls succeeded");
                }
                Ok(verdict) => findings.push(format!("h2load, {what}:\n{}", verdict.shown())),
                Err(error) => findings.push(error),
            }
        }
    }
    findings
}
