//! Apps that do what the path says, and count how often they were asked for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use integration_tests::RawClient;
use integration_tests::grpc::{GrpcApp, GrpcCall, InvokeRequest, InvokeResponse, ON_INVOKE};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// How often each key was asked for, and the bodies that came.
#[derive(Clone, Default)]
pub(super) struct ReceivedBodies(Arc<Mutex<HashMap<String, Vec<Vec<u8>>>>>);

impl ReceivedBodies {
    /// Counts one more; which one it is.
    fn add(&self, key: &str, body: Vec<u8>) -> usize {
        let mut seen = self.0.lock().unwrap();
        let bodies = seen.entry(key.to_owned()).or_default();
        bodies.push(body);
        bodies.len()
    }

    /// Counts one more call without a body; which one it is.
    pub(super) fn note(&self, key: &str) -> usize {
        self.add(key, Vec::new())
    }

    /// How many calls came.
    pub(super) fn total(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    pub(super) fn count(&self, key: &str) -> usize {
        self.bodies(key).len()
    }

    pub(super) fn bodies(&self, key: &str) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().get(key).cloned().unwrap_or_default()
    }
}

/// An HTTP app; it stops when dropped, connections included.
///
/// `/ok/KEY`, `/status/CODE/KEY`, `/fail/COUNT/CODE/KEY` (so often, then 200), `/sleep/MILLIS/KEY`, `/close/KEY`,
/// `/reset/KEY`, `/garbage/KEY`, `/bighdr/BYTES/KEY`, `/slowbody/PIECES/KEY` (300 ms each), `/wish/SECONDS/CODE/KEY` (once,
/// with `Retry-After`), `/header/NAME/KEY` (its value).
pub(super) struct App {
    pub(super) port: u16,
    server: JoinHandle<()>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl App {
    pub(super) async fn start(seen: ReceivedBodies) -> Self {
        Self::start_with(seen, false).await
    }

    /// One that takes calls and answers none, apart from what its sidecar asks when it starts.
    pub(super) async fn stalled(seen: ReceivedBodies) -> Self {
        Self::start_with(seen, true).await
    }

    async fn start_with(seen: ReceivedBodies, is_stalled: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                connections.spawn(serve(RawClient::over(socket), seen.clone(), is_stalled));
            }
        });
        Self { port, server }
    }
}

async fn serve(mut connection: RawClient, seen: ReceivedBodies, is_stalled: bool) {
    while let Some(request) = connection.receive_head().await {
        let path = request
            .status_line
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let mut body = Vec::new();
        let is_chunked = request.header("transfer-encoding").is_some();
        if is_chunked {
            while let Some(chunk) = connection.receive_chunk().await {
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk);
            }
        } else if let Some(length) = request.header("content-length") {
            let length = length.parse().unwrap();
            let Some(bytes) = connection.receive_bytes(length).await else {
                return;
            };
            body = bytes;
        }
        let parts: Vec<&str> = path
            .split('?')
            .next()
            .unwrap_or_default()
            .split('/')
            .skip(1)
            .collect();
        let count = match &parts[..] {
            ["dapr", "config"] => 0,
            _ => seen.add(parts.last().unwrap_or(&""), body),
        };
        if is_stalled && count > 0 {
            std::future::pending::<()>().await;
        }
        let status = |code: &str, text: &str| {
            let length = if code == "204" {
                String::new()
            } else {
                format!("content-length: {}\r\n", text.len())
            };
            let text = if code == "204" { "" } else { text };
            format!("HTTP/1.1 {code} x\r\ncontent-type: text/plain\r\n{length}\r\n{text}")
        };
        let answer = match &parts[..] {
            ["status", code, _] => status(code, &format!("body {code}")),
            ["fail", times, code, _] if count <= times.parse().unwrap() => {
                status(code, &format!("body {code}"))
            }
            ["header", name, _] => status("200", request.header(name).unwrap_or_default()),
            ["wish", seconds, code, _] if count == 1 => {
                format!("HTTP/1.1 {code} x\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n")
            }
            ["sleep", millis, _] => {
                tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
                status("200", "ok")
            }
            ["close", _] => return,
            ["reset", _] => return connection.reset(),
            ["garbage", _] => {
                connection.try_send("not HTTP at all\r\n\r\n").await;
                return;
            }
            ["bighdr", bytes, _] => {
                let value = "x".repeat(bytes.parse().unwrap());
                format!("HTTP/1.1 200 OK\r\nx-big: {value}\r\ncontent-length: 0\r\n\r\n")
            }
            ["slowbody", pieces, _] => {
                connection
                    .try_send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await;
                for _ in 0..pieces.parse().unwrap() {
                    if !connection.try_send("2\r\nab\r\n").await {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                "0\r\n\r\n".to_owned()
            }
            ["dapr", "config"] => status("404", ""),
            _ => status("200", "ok"),
        };
        if !connection.try_send(answer).await {
            return;
        }
    }
}

/// A gRPC app, whose methods are `ok-KEY`, `code-CODE-KEY`, `fail-COUNT-CODE-KEY`, `sleep-MILLIS-KEY`, `close-KEY` and
/// `count-KEY`, which tells how many messages came.
pub(super) async fn grpc_app(seen: ReceivedBodies) -> GrpcApp {
    GrpcApp::start(move |call| answer(call, seen.clone())).await
}

async fn answer(mut call: GrpcCall, seen: ReceivedBodies) {
    let is_invoked = call.path() == ON_INVOKE;
    let first = call
        .message()
        .await
        .map(|message| message.data)
        .unwrap_or_default();
    let method = if is_invoked {
        InvokeRequest::decode(first).unwrap().method
    } else {
        call.path().rsplit('/').next().unwrap_or_default().to_owned()
    };
    let parts: Vec<&str> = method.split('-').collect();
    let count = seen.add(parts.last().unwrap_or(&""), Vec::new());
    let mut text = "ok".to_owned();
    match &parts[..] {
        ["code", code, _] => return call.refuse(code.parse().unwrap(), &format!("app says {code}"), &[]),
        ["fail", times, code, _] if count <= times.parse().unwrap() => {
            return call.refuse(code.parse().unwrap(), &format!("fail {count}"), &[]);
        }
        ["sleep", millis, _] => tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await,
        ["close", _] => return call.cut().await,
        ["count", _] => {
            let (rest, _) = call.messages().await;
            text = format!("{} messages", rest.len() + 1);
        }
        _ => {}
    }
    if is_invoked {
        call.send(&InvokeResponse::text(text).encode_to_vec()).await;
    } else {
        call.send(text.as_bytes()).await;
    }
    call.finish(0, "", &[]);
}
