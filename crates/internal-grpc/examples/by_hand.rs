//! Two sidecars composed by hand in one process: a callee with an app that echoes, and a caller with a resolver and a
//! policy of its own. `cargo run -p internal-grpc --example by_hand`
#![allow(clippy::print_stdout, reason = "it prints what happens")]

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use internal_grpc::{Client, ClientConfig, SERVICES, Server, ServerConfig};
use invoke_core::attempts::{Attempts, CallFacts, Named, Outcome, Run, Verdict};
use invoke_core::balance::{Endpoint, EndpointWatch, watched};
use invoke_core::headers::Identity;
use invoke_core::{
    AllowAll, AppChannel, AppRef, Body, Head, Inbound, Invocation, Invoke, InvokeError, MethodPath,
    NoExternalEndpoints, Origin, Outbound, ProxiedHead, Reply, Resolver, Route, Verb, WireStatus,
};
use lifecycle::{Shutdown, Tasks};
use reflection::Reflection;
use transport::listen::{Listener, Patience};
use transport::server::{GrpcServerConfig, serve_grpc};

/// An app that fails once, and then echoes.
struct Echo(AtomicU32);

impl AppChannel for Echo {
    async fn invoke(&self, _: Cow<'_, Head>, body: Body) -> Result<Reply, InvokeError> {
        let code = if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            503
        } else {
            200
        };
        let status = WireStatus {
            code,
            ..WireStatus::default()
        };
        let mut reply = Reply::new(status, Route::Local);
        reply.body = body;
        Ok(reply)
    }

    async fn proxy(&self, _: Cow<'_, ProxiedHead>, body: Body) -> Result<Response<Body>, InvokeError> {
        Ok(Response::new(body))
    }
}

/// Everybody is at one address.
struct At(String);

impl Resolver for At {
    fn watch(&self, _: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        publisher.publish_final([Endpoint::new(self.0.as_str())]);
        watch
    }
}

/// Tries again after each 503, without an end.
struct Persistent;
struct Call;

impl Attempts for Persistent {
    type Policy = ();
    type Run = Call;

    fn policy(&self, _: Named<'_>, _: &str) -> Option<()> {
        Some(())
    }

    fn begin(&self, (): &(), _: CallFacts<'_>) -> Option<Call> {
        Some(Call)
    }
}

impl Run for Call {
    fn wants_status(&self) -> bool {
        true
    }

    fn judge(&mut self, outcome: Outcome<'_>) -> Verdict {
        println!("came: {outcome:?}");
        match outcome {
            Outcome::Answered(Some(503)) => Verdict::Again(Duration::from_millis(10)),
            _ => Verdict::Done,
        }
    }
}

fn identity(app: &str) -> Arc<Identity> {
    Arc::new(Identity::new(app.into(), "default".into(), "", ""))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let inbound = Inbound::new(identity("callee"), Some(Echo(AtomicU32::new(0))), AllowAll);
    let server = Server::new(
        Arc::new(inbound),
        ServerConfig::default(),
        Reflection::new(SERVICES)?,
    );
    let listener = Listener::tcp("127.0.0.1:0", Patience::None).await?;
    let address = listener.local_addr().ok_or("no address")?.to_string();
    let (_trigger, shutdown) = Shutdown::new();
    tokio::spawn(serve_grpc(
        listener,
        GrpcServerConfig::default(),
        server,
        shutdown,
    ));

    let outbound = Outbound::with(
        identity("caller"),
        Arc::new(Inbound::without_app(identity("caller"))),
        Client::new(ClientConfig::default(), Tasks::new()),
        NoExternalEndpoints,
        Some(Arc::new(At(address))),
        Arc::default(),
        Persistent,
    );
    let mut head = Head::new(MethodPath::parse("echo")?, Origin::Http);
    head.verb = Some(Verb::POST);
    let body = Body::full("hello");
    let reply = outbound.invoke("callee", Invocation { head, body }).await?;
    let answer = reply.body.collect().await?.to_bytes();
    println!("{} {}", reply.status.code, String::from_utf8_lossy(&answer));
    if answer == "hello" {
        Ok(())
    } else {
        Err("this is no echo".into())
    }
}
