//! The client of a recorded gRPC call, and the forms in which both sides of it are compared.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::HeaderMap;
use integration_tests::grpc::{Answer, End, GrpcClient, INVOKE_SERVICE, InvokeResponse, percent_decoded};
use serde_json::Value;

use super::grpc_app::{SeenCall, pairs};
use super::normal::{Normal, Ports, Seen, joined, latin1, text as text_of};

/// The head of a request as lines, to look names and ids up in.
pub(super) fn text(request: &Value) -> String {
    let mut out = String::new();
    for (name, value) in pairs(&request["metadata"]) {
        let _ = write!(out, "\r\n{name}: {value}\r\n");
    }
    out
}

/// Sends a recorded request and reads what comes back.
pub(super) async fn exchange(port: u16, request: &Value, ports: &Ports) -> Answer {
    let mut client = GrpcClient::connect(port).await;
    "h".clone_into(&mut client.authority);
    let metadata = pairs(&request["metadata"]);
    let metadata: Vec<(&str, &str)> = metadata
        .iter()
        .map(|(name, value)| (&**name, &**value))
        // HTTP/2 has no such header (RFC 9113, section 8.2.2), and our client does not send one.
        .filter(|(name, _)| *name != "keep-alive")
        .collect();
    let path = request["path"].as_str().expect("a path");
    let mut stream = client.open(path, &metadata).await;
    let mut early = Vec::new();
    for message in request["messages"].as_array().into_iter().flatten() {
        // All ports have five digits, as their names have.
        let message = ports.put(message.as_str().expect("a message"));
        if !stream.try_send(&latin1(&message)).await {
            break;
        }
        if request["pingpong"] == true {
            early.extend(stream.message().await);
        }
    }
    stream.finish();
    let mut answer = stream.answer().await;
    early.append(&mut answer.messages);
    answer.messages = early;
    answer
}

impl Normal<'_> {
    /// What a gRPC app saw.
    pub(super) fn seen_calls(&self, calls: &[SeenCall]) -> Seen {
        let mut seen = Seen::from([("calls".to_owned(), calls.len().to_string())]);
        for call in calls {
            seen.insert("app".to_owned(), "gapp".to_owned());
            seen.insert("path".to_owned(), call.path.clone());
            let end = match call.end {
                End::HalfClosed => "half-closed".to_owned(),
                other => format!("{other:?}"),
            };
            seen.insert("end".to_owned(), end);
            for (index, message) in call.messages.iter().enumerate() {
                seen.insert(format!("message{index}"), message.clone());
            }
            for (name, value) in joined(&call.headers) {
                let value = self.header(&name, &value);
                seen.insert(format!("header {name}"), value);
            }
        }
        seen
    }

    /// What a gRPC client got, as recorded.
    pub(super) fn grpc_client(&self, recorded: &Value) -> Seen {
        let mut seen = Seen::new();
        for (key, value) in recorded.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            let value = match key.split_once("header ") {
                Some((_, "grpc-message")) => percent_decoded(&self.recorded("", value)),
                Some((_, name)) => self.recorded(name, value),
                None => value.to_owned(),
            };
            seen.insert(key.clone(), value);
        }
        seen
    }

    /// What a gRPC client got now.
    pub(super) fn grpc_got(&self, answer: &Answer, path: &str) -> Seen {
        let mut seen = Seen::new();
        seen.insert("head.header :status".to_owned(), answer.http.as_u16().to_string());
        self.put_headers("head", &answer.head, &mut seen);
        match &answer.trailers {
            Some(trailers) => self.put_headers("trailer", trailers, &mut seen),
            None => {
                seen.insert("trailers".to_owned(), "none".to_owned());
            }
        }
        for (index, message) in answer.messages.iter().enumerate() {
            // Fields may come in any order.
            let response = (path == INVOKE_SERVICE)
                .then(|| <InvokeResponse as prost::Message>::decode(&*message.data).expect("an answer"));
            let data = response.map(|response| prost::Message::encode_to_vec(&response));
            let data = data.as_deref().unwrap_or(&message.data);
            let shown = format!("{} {}", message.flag, text_of(data));
            seen.insert(format!("message{index}"), shown);
        }
        if let Some(broken) = &answer.broken {
            seen.insert("broken".to_owned(), broken.clone());
        }
        seen
    }

    fn put_headers(&self, place: &str, headers: &HeaderMap, seen: &mut Seen) {
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), text_of(value.as_bytes())))
            .collect();
        for (name, value) in joined(&headers) {
            let value = match name.as_str() {
                "grpc-message" => percent_decoded(&value),
                "grpc-status-details-bin" => match STANDARD_NO_PAD.decode(value.trim_end_matches('=')) {
                    Ok(details) => format!("<status> {}", text_of(&details)),
                    Err(_) => value,
                },
                _ => self.header(&name, &value),
            };
            if name == "grpc-message" && value.is_empty() {
                continue;
            }
            seen.insert(format!("{place}.header {name}"), value);
        }
    }
}
