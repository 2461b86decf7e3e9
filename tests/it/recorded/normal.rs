//! Recorded calls and ours in one form: ports, host, dates and trace ids have names.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use integration_tests::RawResponse;
use serde_json::Value;

use super::app::SeenRequest;
use super::client::Got;

/// What one side saw: key and value.
pub(super) type Seen = BTreeMap<String, String>;

/// Text whose characters are bytes.
pub(super) fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| character as u8).collect()
}

pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The ports of the apps, by their names in the recording.
pub(super) struct Ports(Vec<(&'static str, String)>);

impl Ports {
    pub(super) fn new(ports: &[(&'static str, u16)]) -> Self {
        Self(
            ports
                .iter()
                .map(|(name, port)| (*name, port.to_string()))
                .collect(),
        )
    }

    /// Names become ports.
    pub(super) fn put(&self, text: &str) -> String {
        let put = |text: String, (name, port): &(&str, String)| text.replace(name, port);
        self.0.iter().fold(text.to_owned(), put)
    }

    /// The same for JSON, where a port is a number.
    fn put_numbers(&self, json: &str) -> String {
        let put = |json: String, (name, port): &(&str, String)| json.replace(&format!("\"{name}\""), port);
        self.put(&self.0.iter().fold(json.to_owned(), put))
    }
}

/// How one call is brought into that form.
pub(super) struct Normal<'a> {
    ports: &'a Ports,
    /// The request, in lower case.
    request: String,
    host: String,
}

impl<'a> Normal<'a> {
    pub(super) fn new(ports: &'a Ports, request: &[u8]) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            ports,
            request: text(request).to_ascii_lowercase(),
            host: host.trim().to_owned(),
        }
    }

    /// What the app saw, as recorded.
    pub(super) fn app(&self, recorded: &Value) -> Seen {
        let mut seen = Seen::new();
        for (key, value) in recorded.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            let key = key.strip_prefix("app").unwrap_or(key);
            if let Some((index, name)) = key.split_once(".header ") {
                let name = name.to_ascii_lowercase();
                if self.is_invented(&name, value) {
                    continue;
                }
                seen.insert(format!("{index}header {name}"), self.recorded(&name, value));
            } else {
                let key = key.replace('.', "");
                seen.insert(key, self.ports.put(value));
            }
        }
        seen
    }

    /// Go's client adds these to a request that has none.
    fn is_invented(&self, name: &str, value: &str) -> bool {
        let is_go = matches!(
            (name, value),
            ("user-agent", "Go-http-client/1.1" | "<grpc client>")
                | ("accept-encoding", "gzip")
                | ("grpc-accept-encoding", _)
        );
        is_go && !self.request.contains(&format!("\r\n{name}:"))
    }

    pub(super) fn recorded(&self, name: &str, value: &str) -> String {
        if name == "traceparent" || name == "grpc-trace-bin" {
            return value.to_owned();
        }
        if let Some(plain) = value
            .strip_prefix("Basic{")
            .and_then(|value| value.strip_suffix('}'))
        {
            return format!("Basic {}", STANDARD.encode(plain));
        }
        self.ports.put(value)
    }

    /// What the app saw now.
    pub(super) fn seen(&self, requests: &[SeenRequest]) -> Seen {
        let mut seen = Seen::from([("calls".to_owned(), requests.len().to_string())]);
        for (index, request) in requests.iter().enumerate() {
            let prefix = if index == 0 {
                String::new()
            } else {
                index.to_string()
            };
            let mut line = request.line.split(' ');
            let mut put = |key: &str, value: &str| seen.insert(format!("{prefix}{key}"), value.to_owned());
            put("app", request.app);
            put("method", line.next().unwrap_or_default());
            put("target", line.next().unwrap_or_default());
            put("version", line.next().unwrap_or_default());
            put("framing", &request.framing);
            put("body", &text(&request.body));
            for (name, values) in joined(&request.headers) {
                let value = self.header(&name, &values);
                seen.insert(format!("{prefix}header {name}"), value);
            }
        }
        seen
    }

    pub(super) fn header(&self, name: &str, value: &str) -> String {
        match name {
            "date" => "<date>".to_owned(),
            "traceparent" => self.trace(value),
            "grpc-trace-bin" => self.trace(&traceparent_of(value)),
            _ if self.host.is_empty() => value.to_owned(),
            _ if matches!(name, "x-forwarded-host" | "forwarded") => value.replace(&self.host, "<hostname>"),
            _ => value.to_owned(),
        }
    }

    fn trace(&self, value: &str) -> String {
        let parts: Vec<&str> = value.split('-').collect();
        let [_, trace, span, flags] = parts[..] else {
            return value.to_owned();
        };
        let name = |id: &str| {
            if id.bytes().all(|digit| digit == b'0') {
                "zero"
            } else if self.request.contains(id) {
                "the caller's"
            } else {
                "new"
            }
        };
        format!(
            "<trace id {}, span id {}, flags {flags}>",
            name(trace),
            name(span)
        )
    }

    /// What the client got, as recorded.
    pub(super) fn client(&self, recorded: &Value) -> Seen {
        let mut seen = Seen::new();
        for (key, value) in recorded.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            let (prefix, key) = match key.split_once('.') {
                Some((prefix, key)) => (prefix.trim_start_matches("answer"), key),
                None => ("", key.as_str()),
            };
            match key.split_once("header ") {
                Some((_, name)) => {
                    let name = name.to_ascii_lowercase();
                    seen.insert(format!("{prefix}header {name}"), self.recorded(&name, value));
                }
                // Only whether the connection was closed can be compared.
                None if key == "after" => {
                    if value == "eof" {
                        seen.insert("after".to_owned(), "eof".to_owned());
                    }
                }
                None if key == "framing" => {
                    // How long a text of the machine is (host names, ports) is not compared.
                    let framing = value.split(' ').next().unwrap_or_default();
                    seen.insert(format!("{prefix}framing"), framing.to_owned());
                }
                None if key == "body" && value.starts_with("json ") => {
                    let json: Value =
                        serde_json::from_str(&self.ports.put_numbers(&value[5..])).expect("recorded JSON");
                    seen.insert(format!("{prefix}body"), json.to_string());
                }
                None => {
                    seen.insert(format!("{prefix}{key}"), self.ports.put(value));
                }
            }
        }
        length_is_as_good_as_chunks(&mut seen);
        seen
    }

    /// What the client got now.
    pub(super) fn got(&self, got: &Got) -> Seen {
        let mut seen = Seen::new();
        if let Some(expect) = &got.expect {
            seen.insert("expect".to_owned(), expect.clone());
        }
        if got.is_closed == Some(true) {
            seen.insert("after".to_owned(), "eof".to_owned());
        }
        for (index, answer) in got.answers.iter().enumerate() {
            let prefix = if index == 0 {
                String::new()
            } else {
                index.to_string()
            };
            match answer {
                Some(answer) => self.answer(&prefix, answer, &mut seen),
                None => {
                    seen.insert(format!("{prefix}line"), "broken".to_owned());
                }
            }
        }
        length_is_as_good_as_chunks(&mut seen);
        seen
    }

    fn answer(&self, prefix: &str, answer: &RawResponse, seen: &mut Seen) {
        let mut put = |key: &str, value: String| seen.insert(format!("{prefix}{key}"), value);
        put("line", answer.status_line.clone());
        let body = text(&answer.body);
        let is_metadata =
            answer.header("content-type") == Some("application/json") && body.starts_with("{\"id\"");
        let json = is_metadata || body.starts_with("{\"code\":");
        let json = json.then(|| serde_json::from_str::<Value>(&body).ok()).flatten();
        put("body", json.map_or(body, |json| json.to_string()));
        let is_head = self.request.starts_with("head ");
        let framing = if is_head || matches!(answer.status(), 100..=199 | 204 | 304) {
            "none"
        } else if answer.header("transfer-encoding").is_some() {
            "chunked"
        } else if answer.header("content-length").is_some() {
            "length"
        } else {
            "close"
        };
        put("framing", framing.to_owned());
        for (name, values) in joined(&answer.headers) {
            put(&format!("header {name}"), self.header(&name, &values));
        }
    }
}

/// A binary trace context as text. It has a version and three fields with a number before each.
fn traceparent_of(value: &str) -> String {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    match STANDARD_NO_PAD.decode(value.trim_end_matches('=')) {
        Ok(bytes) if bytes.len() == 29 => {
            format!(
                "00-{}-{}-{:02x}",
                hex(&bytes[2..18]),
                hex(&bytes[19..27]),
                bytes[28]
            )
        }
        _ => value.to_owned(),
    }
}

/// Go sends every answer of an app in chunks; ours has a length where it is known. Clients see the same body.
fn length_is_as_good_as_chunks(seen: &mut Seen) {
    for framing in ["framing", "1framing", "2framing"] {
        if let Some(framing) = seen.get_mut(framing)
            && framing == "chunked"
        {
            "length".clone_into(framing);
        }
    }
    seen.retain(|key, _| {
        !key.ends_with("header transfer-encoding") && !key.ends_with("header content-length")
    });
}

/// Long bodies are recorded by their beginning and their length.
pub(super) fn is_abbreviated(recorded: &str, got: &str) -> bool {
    let Some((beginning, rest)) = recorded.split_once('…') else {
        return false;
    };
    let length = rest
        .trim()
        .split(' ')
        .next()
        .and_then(|length| length.parse().ok());
    got.starts_with(beginning) && length == Some(got.chars().count())
}

/// Names in lower case; several values of one name together.
pub(super) fn joined(headers: &[(String, String)]) -> BTreeMap<String, String> {
    let mut joined = BTreeMap::<String, Vec<&str>>::new();
    for (name, value) in headers {
        joined.entry(name.to_ascii_lowercase()).or_default().push(value);
    }
    joined
        .into_iter()
        .map(|(name, values)| (name, values.join(" | ")))
        .collect()
}
