//! The instances that answer.

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, Request, Response};
use tokio::net::TcpListener;

/// How many instances an app has.
const COUNT: usize = 3;

/// The instances of one app. All have the same app id.
pub(crate) struct Instances {
    mesh_args: Vec<String>,
    app_id: String,
    protocol: Protocol,
    pub(crate) instances: Vec<Instance>,
}

/// An app and its sidecar.
pub(crate) struct Instance {
    app: Option<HttpApp>,
    port: u16,
    sidecar: Option<Daprd>,
}

impl Instances {
    /// Starts all of them.
    pub(crate) async fn start(mesh: &Mesh, app_id: &str, protocol: Protocol) -> Self {
        let mut group = Self {
            mesh_args: mesh.args(),
            app_id: app_id.to_owned(),
            protocol,
            instances: Vec::new(),
        };
        for _ in 0..COUNT {
            let app = HttpApp::start(protocol, echo).await;
            let port = app.port;
            let sidecar = Some(group.sidecar(port).await);
            group.instances.push(Instance {
                app: Some(app),
                port,
                sidecar,
            });
        }
        group
    }

    /// Where the app of an instance listens.
    pub(crate) fn port(&self, at: usize) -> u16 {
        self.instances[at].port
    }

    async fn sidecar(&self, port: u16) -> Daprd {
        let protocol = if self.protocol == Protocol::H2c {
            "h2c"
        } else {
            "http"
        };
        let mut builder = integration_tests::DaprdBuilder::new(&self.app_id)
            .log_level("error")
            .arg(format!("--app-protocol={protocol}"))
            .app_port(port);
        for arg in &self.mesh_args {
            builder = builder.arg(arg);
        }
        builder.start().await
    }

    /// Kills a sidecar, as a crash would.
    pub(crate) async fn kill(&mut self, at: usize) {
        if let Some(sidecar) = self.instances[at].sidecar.take() {
            sidecar.kill().await;
        }
    }

    /// Stops a sidecar, as a platform does.
    pub(crate) async fn stop(&mut self, at: usize) {
        if let Some(sidecar) = self.instances[at].sidecar.take() {
            sidecar.stop().await;
        }
    }

    /// Starts what is down.
    pub(crate) async fn restore(&mut self, at: usize) {
        let port = self.instances[at].port;
        if self.instances[at].app.is_none() {
            let listener = loop {
                // The connections of the app before may keep the port for a moment.
                match TcpListener::bind(("127.0.0.1", port)).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                }
            };
            self.instances[at].app = Some(HttpApp::start_on(listener, self.protocol, echo));
        }
        if self.instances[at].sidecar.is_none() {
            self.instances[at].sidecar = Some(self.sidecar(port).await);
        }
    }

    /// Drops an app with all its connections; its sidecar goes on.
    pub(crate) fn drop_app(&mut self, at: usize) {
        self.instances[at].app = None;
    }
}

/// Gives every request its body back, piece by piece; a gRPC call with a status at the end.
async fn echo(request: Request) -> Response {
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    // Of unknown length: an app that declares a length and closes early is a case of its own, whose answer callers get as
    // it is. And without empty frames, of which an HTTP/2 connection bears few.
    let body = BodyStream::new(request.into_body().map_err(std::io::Error::other));
    let body = StreamBody::new(body.try_filter(|frame| {
        let is_empty = frame.data_ref().is_some_and(bytes::Bytes::is_empty);
        std::future::ready(!is_empty)
    }));
    if !is_grpc {
        return http::Response::new(body.boxed_unsync());
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = http::Response::new(body.boxed_unsync());
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}
