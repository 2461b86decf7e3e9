//! A server of HTTP/1.1 that says what a test wants, faults included.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, and shows why"
)]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `GET /path`.
    pub(crate) line: String,
    /// With names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What is said to it.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// A status, an index, and a body.
    Answer(u16, u64, String),
    /// An answer that ends before its end.
    Cut(String),
    /// Nothing, ever.
    Nothing,
    /// Pieces of a body without a length, with pauses between them, and its end.
    Lines(Vec<String>),
}

/// A server on a free port; it stops when dropped.
pub(crate) struct Scripted {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: JoinHandle<()>,
}

impl Scripted {
    /// `script` is told how many requests came before this one.
    pub(crate) async fn start(script: impl Fn(usize, &Asked) -> Said + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    pub(crate) fn start_on(
        listener: TcpListener,
        script: impl Fn(usize, &Asked) -> Said + Send + Sync + 'static,
    ) -> Self {
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (script, seen) = (Arc::new(script), Arc::clone(&asked));
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                connections.spawn(async move {
                    while let Some(asked) = receive(&mut socket).await {
                        let before = {
                            let mut seen = seen.lock().unwrap();
                            seen.push(asked.clone());
                            seen.len() - 1
                        };
                        if say(&mut socket, script(before, &asked)).await.is_none() {
                            return;
                        }
                    }
                });
            }
        });
        Self { port, asked, server }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(socket: &mut (impl AsyncReadExt + Unpin)) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let line = lines.next()?.strip_suffix(" HTTP/1.1")?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    socket.read_exact(&mut body).await.ok()?;
    Some(Asked {
        line,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

/// `None` when the connection is over.
async fn say(socket: &mut (impl AsyncWriteExt + Unpin), said: Said) -> Option<()> {
    match said {
        Said::Answer(status, index, body) => {
            let length = body.len();
            let text = format!(
                "HTTP/1.1 {status} X\r\nX-Consul-Index: {index}\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            socket.write_all(text.as_bytes()).await.ok()
        }
        Said::Cut(body) => {
            let text =
                format!("HTTP/1.1 200 OK\r\nX-Consul-Index: 1\r\nContent-Length: 100000\r\n\r\n{body}");
            let _ = socket.write_all(text.as_bytes()).await;
            None
        }
        Said::Nothing => std::future::pending().await,
        Said::Lines(lines) => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            socket.write_all(head.as_bytes()).await.ok()?;
            for line in lines {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                let chunk = format!("{:x}\r\n{line}\r\n", line.len());
                socket.write_all(chunk.as_bytes()).await.ok()?;
            }
            socket.write_all(b"0\r\n\r\n").await.ok()
        }
    }
}
