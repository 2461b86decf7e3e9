//! A DNS: a server that knows one name.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use integration_tests::{DaprdBuilder, HttpApp, Protocol, eventually};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::{Configured, page};

/// A server of DNS (RFC 1035) that knows the address of one name; it stops when dropped.
struct Server {
    port: u16,
    task: JoinHandle<()>,
}

impl Server {
    async fn knowing(name: &'static str, is_there: Arc<AtomicBool>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let labels: Vec<u8> = name
            .split('.')
            .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
            .collect();
        let task = tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                let question = &query[12..length];
                let is_known = question.starts_with(&labels) && is_there.load(Ordering::Relaxed);
                let end = labels.len() + 5;
                let is_address = question.get(labels.len() + 2) == Some(&1);
                let mut reply = query[..2].to_vec();
                reply.extend([
                    0x81,
                    if is_known { 0x80 } else { 0x83 },
                    0,
                    1,
                    0,
                    u8::from(is_known && is_address),
                    0,
                    0,
                    0,
                    0,
                ]);
                reply.extend(question.get(..end).unwrap_or(question));
                if is_known && is_address {
                    // The name of the question, an address, good for one second.
                    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                    reply.extend(Ipv4Addr::LOCALHOST.octets());
                }
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        Self { port, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_book_finds_a_sidecar() {
    let app = HttpApp::echo(Protocol::Http).await;
    let callee = DaprdBuilder::new("callee").app_port(app.port).start().await;
    let is_there = Arc::new(AtomicBool::new(true));
    let server = Server::knowing("callee.default.sidecars.internal", Arc::clone(&is_there)).await;
    let mesh = Configured::by_example(
        page!("dns"),
        &[
            ("50002", callee.internal_port.to_string()),
            ("10.0.0.2", format!("127.0.0.1:{}", server.port)),
        ],
    );
    let caller = mesh.sidecar("caller").start().await;
    let call = async |id: &str| {
        let answer = reqwest::get(caller.invoke_url(id, "m")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(call("callee").await.0, 200);
    let (status, error) = call("other").await;
    assert_eq!(status, 500);
    assert!(
        error.contains(
            "failed to resolve address for 'other.default.sidecars.internal': lookup other.default.sidecars.internal: no \
             such host"
        ),
        "{error}"
    );
    // A name that goes is known for a while, then not.
    is_there.store(false, Ordering::Relaxed);
    assert_eq!(call("callee").await.0, 200);
    eventually("the name is given up", || async { call("callee").await.0 == 500 }).await;
    is_there.store(true, Ordering::Relaxed);
    assert_eq!(call("callee").await.0, 200, "the next call asks anew");
}
