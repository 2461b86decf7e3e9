//! One call: what is sent, what comes back and when.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Option<&'static str>,
}

impl Call {
    /// A GET.
    pub(crate) fn get(url: String) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: None,
        }
    }

    /// A POST of JSON.
    pub(crate) fn post(url: String, body: &'static str) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(url)
        }
        .header("content-type", "application/json")
    }

    /// With one more header.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The line that a client sends first.
    pub(crate) fn line(&self) -> String {
        let path = self
            .url
            .strip_prefix("http://")
            .and_then(|url| url.find('/').map(|at| &url[at..]));
        let mut line = format!("{} {}", self.method, path.unwrap_or(&self.url));
        for (name, value) in &self.headers {
            let _ = write!(line, ", {name}: {value}");
        }
        line
    }

    /// The command line that repeats the call.
    pub(crate) fn curl(&self) -> String {
        let mut line = "curl -i".to_owned();
        if self.body.is_none() {
            // Shows pieces when they come, not when there are many.
            line.push_str(" -N");
        }
        for (name, value) in &self.headers {
            let _ = write!(line, " -H '{name}: {value}'");
        }
        if let Some(body) = self.body {
            let _ = write!(line, " -d '{body}'");
        }
        let _ = write!(line, " '{}'", self.url);
        line
    }

    /// Calls, and notes when each part of the answer came.
    pub(crate) async fn send(&self, client: &reqwest::Client) -> Result<Answer, String> {
        let problem = |error: reqwest::Error| format!("{}: {error}", self.url);
        let mut request = client.request(self.method.clone(), &self.url).timeout(PATIENCE);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let begun = Instant::now();
        let mut answer = request.send().await.map_err(problem)?;
        let head = Instant::now();
        let mut pieces = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(problem)? {
            pieces.push((Instant::now(), piece));
        }
        Ok(Answer {
            begun,
            head,
            ended: Instant::now(),
            status: answer.status(),
            headers: answer.headers().clone(),
            pieces,
        })
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// When the call began.
    pub(crate) begun: Instant,
    /// When the head of the answer was there.
    pub(crate) head: Instant,
    /// When the answer was complete.
    pub(crate) ended: Instant,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body, as it came.
    pub(crate) pieces: Vec<(Instant, Bytes)>,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self
            .pieces
            .iter()
            .flat_map(|(_, piece)| piece.iter().copied())
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
