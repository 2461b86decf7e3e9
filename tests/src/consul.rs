//! An agent of Consul, as far as name resolution speaks to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::app::{HttpApp, Protocol, Request, Response, text};

/// An agent on a free port; it stops when dropped.
///
/// It keeps services, answers queries for them when something changes, and tells who asked for what.
pub struct ConsulAgent {
    /// Its port.
    pub port: u16,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    _server: HttpApp,
}

#[derive(Default)]
struct State {
    index: u64,
    services: BTreeMap<String, Value>,
    /// It answers everything with this status.
    trouble: Option<u16>,
    requests: Vec<String>,
    tokens: Vec<String>,
}

impl ConsulAgent {
    /// Starts one that knows nobody.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    /// The same, on a listener that the test made.
    pub fn start_on(listener: TcpListener) -> Self {
        let state = Arc::new(Mutex::new(State {
            index: 10,
            ..State::default()
        }));
        let changed = Arc::<Notify>::default();
        let (shared, told) = (Arc::clone(&state), Arc::clone(&changed));
        let server = HttpApp::start_on(listener, Protocol::Http, move |request| {
            answer(Arc::clone(&shared), Arc::clone(&told), request)
        });
        Self {
            port: server.port,
            state,
            changed,
            _server: server,
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.index += 1;
        let changed = change(&mut state);
        self.changed.notify_waiters();
        changed
    }

    /// The services, by their ids.
    pub fn services(&self) -> BTreeMap<String, Value> {
        self.change(|state| state.services.clone())
    }

    /// Whom it was asked for, and what for: `GET /v1/…`.
    pub fn requests(&self) -> Vec<String> {
        self.change(|state| state.requests.clone())
    }

    /// The tokens that came.
    pub fn tokens(&self) -> Vec<String> {
        self.change(|state| state.tokens.clone())
    }

    /// Answers everything with a status from now on, or as it should.
    pub fn set_trouble(&self, status: Option<u16>) {
        self.change(|state| state.trouble = status);
    }

    /// Begins anew, as an agent without a folder for its data does: with nobody, and with a lower index.
    pub fn forget(&self) {
        self.change(|state| {
            state.services.clear();
            state.index = 1;
        });
    }
}

async fn answer(state: Arc<Mutex<State>>, changed: Arc<Notify>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let (path, query) = (
        parts.uri.path().to_owned(),
        parts.uri.query().unwrap_or_default().to_owned(),
    );
    let put = parts.method == http::Method::PUT;
    {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests.push(format!("{} {path}?{query}", parts.method));
        if let Some(token) = parts.headers.get("x-consul-token") {
            state
                .tokens
                .push(String::from_utf8_lossy(token.as_bytes()).into_owned());
        }
        if let Some(status) = state.trouble {
            return text(status, "rpc error making call: No cluster leader");
        }
        if put {
            if path == "/v1/agent/service/register" {
                let Ok(service) = serde_json::from_slice::<Value>(&body) else {
                    return text(400, "Request decode failed");
                };
                let of = |key: &str| service[key].as_str().map(str::to_owned);
                let Some(id) = of("ID").or_else(|| of("Name")) else {
                    return text(400, "Missing service name");
                };
                state.services.insert(id, service);
            } else if let Some(id) = path.strip_prefix("/v1/agent/service/deregister/") {
                if state.services.remove(id).is_none() {
                    return text(404, format!("Unknown service ID {id:?}"));
                }
            } else {
                return text(404, "");
            }
            state.index += 1;
            changed.notify_waiters();
            return text(200, "");
        }
        if let Some(id) = path.strip_prefix("/v1/agent/service/") {
            return match state.services.get(id) {
                Some(service) => text(200, service.to_string()),
                None => text(404, format!("unknown service ID: {id}")),
            };
        }
    }
    match path.strip_prefix("/v1/health/service/") {
        Some(name) => instances(&state, &changed, name, &query).await,
        None if path == "/v1/agent/self" => text(200, "{\"Config\":{}}"),
        None => text(404, ""),
    }
}

/// The instances of a service, when there is something newer than the index of the query.
async fn instances(state: &Mutex<State>, changed: &Notify, name: &str, query: &str) -> Response {
    let of = |key: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    };
    let newer_than = of("index")
        .and_then(|index| index.parse::<u64>().ok())
        .unwrap_or_default();
    let wait = of("wait")
        .and_then(|wait| wait.strip_suffix("ms")?.parse().ok())
        .unwrap_or(300_000);
    let waiting = async {
        loop {
            let told = changed.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if state.lock().unwrap_or_else(PoisonError::into_inner).index != newer_than {
                return;
            }
            told.await;
        }
    };
    let _ = timeout(Duration::from_millis(wait), waiting).await;
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let found: Vec<Value> = state
        .services
        .iter()
        .filter(|(_, service)| service["Name"] == name)
        .map(|(id, service)| {
            json!({
                "Node": {"Node": "n", "Address": "127.0.0.1"},
                "Service": {
                    "ID": id, "Service": name, "Address": service["Address"], "Port": service["Port"],
                    "Meta": service["Meta"], "Weights": {"Passing": 1, "Warning": 1},
                },
                "Checks": [],
            })
        })
        .collect();
    let mut answer = text(200, Value::Array(found).to_string());
    answer.headers_mut().insert("x-consul-index", state.index.into());
    answer.headers_mut().insert("x-consul-lastcontact", 0.into());
    answer
        .headers_mut()
        .insert("x-consul-knownleader", http::HeaderValue::from_static("true"));
    answer
}
