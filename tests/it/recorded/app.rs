//! An app that answers what a recorded call says, to the byte.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::normal::latin1;

/// A request as the app saw it.
#[derive(Clone, Debug)]
pub(super) struct SeenRequest {
    pub(super) app: &'static str,
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) framing: String,
    pub(super) body: Vec<u8>,
}

#[derive(Default)]
struct State {
    script: Value,
    seen: Vec<SeenRequest>,
}

/// The app; it stops when dropped.
pub(super) struct ScriptedApp {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl ScriptedApp {
    pub(super) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(name, stream, Arc::clone(&shared)));
            }
        });
        Self { port, state, server }
    }

    /// What to answer from now on.
    pub(super) fn script(&self, script: &Value) {
        self.state.lock().expect("no panic here").script = script.clone();
    }

    /// The requests since the last time.
    pub(super) fn take_seen(&self) -> Vec<SeenRequest> {
        std::mem::take(&mut self.state.lock().expect("no panic here").seen)
    }
}

impl Drop for ScriptedApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(name: &'static str, mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(request) = read(name, &mut stream, &mut buffer).await {
        let is_ours = request.line.contains(" /dapr/");
        let script = {
            let mut state = state.lock().expect("no panic here");
            if !is_ours {
                state.seen.push(request.clone());
            }
            state.script.clone()
        };
        if is_ours {
            let _ = stream
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                .await;
            continue;
        }
        if script["drop"] == true {
            return;
        }
        let (answer, ends) = answer(&script, request.line.starts_with("HEAD "));
        if stream.write_all(&answer).await.is_err() || ends {
            return;
        }
    }
}

/// The bytes of the answer, and whether the connection ends with it.
fn answer(script: &Value, is_head: bool) -> (Vec<u8>, bool) {
    let status = script["status"].as_u64().unwrap_or(200);
    let body = latin1(script["body"].as_str().unwrap_or_default());
    let mut out = Vec::new();
    for interim in script["interim"].as_array().into_iter().flatten() {
        out.extend(format!("HTTP/1.1 {} Interim\r\n", interim[0]).into_bytes());
        put_headers(&mut out, &interim[1]);
        out.extend(b"\r\n");
    }
    out.extend(format!("HTTP/1.1 {status} Answer\r\n").into_bytes());
    put_headers(&mut out, &script["headers"]);
    if matches!(status, 100..=199 | 204 | 304) {
        out.extend(b"\r\n");
        return (out, false);
    }
    match script["framing"].as_str() {
        Some("chunked") => {
            out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            if !body.is_empty() {
                out.extend(format!("{:x}\r\n", body.len()).into_bytes());
                out.extend(&body);
                out.extend(b"\r\n");
            }
            if script["cut"] == true {
                return (out, true);
            }
            out.extend(b"0\r\n");
            put_headers(&mut out, &script["trailers"]);
            out.extend(b"\r\n");
            (out, false)
        }
        Some("close") => {
            out.extend(b"Connection: close\r\n\r\n");
            out.extend(&body);
            (out, true)
        }
        _ => {
            let missing = script["missing"].as_u64().unwrap_or(0) as usize;
            out.extend(format!("Content-Length: {}\r\n\r\n", body.len() + missing).into_bytes());
            if !is_head {
                out.extend(&body);
            }
            (out, missing > 0)
        }
    }
}

fn put_headers(out: &mut Vec<u8>, headers: &Value) {
    for header in headers.as_array().into_iter().flatten() {
        let text = |index: usize| latin1(header[index].as_str().unwrap_or_default());
        out.extend(text(0));
        out.extend(b": ");
        out.extend(text(1));
        out.extend(b"\r\n");
    }
}

async fn read(name: &'static str, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<SeenRequest> {
    let head = take_until(stream, buffer, b"\r\n\r\n").await?;
    let head: String = head.iter().copied().map(char::from).collect();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim_matches(' ').to_owned()))
        .collect();
    let header = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    };
    let mut body = Vec::new();
    let framing = if header("transfer-encoding").is_some() {
        loop {
            let line = take_until(stream, buffer, b"\r\n").await?;
            let size = std::str::from_utf8(&line).ok()?.trim();
            let size = usize::from_str_radix(size, 16).ok()?;
            body.extend(take(stream, buffer, size).await?);
            take_until(stream, buffer, b"\r\n").await?;
            if size == 0 {
                break "chunked".to_owned();
            }
        }
    } else if let Some(length) = header("content-length") {
        let framing = format!("length {length}");
        body = take(stream, buffer, length.parse().ok()?).await?;
        framing
    } else {
        "none".to_owned()
    };
    Some(SeenRequest {
        app: name,
        line,
        headers,
        framing,
        body,
    })
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    buffer.reserve(8192);
    match stream.read_buf(buffer).await {
        Ok(read) if read > 0 => Some(()),
        _ => None,
    }
}

async fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while buffer.len() < count {
        fill(stream, buffer).await?;
    }
    Some(buffer.drain(..count).collect())
}

async fn take_until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(start) = buffer.windows(end.len()).position(|window| window == end) {
            return Some(buffer.drain(..start + end.len()).collect());
        }
        fill(stream, buffer).await?;
    }
}
