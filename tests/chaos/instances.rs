//! The instances that are called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use integration_tests::{Daprd, DaprdBuilder, HttpApp, Protocol, Request, Response, text};
use rustix::process::Signal;
use tokio::net::TcpListener;

use crate::options::Binary;

/// How many instances the app has.
const COUNT: usize = 3;
/// How long the app takes for a call.
const WORK: Duration = Duration::from_millis(2);
const SLOW_WORK: Duration = Duration::from_millis(200);

/// How an app is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Well,
    Slow,
    Mute,
}

/// The instances of one app. All have the same app id.
pub(crate) struct Instances {
    mesh_args: Vec<String>,
    app_id: String,
    binary: Binary,
    all: Vec<Instance>,
}

struct Instance {
    app: Option<HttpApp>,
    port: u16,
    mood: Arc<AtomicU8>,
    sidecar: Option<Daprd>,
}

impl Instances {
    pub(crate) async fn start(mesh_args: &[String], app_id: &str, binary: &Binary) -> Self {
        let mut instances = Self {
            mesh_args: mesh_args.to_vec(),
            app_id: app_id.to_owned(),
            binary: binary.clone(),
            all: Vec::new(),
        };
        for _ in 0..COUNT {
            let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
            let app = HttpApp::start(Protocol::Http, work(&mood)).await;
            let port = app.port;
            let sidecar = Some(instances.sidecar(port).await);
            instances.all.push(Instance {
                app: Some(app),
                port,
                mood,
                sidecar,
            });
        }
        instances
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    async fn sidecar(&self, port: u16) -> Daprd {
        let builder = DaprdBuilder::new(&self.app_id)
            .binary(&self.binary.path)
            .log_level("error")
            .app_port(port);
        let builder = self.mesh_args.iter().fold(builder, DaprdBuilder::arg);
        builder.start().await
    }

    /// Kills a sidecar, as a crash would.
    pub(crate) async fn kill(&mut self, at: usize) {
        if let Some(sidecar) = self.all[at].sidecar.take() {
            sidecar.kill().await;
        }
    }

    pub(crate) fn stall(&self, at: usize) {
        self.signal(at, Signal::STOP);
    }

    pub(crate) fn go_on(&self, at: usize) {
        self.signal(at, Signal::CONT);
    }

    fn signal(&self, at: usize, signal: Signal) {
        if let Some(sidecar) = &self.all[at].sidecar {
            sidecar.signal(signal);
        }
    }

    /// Ends an app with all its connections; its sidecar goes on.
    pub(crate) fn drop_app(&mut self, at: usize) {
        self.all[at].app = None;
    }

    pub(crate) fn app_is(&self, at: usize, mood: Mood) {
        self.all[at].mood.store(mood as u8, Ordering::Relaxed);
    }

    /// Stops a sidecar, as a platform does, and starts another one.
    pub(crate) async fn roll(&mut self, at: usize) {
        if let Some(sidecar) = self.all[at].sidecar.take() {
            sidecar.stop().await;
        }
        self.restore(at).await;
    }

    /// Starts what is down.
    pub(crate) async fn restore(&mut self, at: usize) {
        let (port, mood) = (self.all[at].port, Arc::clone(&self.all[at].mood));
        if self.all[at].app.is_none() {
            let listener = loop {
                // The connections of the app before may keep the port for a moment.
                match TcpListener::bind(("127.0.0.1", port)).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            self.all[at].app = Some(HttpApp::start_on(listener, Protocol::Http, work(&mood)));
        }
        if self.all[at].sidecar.is_none() {
            self.all[at].sidecar = Some(self.sidecar(port).await);
        }
    }

    pub(crate) async fn stop(self) {
        for instance in self.all {
            if let Some(sidecar) = instance.sidecar {
                sidecar.stop().await;
            }
        }
    }
}

/// What the app does with a call.
fn work(mood: &Arc<AtomicU8>) -> impl Fn(Request) -> BoxFuture<'static, Response> + Clone + use<> {
    let mood = Arc::clone(mood);
    move |_| {
        let mood = mood.load(Ordering::Relaxed);
        Box::pin(async move {
            if mood == Mood::Mute as u8 {
                std::future::pending::<()>().await;
            }
            let time = if mood == Mood::Slow as u8 { SLOW_WORK } else { WORK };
            tokio::time::sleep(time).await;
            text(200, "done")
        })
    }
}
