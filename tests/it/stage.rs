//! What most tests start from: two sidecars that find each other, the second with an app.

use std::future::Future;
use std::time::Duration;

use integration_tests::{Daprd, DaprdBuilder, Mesh, PATIENCE};

/// `caller`, which has no app, and `callee`, which has one.
pub(crate) struct Pair {
    pub(crate) caller: Daprd,
    pub(crate) callee: Daprd,
    _mesh: Mesh,
}

impl Pair {
    pub(crate) async fn new(app_port: u16) -> Self {
        Self::with(app_port, |sidecar| sidecar).await
    }

    /// Both sidecars get what `more` adds.
    pub(crate) async fn with(app_port: u16, more: impl Fn(DaprdBuilder) -> DaprdBuilder) -> Self {
        let mesh = Mesh::new();
        let callee = more(mesh.sidecar("callee").app_port(app_port)).start();
        let caller = more(mesh.sidecar("caller")).start();
        let (callee, caller) = tokio::join!(callee, caller);
        Self {
            caller,
            callee,
            _mesh: mesh,
        }
    }

    /// The URL of a method of the app, called through both sidecars.
    pub(crate) fn url(&self, method: &str) -> String {
        self.caller.invoke_url("callee", method)
    }
}

/// The head of a request for a method of `callee`, without the empty line.
pub(crate) fn head(verb: &str, method: &str) -> String {
    format!("{verb} /v1.0/invoke/callee/method/{method} HTTP/1.1\r\nhost: x\r\n")
}

/// A chunk as it stands on the wire.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// What the future comes to, in time.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("gave up waiting for: {what}"))
}

/// Whether the future does not come to an end for a while. A slow machine can only make this true.
pub(crate) async fn stalls<T>(future: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::from_secs(1), future)
        .await
        .is_err()
}
