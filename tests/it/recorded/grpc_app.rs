//! A gRPC app that answers what a recorded call says.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use integration_tests::grpc::{Any, End, GrpcApp, GrpcCall, InvokeRequest, InvokeResponse, ON_INVOKE};
use serde_json::Value;

use super::normal::{latin1, text};

/// A call as the app saw it.
#[derive(Clone, Debug)]
pub(super) struct SeenCall {
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    /// Flag and bytes.
    pub(super) messages: Vec<String>,
    pub(super) end: End,
}

#[derive(Default)]
struct State {
    script: Value,
    seen: Vec<SeenCall>,
}

/// The app.
pub(super) struct ScriptedGrpcApp {
    pub(super) app: GrpcApp,
    state: Arc<Mutex<State>>,
}

impl ScriptedGrpcApp {
    pub(super) async fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let app = GrpcApp::start(move |call| serve(call, Arc::clone(&shared))).await;
        Self { app, state }
    }

    /// What to answer from now on.
    pub(super) fn script(&self, script: &Value) {
        self.state.lock().expect("no panic here").script = script.clone();
    }

    /// The calls since the last time.
    pub(super) fn take_seen(&self) -> Vec<SeenCall> {
        std::mem::take(&mut self.state.lock().expect("no panic here").seen)
    }
}

async fn serve(mut call: GrpcCall, state: Arc<Mutex<State>>) {
    let script = state.lock().expect("no panic here").script.clone();
    let md = pairs(&script["md"]);
    let md: Vec<(&str, &str)> = md.iter().map(|(name, value)| (&**name, &**value)).collect();
    let is_echo = script["mode"] == "echo";
    if is_echo {
        call.begin(&md);
    }
    let mut messages = Vec::new();
    while let Some(message) = call.message().await {
        messages.push(format!("{} {}", message.flag, shown(&call, &message.data)));
        if is_echo {
            call.send(&message.data).await;
        }
    }
    let end = call.messages().await.1;
    let seen = seen(&call, messages, end);
    state.lock().expect("no panic here").seen.push(seen);
    answer(&mut call, &script, &md, is_echo).await;
}

/// The bytes of a message as text; those of an invocation in the order of their numbers.
fn shown(call: &GrpcCall, data: &[u8]) -> String {
    let asked = (call.path() == ON_INVOKE).then(|| <InvokeRequest as prost::Message>::decode(data));
    match asked {
        Some(Ok(asked)) => text(&prost::Message::encode_to_vec(&asked)),
        _ => text(data),
    }
}

fn seen(call: &GrpcCall, messages: Vec<String>, end: End) -> SeenCall {
    let uri = &call.head.uri;
    let part = |name: &str, value: Option<&str>| (name.to_owned(), value.unwrap_or_default().to_owned());
    let path = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
    let mut headers = vec![
        part(":method", Some(call.head.method.as_str())),
        part(":scheme", uri.scheme_str()),
        part(":authority", uri.authority().map(http::uri::Authority::as_str)),
        part(":path", path),
    ];
    for (name, value) in &call.head.headers {
        headers.push((name.to_string(), text(value.as_bytes())));
    }
    SeenCall {
        path: path.unwrap_or_default().to_owned(),
        headers,
        messages,
        end,
    }
}

async fn answer(call: &mut GrpcCall, script: &Value, md: &[(&str, &str)], is_begun: bool) {
    if let Some(code) = script["reset"].as_u64() {
        return call.reset(code as u32);
    }
    let code = script["code"].as_i64().unwrap_or(0) as i32;
    let message = script["msg"].as_str().unwrap_or_default();
    let mut trailers = pairs(&script["trailers"]);
    if let Some(details) = script["details"].as_str() {
        let details = STANDARD_NO_PAD.encode(latin1(details));
        trailers.push(("grpc-status-details-bin".to_owned(), details));
    }
    let trailers: Vec<(&str, &str)> = trailers.iter().map(|(name, value)| (&**name, &**value)).collect();
    if script["only"] == true {
        return call.refuse(code, message, &trailers);
    }
    if !is_begun {
        call.begin(md);
    }
    if call.path() == ON_INVOKE && script.get("messages").is_none() {
        if code == 0 {
            call.send(&prost::Message::encode_to_vec(&response(script))).await;
        }
    } else if !is_begun {
        for message in script["messages"].as_array().into_iter().flatten() {
            call.send(&latin1(message.as_str().unwrap_or_default())).await;
        }
    }
    call.finish(code, message, &trailers);
}

fn response(script: &Value) -> InvokeResponse {
    InvokeResponse {
        data: script["data"].as_str().map(|data| Any {
            type_url: script["type_url"].as_str().unwrap_or_default().to_owned(),
            value: latin1(data),
        }),
        content_type: script["ct"].as_str().unwrap_or_default().to_owned(),
    }
}

pub(super) fn pairs(list: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = list.as_array().into_iter().flatten();
    list.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}
