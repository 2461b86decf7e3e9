//! What a call through a guest costs: `cargo run --release -p middleware --example wasm_cost -- GUEST.wasm [URI]`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it is a program to look at"
)]

use std::time::Instant;

use http::{Request, Response};
use invoke_core::{Body, Entered};
use middleware::{Middleware, Properties, Spec, Store, Wanted, Web};

const KIND: &str = "middleware.http.wasm";
const CALLS: u32 = 100_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap();
    let uri = args.next().unwrap_or_else(|| "/v1.0/hi?name=panda".to_owned());
    let begun = Instant::now();
    let spec = Spec {
        name: "guest".to_owned(),
        kind: KIND.to_owned(),
        version: String::new(),
        properties: Properties::new([("url".to_owned(), format!("file://{path}"))]),
    };
    let web = Web::new(transport::client::Proxies::default(), lifecycle::Tasks::new());
    let mut store = Store::default();
    store.put(Middleware::load(spec, &web).await.unwrap());
    println!("loaded in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    let wanted = Wanted {
        name: "guest",
        kind: KIND,
        version: "",
    };
    let pipeline = store.pipeline([wanted], |_| {}).unwrap();
    for round in 0..3 {
        let begun = Instant::now();
        for _ in 0..CALLS {
            let request = Request::builder().uri(&uri).body(Body::empty()).unwrap();
            let answer = match pipeline.enter(request, None).await {
                Entered::Passed(_, leave) => leave.apply(Response::new(Body::empty())).await,
                Entered::Answered(answer) => answer,
            };
            assert!(answer.status().is_success());
        }
        let nanos = begun.elapsed().as_nanos() / u128::from(CALLS);
        println!("round {round}: {nanos} ns a call");
    }
}
