//! Other sidecars that die, stop, and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;
use integration_tests::{
    BodySender, Daprd, DaprdBuilder, HttpApp, Mesh, Protocol, RawClient, Request, eventually, stream, text,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::stage::{Pair, chunk, head, soon};

/// An app that answers with a name, after a moment in which others may die.
async fn named_app(name: &'static str) -> HttpApp {
    HttpApp::start(Protocol::Http, move |_| async move {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        text(200, name)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_sidecar_dies_is_broken() {
    let (senders, mut started) = mpsc::unbounded_channel::<BodySender>();
    let app = HttpApp::start(Protocol::Http, move |request: Request| {
        let senders = senders.clone();
        async move {
            let (sender, answer) = stream(200);
            if request.uri().path() == "/m" {
                let _ = senders.send(sender);
            }
            answer
        }
    })
    .await;
    for accept in ["*/*", "text/event-stream"] {
        let pair = Pair::new(app.port).await;
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send(format!("{}accept: {accept}\r\n\r\n", head("GET", "m")))
            .await;
        let mut sender = soon("the call", started.recv()).await.unwrap();
        sender.send_data(Bytes::from_static(b"half")).await.unwrap();
        assert_eq!(client.receive_head().await.unwrap().status(), 200);
        assert_eq!(client.receive_chunk().await.unwrap(), b"half");
        pair.callee.kill().await;
        assert_eq!(client.receive_chunk().await, None, "the answer looks complete");
        assert!(client.is_closed().await);
        drop(sender);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_sidecar_dies_fails() {
    let (arrived, mut arrival) = mpsc::unbounded_channel();
    let app = HttpApp::start(Protocol::Http, move |request: Request| {
        let arrived = arrived.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {
                let _ = arrived.send(());
            }
            text(200, "never")
        }
    })
    .await;
    for framing in ["transfer-encoding: chunked", "content-length: 1000000"] {
        let pair = Pair::new(app.port).await;
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send(format!("{}{framing}\r\n\r\n", head("POST", "m")))
            .await;
        // More than what is kept to be sent again.
        let piece = vec![b'x'; 100_000];
        let piece = if framing.ends_with("chunked") {
            chunk(&piece)
        } else {
            piece
        };
        client.send(&piece).await;
        soon("a piece", arrival.recv()).await.unwrap();
        pair.callee.kill().await;
        // The connection may be gone before the answer could be read.
        if let Some(answer) = client.receive().await {
            assert_eq!(answer.status(), 500, "{framing}");
            assert!(answer.text().contains("ERR_DIRECT_INVOKE"), "{}", answer.text());
        }
    }
}

/// Callers that never pause; what they got wrong is counted.
struct Load {
    callers: JoinSet<()>,
    is_over: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    bad: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Load {
    fn start(caller: &Daprd) -> Self {
        let load = Self {
            callers: JoinSet::new(),
            is_over: Arc::default(),
            good: Arc::default(),
            bad: Arc::default(),
        };
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let (is_over, good, bad) = (
                Arc::clone(&load.is_over),
                Arc::clone(&load.good),
                Arc::clone(&load.bad),
            );
            let url = caller.invoke_url("many", "m");
            callers.spawn(async move {
                let client = reqwest::Client::new();
                while !is_over.load(Ordering::Relaxed) {
                    let answer = client.put(&url).body("small").send().await;
                    let answer = answer.expect("the sidecar is there");
                    if answer.status() == 200 {
                        good.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let text = answer.text().await.unwrap_or_default();
                        bad.lock().unwrap().push(text);
                    }
                }
            });
        }
        Self { callers, ..load }
    }

    async fn calls(&self, more: usize) {
        let enough = self.good.load(Ordering::Relaxed) + more;
        eventually("more calls", || async {
            self.good.load(Ordering::Relaxed) >= enough || !self.bad.lock().unwrap().is_empty()
        })
        .await;
    }

    async fn finish(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.expect("no caller panics");
        }
        let bad = self.bad.lock().unwrap();
        assert!(bad.is_empty(), "{} calls were lost: {:?}", bad.len(), bad.first());
    }
}

async fn three(sidecar: impl Fn(u16) -> DaprdBuilder) -> (Vec<HttpApp>, Vec<Daprd>) {
    let (mut apps, mut instances) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c"] {
        let app = named_app(name).await;
        instances.push(sidecar(app.port).start().await);
        apps.push(app);
    }
    (apps, instances)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_lost_when_one_of_three_dies_or_stops() {
    for is_polite in [false, true] {
        let mesh = Mesh::new();
        let (_apps, mut instances) =
            three(|port| mesh.sidecar("many").app_port(port).log_level("info")).await;
        let caller = mesh.sidecar("caller").log_level("info").start().await;
        let load = Load::start(&caller);
        load.calls(300).await;
        let victim = instances.pop().expect("three of them");
        if is_polite {
            assert_eq!(victim.stop().await.code, Some(0));
        } else {
            victim.kill().await;
        }
        load.calls(600).await;
        load.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_comes_back_is_found() {
    let mesh = Mesh::new();
    let app = named_app("first").await;
    let first = mesh.sidecar("many").app_port(app.port).start().await;
    let caller = mesh.sidecar("caller").start().await;
    let url = caller.invoke_url("many", "m");
    let ask = async || reqwest::get(&url).await.unwrap().text().await.unwrap();
    assert_eq!(ask().await, "first");
    first.kill().await;
    assert!(ask().await.contains("ERR_DIRECT_INVOKE"), "nobody is there");
    let app = named_app("second").await;
    let _second = mesh.sidecar("many").app_port(app.port).start().await;
    let begun = std::time::Instant::now();
    eventually("the second instance", || async { ask().await == "second" }).await;
    println!("found after {:?}", begun.elapsed());
}

/// Two sidecars that find each other by mDNS, where the machine can.
#[tokio::test(flavor = "multi_thread")]
async fn mdns_finds_and_forgets() {
    let id = format!("it-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let app = named_app("first").await;
    let first = DaprdBuilder::new(&id).app_port(app.port).start().await;
    let caller = DaprdBuilder::new(&format!("{id}-caller")).start().await;
    if caller.log().contains("[INIT_COMPONENT_FAILURE]") || first.log().contains("[INIT_COMPONENT_FAILURE]") {
        println!("skipped: mDNS cannot be used on this machine");
        return;
    }
    let url = caller.invoke_url(&id, "m");
    let ask = async || reqwest::get(&url).await.unwrap().text().await.unwrap();
    eventually("the first instance", || async { ask().await == "first" }).await;
    assert_eq!(first.stop().await.code, Some(0));
    let gone = ask().await;
    assert!(
        gone.contains(&format!("couldn't find service: {id}")),
        "a goodbye was not heard: {gone}"
    );
    let app = named_app("second").await;
    let second = DaprdBuilder::new(&id).app_port(app.port).start().await;
    eventually("the second instance", || async { ask().await == "second" }).await;
    second.kill().await;
    let app = named_app("third").await;
    let _third = DaprdBuilder::new(&id).app_port(app.port).start().await;
    eventually("the third instance", || async { ask().await == "third" }).await;
}
