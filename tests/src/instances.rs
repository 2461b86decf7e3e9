//! Several instances of one app, each with its sidecar, which programs take down and up again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::net::TcpListener;

use crate::app::{HttpApp, Protocol, Request, Response};
use crate::daprd::{Daprd, DaprdBuilder};

/// What the app of an instance, given by its number, does with a call.
type Handler = Arc<dyn Fn(usize, Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// The instances of one app. All have the same app id.
pub struct Instances {
    template: DaprdBuilder,
    protocol: Protocol,
    handler: Handler,
    all: Vec<Instance>,
}

/// An app and its sidecar, as far as they are up.
struct Instance {
    app: Option<HttpApp>,
    port: u16,
    sidecar: Option<Daprd>,
}

impl Instances {
    /// Starts `count` of them, whose sidecars are made as `template` is.
    ///
    /// # Panics
    /// When one of them does not start.
    pub async fn start<H, Fut>(count: usize, protocol: Protocol, template: DaprdBuilder, handler: H) -> Self
    where
        H: Fn(usize, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |at, request| Box::pin(handler(at, request)));
        let name = match protocol {
            Protocol::Http => "http",
            Protocol::H2c => "h2c",
        };
        let mut instances = Self {
            template: template.arg(format!("--app-protocol={name}")),
            protocol,
            handler,
            all: Vec::new(),
        };
        for at in 0..count {
            let app = HttpApp::start(protocol, instances.handler_of(at)).await;
            instances.all.push(Instance {
                port: app.port,
                app: Some(app),
                sidecar: None,
            });
            instances.restore(at).await;
        }
        instances
    }

    fn handler_of(&self, at: usize) -> impl Fn(Request) -> BoxFuture<'static, Response> + Clone + use<> {
        let handler = Arc::clone(&self.handler);
        move |request| handler(at, request)
    }

    /// How many there are, up or down.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Where the app of an instance listens, whenever it is up.
    pub fn port(&self, at: usize) -> u16 {
        self.all[at].port
    }

    /// Where the sidecar of an instance listens for others.
    ///
    /// # Panics
    /// When it is down.
    pub fn internal_port(&self, at: usize) -> u16 {
        let sidecar = self.all[at].sidecar.as_ref();
        sidecar.expect("a sidecar that is up").internal_port
    }

    /// Kills a sidecar, as a crash would.
    pub async fn kill(&mut self, at: usize) {
        if let Some(sidecar) = self.all[at].sidecar.take() {
            sidecar.kill().await;
        }
    }

    /// Stops a sidecar, as a platform does, and waits for its end.
    pub async fn stop(&mut self, at: usize) {
        if let Some(sidecar) = self.all[at].sidecar.take() {
            sidecar.stop().await;
        }
    }

    /// Stops all sidecars, one after the other.
    pub async fn stop_all(&mut self) {
        for at in 0..self.count() {
            self.stop(at).await;
        }
    }

    /// Sends a signal to a sidecar that is up.
    pub fn signal(&self, at: usize, signal: Signal) {
        if let Some(sidecar) = &self.all[at].sidecar {
            sidecar.signal(signal);
        }
    }

    /// Ends an app with all its connections; its sidecar goes on.
    pub fn drop_app(&mut self, at: usize) {
        self.all[at].app = None;
    }

    /// Starts what is down. The app listens where it did.
    ///
    /// # Panics
    /// When the sidecar does not start.
    pub async fn restore(&mut self, at: usize) {
        let port = self.all[at].port;
        if self.all[at].app.is_none() {
            let listener = loop {
                // The connections of the app before may keep the port for a moment.
                match TcpListener::bind(("127.0.0.1", port)).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            let app = HttpApp::start_on(listener, self.protocol, self.handler_of(at));
            self.all[at].app = Some(app);
        }
        if self.all[at].sidecar.is_none() {
            let sidecar = self.template.clone().app_port(port).start().await;
            self.all[at].sidecar = Some(sidecar);
        }
    }
}
