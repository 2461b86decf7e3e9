//! gRPC through two sidecars: invocations in all pairs of protocols, and services of the app's own.

mod broken;
mod cancel;
mod floods;
mod limits;
mod load;
mod metadata;
mod packed;
mod pairs;
mod proxy;
mod stalled;

use integration_tests::grpc::{GrpcApp, GrpcClient};
use integration_tests::{Daprd, DaprdBuilder, Mesh};

/// The id of the app that is called.
const APP: &str = "app-2";
/// A method of its own service.
const METHOD: &str = "/test.Service/Method";
const TO_APP: (&str, &str) = ("dapr-app-id", APP);

/// A caller's sidecar, and that of a gRPC app.
struct Pair {
    mesh: Mesh,
    caller: Daprd,
    callee: Daprd,
}

impl Pair {
    async fn of(app: &GrpcApp) -> Self {
        Self::with(app.port, |builder| builder).await
    }

    /// The same with more settings for both sidecars.
    async fn with(app_port: u16, more: impl Fn(DaprdBuilder) -> DaprdBuilder) -> Self {
        let mesh = Mesh::new();
        let callee = mesh.sidecar(APP).app_port(app_port).arg("--app-protocol=grpc");
        let (caller, callee) = tokio::join!(
            more(mesh.sidecar("app-1")).log_level("info").start(),
            more(callee).log_level("info").start()
        );
        Self { mesh, caller, callee }
    }

    /// A client of the caller's gRPC API.
    async fn client(&self) -> GrpcClient {
        GrpcClient::connect(self.caller.grpc_port).await
    }
}
