//! Whole sidecars, each on a thread of its own whose allocations are counted, called over real sockets one call
//! after the other.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use allocation_counter::measure;
use api_core::{Metadata, MetadataSettings};
use api_http::{Api, ApiSettings, Health};
use app_channel::{
    App, GrpcCall, GrpcChannel, GrpcSettings, HttpCall, HttpChannel, HttpProtocol, HttpSettings, Observer,
    Reuse, Watched,
};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use integration_tests::{HttpApp, Protocol, text};
use internal_grpc::{Client, ClientConfig, Server, ServerConfig};
use invoke_core::balance::{Endpoint, EndpointWatch, watched};
use invoke_core::headers::Identity;
use invoke_core::{AllowAll, AppRef, Inbound, NoExternalEndpoints, Outbound, Resolver};
use lifecycle::{Readiness, Shutdown, Tasks, shutdown_requests};
use reflection::Reflection;
use resiliency::Policies;
use telemetry::metrics::{self, AppMetrics, CallMetrics, HttpMode, MetricsSettings, PathLabels, Rules};
use telemetry::traces::{Exporters, Plan, TraceSpec, Traces};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use transport::client::Proxies;
use transport::listen::{Listener, Patience};
use transport::server::{GrpcServerConfig, Handler, HttpServerConfig, serve_grpc, serve_http};

use crate::at_most;

const WARM_UP: u64 = 100;
const CALLS: u64 = 400;
const BODY: usize = 1024;

/// A sidecar on its thread.
struct Sidecar {
    port: u16,
    warm: oneshot::Sender<()>,
    done: oneshot::Sender<()>,
    thread: JoinHandle<u64>,
}

impl Sidecar {
    fn start<H: Handler>(handler: impl FnOnce(Tasks) -> H + Send + 'static, is_grpc: bool) -> Self {
        let (tell_port, port) = std::sync::mpsc::channel();
        let (warm, is_warm) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            // Without the trigger the servers end.
            let _trigger = runtime.block_on(async {
                let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
                tell_port.send(listener.local_addr().unwrap().port()).unwrap();
                let (trigger, shutdown) = Shutdown::new();
                let handler = handler(Tasks::new());
                if is_grpc {
                    let config = GrpcServerConfig::default();
                    tokio::spawn(serve_grpc(listener, config, handler, shutdown));
                } else {
                    let config = HttpServerConfig {
                        max_header_bytes: 64 * 1024,
                        header_timeout: Duration::from_secs(10),
                        h2c: None,
                        descriptors: transport::Descriptors::default(),
                    };
                    tokio::spawn(serve_http(listener, config, handler, shutdown));
                }
                is_warm.await.unwrap();
                trigger
            });
            measure(|| runtime.block_on(is_done).unwrap()).count_total
        });
        Self {
            port: port.recv().unwrap(),
            warm,
            done,
            thread,
        }
    }
}

/// Knows one endpoint of every app.
struct One(EndpointWatch);

impl Resolver for One {
    fn watch(&self, _: &AppRef) -> EndpointWatch {
        self.0.clone()
    }
}

fn identity(app_id: &str) -> Arc<Identity> {
    Arc::new(Identity::new(
        app_id.into(),
        "default".into(),
        "127.0.0.1",
        "node",
    ))
}

/// Whoever measures, as in a sidecar whose metrics are on.
fn measuring(app_id: &str) -> (CallMetrics, Watched) {
    let settings = MetricsSettings {
        app_id: app_id.into(),
        http: HttpMode {
            is_increased: true,
            ..HttpMode::default()
        },
        latencies: Vec::new(),
        rules: Rules::default(),
        records_error_codes: true,
        has_own: true,
        // Those who want exemplars must not pay for them unless a call is recorded.
        has_exemplars: true,
    };
    let paths = Arc::new(PathLabels::new(true, &[]).0);
    let app = Watched::by(Arc::new(Measured(AppMetrics::new(&settings, &paths))));
    (CallMetrics::new(&settings, &paths), app)
}

struct Measured(AppMetrics);

impl Measured {
    fn call<'a>(call: &HttpCall<'a>) -> metrics::HttpCall<'a> {
        metrics::HttpCall {
            method: call.method,
            path: std::str::from_utf8(call.path).unwrap(),
            span: call.span,
        }
    }
}

impl Observer for Measured {
    fn http_begun(&self, call: HttpCall<'_>, bytes: u64) {
        self.0.http_begun(Self::call(&call), bytes);
    }

    fn http_answered(&self, call: HttpCall<'_>, status: i32, latency: Duration) {
        self.0.http_completed(Self::call(&call), status, latency);
    }

    fn http_received(&self, bytes: u64) {
        self.0.http_received(bytes);
    }

    fn grpc_answered(&self, _: GrpcCall<'_>) {}

    fn http_probed(&self, _: i32, _: Duration) {}

    fn grpc_probed(&self, _: i32, _: Duration) {}
}

fn callee(app: u16, is_measured: bool, is_traced: bool) -> Sidecar {
    let handler = move |tasks: Tasks| {
        let address = format!("127.0.0.1:{app}");
        let grpc = GrpcSettings {
            address: address.clone(),
            tls: None,
            token: None,
            max_message: 1 << 20,
            reuse: Reuse::default(),
        };
        let http = HttpSettings {
            protocol: HttpProtocol::Http,
            base: format!("http://{address}"),
            tls: None,
            proxy: None,
            token: None,
            max_header_bytes: 64 * 1024,
            deadline_header: None,
            reuse: Reuse::default(),
        };
        let http = HttpChannel::new(http, tasks.clone()).unwrap();
        let (calls, watched) = measuring("callee");
        let traces = is_traced.then(|| tracing("callee"));
        let observer = Arc::new((is_measured.then_some(calls), traces));
        let watched = if is_measured { watched } else { Watched::default() };
        let channel = App::http(http, GrpcChannel::new(grpc, tasks)).watched(watched);
        let inbound = Inbound::observed(identity("callee"), Some(channel), AllowAll, Arc::clone(&observer));
        let reflection = Reflection::new(internal_grpc::SERVICES).unwrap();
        Server::observed(Arc::new(inbound), observer, ServerConfig::default(), reflection)
    };
    Sidecar::start(handler, true)
}

fn caller(peer: u16, is_measured: bool, is_traced: bool) -> Sidecar {
    let handler = move |tasks: Tasks| {
        let endpoint = Endpoint::new(format!("127.0.0.1:{peer}"));
        let (publisher, known) = watched();
        publisher.publish_final([endpoint]);
        let traces = is_traced.then(|| tracing("caller"));
        let observer = Arc::new((is_measured.then(|| measuring("caller").0), traces));
        let inbound =
            Inbound::<App, _, _>::observed(identity("caller"), None, AllowAll, Arc::clone(&observer));
        let outbound = Outbound::with(
            identity("caller"),
            Arc::new(inbound),
            Client::new(ClientConfig::default(), tasks),
            NoExternalEndpoints,
            Some(Arc::new(One(known))),
            Arc::default(),
            Policies::built_in(),
        );
        let settings = ApiSettings {
            max_body: None,
            token: None,
            apis: api_core::ApiLists::default(),
            cors: None,
            tracing: true,
            pipeline: None,
            deadline_header: None,
        };
        Api::new(
            Arc::new(outbound),
            observer,
            settings,
            Arc::new(Metadata::new(MetadataSettings::default())),
            Health::new(Readiness::new()),
            shutdown_requests().0,
        )
    };
    Sidecar::start(handler, false)
}

#[tokio::test]
async fn an_http_call() {
    an_http_call_through(false, false).await;
}

/// To be measured is to allocate nothing more.
#[tokio::test]
async fn an_http_call_that_is_measured() {
    an_http_call_through(true, false).await;
}

/// A trace that is not sampled costs nothing but ids.
#[tokio::test]
async fn an_http_call_that_is_not_sampled() {
    an_http_call_through(true, true).await;
}

/// Who makes spans of next to nothing.
fn tracing(app_id: &str) -> Traces {
    let spec = TraceSpec {
        sampling_rate: "0.0000000000001".to_owned(),
        stdout: true,
        ..TraceSpec::default()
    };
    let exporters = Exporters::new(app_id, Tasks::new(), Tasks::new(), Proxies::default());
    Plan::of(spec, app_id, |_| None)
        .unwrap()
        .begin(&exporters)
        .unwrap()
}

async fn an_http_call_through(is_measured: bool, is_traced: bool) {
    let app = HttpApp::start(Protocol::Http, |request| async move {
        drop(request.into_body().collect().await);
        text(200, vec![b'y'; BODY])
    })
    .await;
    let callee = callee(app.port, is_measured, is_traced);
    let caller = caller(callee.port, is_measured, is_traced);
    let socket = TcpStream::connect(("127.0.0.1", caller.port)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut call = async |times| {
        for _ in 0..times {
            let request = Request::builder()
                .method(Method::POST)
                .uri("/v1.0/invoke/callee/method/orders")
                .header("host", "127.0.0.1")
                .header("content-type", "application/json")
                .header("user-agent", "test")
                .body(Full::<Bytes>::from(vec![b'x'; BODY]))
                .unwrap();
            sender.ready().await.unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), BODY);
        }
    };
    call(WARM_UP).await;
    caller.warm.send(()).unwrap();
    callee.warm.send(()).unwrap();
    call(CALLS).await;
    caller.done.send(()).unwrap();
    callee.done.send(()).unwrap();
    at_most(
        19.0,
        match (is_measured, is_traced) {
            (_, true) => "the caller's sidecar, HTTP, not sampled",
            (true, false) => "the caller's sidecar, HTTP, measured",
            (false, false) => "the caller's sidecar, HTTP",
        },
        caller.thread.join().unwrap(),
        CALLS,
    );
    at_most(
        // Ids of its own make the context of a call a text that its connection has not seen before.
        if is_traced { 24.0 } else { 23.0 },
        match (is_measured, is_traced) {
            (_, true) => "the callee's sidecar, HTTP, not sampled",
            (true, false) => "the callee's sidecar, HTTP, measured",
            (false, false) => "the callee's sidecar, HTTP",
        },
        callee.thread.join().unwrap(),
        CALLS,
    );
}
