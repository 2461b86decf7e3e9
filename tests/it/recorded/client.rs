//! The client of a recorded call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use integration_tests::{RawClient, RawResponse};
use serde_json::Value;

use super::normal::{Ports, latin1};

/// What the client got.
#[derive(Debug, Default)]
pub(super) struct Got {
    /// The line of the answer to an expectation.
    pub(super) expect: Option<String>,
    /// The answers; `None` for one that was not complete.
    pub(super) answers: Vec<Option<RawResponse>>,
    /// Whether the connection was closed after them.
    pub(super) is_closed: Option<bool>,
}

/// Sends a recorded request and reads what comes back. `ends` asks whether the connection is closed then.
pub(super) async fn exchange(port: u16, request: &Value, ports: &Ports, ends: bool) -> Got {
    let mut client = RawClient::connect(port).await;
    let head = latin1(&credentials(
        &ports.put(request["http"].as_str().expect("a request")),
    ));
    let body = latin1(request["body"].as_str().unwrap_or_default());
    let mut got = Got::default();
    client.send(&head).await;
    if request["waits for 100-continue"] == true {
        got.expect = client.receive_head().await.map(|head| head.status_line);
    }
    if request["chunked"] == true {
        // The pieces of the recording are not known; any will do.
        for piece in body.chunks(7) {
            client.send(format!("{:x}\r\n", piece.len())).await;
            client.send(piece).await;
            client.send("\r\n").await;
        }
        client.send("0\r\n\r\n").await;
    } else if !body.is_empty() {
        client.send(&body).await;
    }
    let is_head = head.starts_with(b"HEAD ");
    for _ in 0..request["responses"].as_u64().unwrap_or(1) {
        let answer = if is_head {
            client.receive_head().await
        } else {
            client.receive().await
        };
        got.answers.push(answer);
    }
    if ends {
        got.is_closed = Some(client.is_closed().await);
    }
    got
}

/// `BASIC{user:password}` stands for the header value with its base64.
fn credentials(head: &str) -> String {
    let Some((before, rest)) = head.split_once("BASIC{") else {
        return head.to_owned();
    };
    let (plain, after) = rest.split_once('}').expect("the end of the credentials");
    format!("{before}Basic {}{after}", STANDARD.encode(plain))
}
