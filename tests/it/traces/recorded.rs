//! The calls of a recording of Dapr, and what becomes of them here: the same spans, and the same contexts for apps and
//! callers, but for the differences that are named.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::HeaderMap;
use integration_tests::collector::{Collector, SeenSpan, Spoken};
use integration_tests::grpc::{
    GrpcApp, GrpcCall, GrpcClient, InvokeRequest, InvokeResponse, InvokeServiceRequest,
};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, text};
use prost::Message as _;
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../data/spans.json");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
/// What the app at `/tp` answers.
const OF_APP: &str = "00-11111111111111111111111111111111-2222222222222222-01";

/// What is recorded and does not happen here, each with its row on the page on compatibility.
fn differences(case: &str, wanted: &mut Value) {
    let is_to_app = case.starts_with("proxied unary -> gRPC app") || case.starts_with("proxied stream");
    if is_to_app {
        // The app gets the span of its own sidecar, once in each form.
        let callee = wanted["spans"][1]["span"].as_str().unwrap().to_owned();
        let trace = wanted["spans"][1]["trace"].as_str().unwrap().to_owned();
        let mut received = vec![
            json!(["traceparent", format!("00-{trace}-{callee}-01")]),
            json!(["grpc-trace-bin", format!("bin {trace} {callee} flags 01")]),
        ];
        if case.ends_with("sampled traceparent") {
            received.push(json!(["tracestate", "a=b"]));
            received.push(json!(["baggage", "k=v"]));
            wanted["caller_received"] = json!([["baggage", "k=v"]]);
        }
        wanted["app_received"] = json!([received]);
        // The callee is a child of the caller, whatever the client sent.
        wanted["spans"][1]["parent"] = wanted["spans"][0]["span"].clone();
    }
    if case == "InvokeService, extra dapr-* metadata" {
        // A token is never recorded.
        let attributes = wanted["spans"][0]["attributes"].as_object_mut().unwrap();
        attributes.remove("dapr-api-token");
    }
    if case.starts_with("InvokeService -> gRPC app, timeout") {
        // The other sidecar knows how much time there is, and hears that the call is broken off: whichever comes first.
        wanted["spans"][1]["status_message"] = "<any text>".into();
    }
    if case.starts_with("proxied unary to self") {
        // The app of the recording spoke HTTP/1 alone, and the call did not come so far.
        wanted["status"] = 2.into();
        wanted["spans"][0]["status_message"] = "<any text>".into();
        wanted["app_received"] = json!([[
            ["traceparent", "00-<trace 1>-<span 1>-01"],
            ["grpc-trace-bin", "bin <trace 1> <span 1> flags 01"]
        ]]);
    }
}

/// Trace headers of one request.
type Seen = Arc<Mutex<Vec<Vec<(String, String)>>>>;

/// The headers that tell of traces, with binary ones in words.
fn trace_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in ["traceparent", "tracestate", "baggage", "grpc-trace-bin"] {
        for value in headers.get_all(name) {
            let text = value.to_str().unwrap();
            let shown = if name == "grpc-trace-bin" {
                in_words(text)
            } else {
                text.to_owned()
            };
            found.push((name.to_owned(), shown));
        }
    }
    found
}

fn in_words(binary: &str) -> String {
    let bytes = STANDARD_NO_PAD.decode(binary.trim_end_matches('=')).unwrap();
    let hex = |bytes: &[u8]| {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
        digits.collect::<String>()
    };
    match &bytes[..] {
        [0, 0, rest @ ..] if rest.len() == 27 => {
            format!(
                "bin {} {} flags {}",
                hex(&rest[..16]),
                hex(&rest[17..25]),
                hex(&rest[26..])
            )
        }
        other => format!("bytes {}", hex(other)),
    }
}

async fn http_app(seen: &Seen) -> HttpApp {
    let seen = Arc::clone(seen);
    HttpApp::start(Protocol::Http, move |request| {
        let seen = Arc::clone(&seen);
        async move {
            let path = request.uri().path();
            if path.starts_with("/dapr/") {
                return text(404, "");
            }
            seen.lock().unwrap().push(trace_headers(request.headers()));
            if path == "/tp" {
                let mut answer = text(200, "ok");
                answer
                    .headers_mut()
                    .insert("traceparent", OF_APP.parse().unwrap());
                return answer;
            }
            let status = path
                .strip_prefix("/status/")
                .and_then(|status| status.parse().ok());
            text(status.unwrap_or(200), "ok")
        }
    })
    .await
}

async fn grpc_app(seen: &Seen) -> GrpcApp {
    let seen = Arc::clone(seen);
    GrpcApp::start(move |mut call: GrpcCall| {
        let seen = Arc::clone(&seen);
        async move {
            seen.lock().unwrap().push(trace_headers(&call.head.headers));
            let messages = call.messages().await.0;
            let mut method = call.path().to_owned();
            let mut answer = messages[0].data.to_vec();
            if method.ends_with("/OnInvoke") {
                method = InvokeRequest::decode(&*messages[0].data).unwrap().method;
                answer = InvokeResponse::text("ok").encode_to_vec();
            }
            if let Some((_, millis)) = method.rsplit_once("sleep-") {
                tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
            }
            match method.rsplit_once("code-") {
                Some((_, code)) => call.refuse(code.parse().unwrap(), &format!("app says {code}"), &[]),
                None => {
                    call.send(&answer).await;
                    call.finish(0, "", &[]);
                }
            }
        }
    })
    .await
}

/// The sidecars `c`, `s` and `g` with their apps, and the collector that all of them tell.
struct Stage {
    _mesh: Mesh,
    _apps: ([HttpApp; 3], GrpcApp),
    sidecars: [Daprd; 3],
    external: u16,
    collector: Collector,
    seen: Seen,
}

const RESOURCES: &str = "apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata: {name: r}
spec:
  policies:
    timeouts: {short: 100ms}
    retries: {twice: {policy: constant, duration: 10ms, maxRetries: 2, matching: {httpStatusCodes: '404'}}}
  targets:
    apps:
      s.default: {retry: twice}
      g.default: {timeout: short}
---
apiVersion: dapr.io/v1alpha1
kind: HTTPEndpoint
metadata: {name: ext}
spec: {baseUrl: 'http://127.0.0.1:PORT'}
";

impl Stage {
    async fn start() -> Self {
        let collector = Collector::start(Spoken::Grpc).await;
        let spec = format!(
            "  tracing:\n    samplingRate: '1'\n    otel: {{endpointAddress: '127.0.0.1:{}', protocol: grpc, isSecure: false}}\n",
            collector.port
        );
        let mesh = Mesh::with_configuration(&spec);
        let (seen, resources) = (Seen::default(), mesh.folder().join("resources"));
        let apps = [
            http_app(&seen).await,
            http_app(&seen).await,
            http_app(&seen).await,
        ];
        let grpc = grpc_app(&seen).await;
        std::fs::create_dir(&resources).unwrap();
        let text = RESOURCES.replace("PORT", &apps[2].port.to_string());
        std::fs::write(resources.join("all.yaml"), text).unwrap();
        let sidecar = |id: &str| mesh.sidecar(id).env("OTEL_BSP_SCHEDULE_DELAY", "20");
        let c = sidecar("c")
            .app_port(apps[0].port)
            .arg(format!("--resources-path={}", resources.display()));
        let s = sidecar("s").app_port(apps[1].port);
        let g = sidecar("g").app_port(grpc.port).arg("--app-protocol=grpc");
        let (c, s, g) = tokio::join!(c.start(), s.start(), g.start());
        seen.lock().unwrap().clear();
        Self {
            _mesh: mesh,
            external: apps[2].port,
            _apps: (apps, grpc),
            sidecars: [c, s, g],
            collector,
            seen,
        }
    }

    /// Makes the call of a case: what the caller gets, of headers and of trailers.
    async fn call(&self, case: &str, wanted: &Value) -> Called {
        let sent = sent(case);
        if case.starts_with("HTTP API") {
            self.call_http(case, wanted, &sent).await
        } else {
            self.call_grpc(case, &sent).await
        }
    }

    async fn call_http(&self, case: &str, wanted: &Value, sent: &[(&str, String)]) -> Called {
        let attributes = &wanted["spans"][0]["attributes"];
        let target = match case {
            "HTTP API, GET /v1.0/healthz" => "/v1.0/healthz",
            "HTTP API, bad baggage" => "/v1.0/invoke/s/method/ok",
            "HTTP API -> gRPC app, unsampled traceparent" => "/v1.0/invoke/g/method/ok",
            _ => attributes["url.full"]
                .as_str()
                .unwrap_or("/v1.0/invoke/s/method/ok"),
        };
        let target = target.replace("<ext-port>", &self.external.to_string());
        let api = attributes["dapr.api"].as_str().unwrap_or("GET ");
        let method = api.split(' ').next().unwrap().parse().unwrap();
        let mut request = reqwest::Client::new().request(method, self.sidecars[0].url(&target));
        for (name, value) in sent {
            request = request.header(*name, value);
        }
        if case.contains("header dapr-app-id") {
            request = request.header("dapr-app-id", "s").header("dapr-foo", "bar");
        }
        let answer = request.send().await.unwrap();
        let called = Called {
            status: answer.status().as_u16().into(),
            head: trace_headers(answer.headers()),
            trailers: Vec::new(),
        };
        answer.bytes().await.unwrap();
        called
    }

    async fn call_grpc(&self, case: &str, sent: &[(&str, String)]) -> Called {
        let client = GrpcClient::connect(self.sidecars[0].grpc_port).await;
        let mut metadata: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (*name, &**value)).collect();
        if case.contains("extra dapr-*") {
            metadata.extend([("dapr-foo", "bar"), ("dapr-api-token", "t")]);
        }
        let answer = if case.contains("GetMetadata") {
            client
                .call("/dapr.proto.runtime.v1.Dapr/GetMetadata", &metadata, &[b""])
                .await
        } else if case.starts_with("proxied") {
            if !case.contains("without dapr-app-id") {
                metadata.push(("dapr-app-id", if case.contains("to self") { "c" } else { "g" }));
            }
            let path = if case.contains("stream (dapr-stream)") {
                metadata.push(("dapr-stream", "true"));
                "/test.Svc/StreamX"
            } else if case.ends_with("code 5") {
                "/test.Svc/code-5"
            } else {
                "/test.Svc/ok"
            };
            client.call(path, &metadata, &[b"x"]).await
        } else {
            let (id, method) = match case {
                "InvokeService -> gRPC app, timeout 100 ms (target g.default)" => ("g.default", "sleep-300"),
                "InvokeService -> gRPC app, code 5" => ("g", "code-5"),
                "InvokeService -> self" => ("c", "ok"),
                case if case.contains("gRPC app") => ("g", "ok"),
                _ => ("s", "ok"),
            };
            client
                .invoke(&InvokeServiceRequest::post(id, method, "x"), &metadata)
                .await
                .0
        };
        Called {
            status: i64::from(answer.code()),
            head: trace_headers(&answer.head),
            trailers: answer.trailers.as_ref().map(trace_headers).unwrap_or_default(),
        }
    }
}

struct Called {
    status: i64,
    head: Vec<(String, String)>,
    trailers: Vec<(String, String)>,
}

/// What the client of a case sends.
fn sent(case: &str) -> Vec<(&'static str, String)> {
    let parent = |flags| ("traceparent", format!("00-{TRACE}-{SPAN}-{flags}"));
    let state = ("tracestate", "a=b".to_owned());
    if case.ends_with("bad baggage") {
        return vec![("baggage", "invalid-baggage".to_owned())];
    }
    if case.ends_with("unsampled traceparent") {
        return vec![parent("00")];
    }
    if case.ends_with("sampled traceparent, tracestate, baggage") {
        return vec![parent("01"), state, ("baggage", "k=v,x=y".to_owned())];
    }
    if case.ends_with("sampled traceparent") {
        return vec![parent("01"), state, ("baggage", "k=v".to_owned())];
    }
    if case.ends_with("sampled grpc-trace-bin") {
        return vec![(
            "grpc-trace-bin",
            "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE".to_owned(),
        )];
    }
    Vec::new()
}

/// Which ids stand for which, found out while texts are compared.
#[derive(Default)]
struct Bound(HashMap<String, String>);

impl Bound {
    fn new(external: u16) -> Self {
        let known = [
            ("client trace", TRACE.to_owned()),
            ("client span", SPAN.to_owned()),
            ("ext-port", external.to_string()),
        ];
        Self(known.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Whether a text is the recorded one, with an id for each name between angle brackets.
    fn is(&mut self, recorded: &str, text: &str) -> bool {
        if recorded == "<any text>" {
            return !text.is_empty();
        }
        let Some((before, rest)) = recorded.split_once('<') else {
            return recorded == text;
        };
        let (name, after) = rest.split_once('>').unwrap();
        let Some(text) = text.strip_prefix(before) else {
            return false;
        };
        let length = match self.0.get(name) {
            Some(known) if text.starts_with(known) => known.len(),
            Some(_) => return false,
            None => text.bytes().take_while(u8::is_ascii_hexdigit).count(),
        };
        let value = &text[..length];
        if !self.0.contains_key(name) && self.0.values().any(|known| known == value) {
            return false;
        }
        self.0.insert(name.to_owned(), value.to_owned());
        self.is(after, &text[length..])
    }

    /// The same for headers in any order.
    fn are(&mut self, recorded: &Value, seen: &[(String, String)]) -> bool {
        let recorded: Vec<(String, String)> = serde_json::from_value(recorded.clone()).unwrap_or_default();
        let mut left = seen.to_vec();
        for (name, value) in &recorded {
            let known = |(seen, text): &(String, String)| {
                // A header is looked for without binding what is not it.
                let mut copy = Self(self.0.clone());
                seen.eq_ignore_ascii_case(name) && copy.is(value, text)
            };
            let Some(at) = left.iter().position(known) else {
                return false;
            };
            let (_, text) = left.remove(at);
            self.is(value, &text);
        }
        left.is_empty()
    }

    fn is_span(&mut self, recorded: &Value, span: &SeenSpan) -> bool {
        let text = |key: &str| recorded[key].as_str().unwrap().to_owned();
        let attributes = recorded["attributes"].as_object().unwrap();
        span.service() == recorded["sidecar"]
            && span.resource.len() == 1
            && span.scope == recorded["scope"]
            && span.kind == recorded["kind"]
            && span.flags == recorded["flags"]
            && span.state == recorded["tracestate"]
            && span.is_error == (recorded["status"] == "ERROR")
            && self.is(&text("name"), &span.name)
            && self.is(&text("trace"), &span.trace)
            && self.is(&text("span"), &span.id)
            && self.is(&text("parent"), &span.parent)
            && self.is(&text("status_message"), &span.error)
            && attributes.len() == span.attributes.len()
            && attributes.iter().all(|(key, value)| {
                let seen = span.attributes.get(key);
                seen.is_some_and(|seen| self.is(value.as_str().unwrap(), seen))
            })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_and_contexts_are_those_of_dapr() {
    let stage = Stage::start().await;
    let mut cases: Vec<Value> = serde_json::from_str(RECORDED).unwrap();
    assert_eq!(cases.len(), 38);
    let mut before = 0;
    let mut wrong = Vec::new();
    for wanted in &mut cases {
        let case = wanted["case"].as_str().unwrap().to_owned();
        if case == "HTTP API -> denied by ACL" {
            // It takes mTLS to tell callers apart: see `a_call_that_is_denied`.
            continue;
        }
        differences(&case, wanted);
        let called = stage.call(&case, wanted).await;
        let recorded = wanted["spans"].as_array().unwrap().clone();
        let all = stage.collector.await_spans(before + recorded.len()).await;
        let mut spans = all[before..].to_vec();
        before = all.len();
        // In the order of the recording: the caller first.
        spans.sort_by_key(|span| span.service() != "c");
        let seen = std::mem::take(&mut *stage.seen.lock().unwrap());
        let mut bound = Bound::new(stage.external);
        if case.contains("returning its own traceparent") {
            bound.0.insert("trace 2".to_owned(), OF_APP[3..35].to_owned());
            bound.0.insert("span 3".to_owned(), OF_APP[36..52].to_owned());
        }
        let app_received = wanted["app_received"].as_array().unwrap();
        let is_right = called.status == wanted["status"].as_i64().unwrap()
            && spans.len() == recorded.len()
            && recorded
                .iter()
                .zip(&spans)
                .all(|(recorded, span)| bound.is_span(recorded, span))
            && app_received.len() == seen.len()
            && app_received
                .iter()
                .zip(&seen)
                .all(|(recorded, seen)| bound.are(recorded, seen))
            && bound.are(&wanted["caller_received"], &called.head)
            && bound.are(&wanted["caller_received_trailers"], &called.trailers);
        if !is_right {
            wrong.push(format!(
                "{case}: status {}\n  spans {spans:#?}\n  app {seen:?}\n  caller {:?} {:?}\n  wanted {wanted:#}",
                called.status, called.head, called.trailers
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
