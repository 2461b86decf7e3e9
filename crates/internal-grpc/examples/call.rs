//! Calls a Dapr app from a Rust program that has no sidecar: it speaks with the sidecar of the app by itself.
//!
//! `cargo run -p internal-grpc --example call -- ADDRESS APP METHOD [BODY]`, where `ADDRESS` is the internal gRPC address
//! of the app's sidecar, with `{appid}` for the id if that is a part of it.
#![allow(clippy::print_stdout, reason = "it prints the answer")]

use std::error::Error;
use std::sync::Arc;

use http_body_util::BodyExt;
use internal_grpc::{Client, ClientConfig};
use invoke_core::balance::{Endpoint, EndpointWatch, watched};
use invoke_core::headers::Identity;
use invoke_core::{
    AppRef, Body, Head, Inbound, Invocation, Invoke, MethodPath, Origin, Outbound, Resolver, Verb,
};
use lifecycle::Tasks;

/// Finds every app by a format: the answer is final, so nothing needs to keep it up to date.
struct Format(String);

impl Resolver for Format {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        publisher.publish_final([Endpoint::new(self.0.replace("{appid}", app.id.as_str()))]);
        watch
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, app, method, body @ ..] = &arguments[..] else {
        return Err("wanted: ADDRESS APP METHOD [BODY]".into());
    };
    let identity = Arc::new(Identity::new("example".into(), "default".into(), "", ""));
    let outbound = Outbound::new(
        Arc::clone(&identity),
        Arc::new(Inbound::without_app(identity)),
        Client::new(ClientConfig::default(), Tasks::new()),
        invoke_core::NoExternalEndpoints,
        Some(Arc::new(Format(address.clone()))),
    );
    let mut head = Head::new(MethodPath::parse(method.clone())?, Origin::Http);
    head.verb = Some(Verb::POST);
    let body = Body::full(body.concat());
    let reply = outbound.invoke(app, Invocation { head, body }).await?;
    println!("{}", reply.status.code);
    let body = reply.body.collect().await?.to_bytes();
    println!("{}", String::from_utf8_lossy(&body));
    Ok(())
}
