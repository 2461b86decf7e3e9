//! A collector of spans and metrics: OTLP over gRPC and HTTP, and Zipkin's JSON, each on a port of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use prost::Message;

use crate::app::{HttpApp, Protocol, Request, Response, text};
use crate::eventually;
use crate::otlp;

/// What collectors are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP.
    Http,
    /// JSON of Zipkin.
    Zipkin,
}

/// A span as a collector sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenSpan {
    /// What it is of, `service.name` among it.
    pub resource: BTreeMap<String, String>,
    /// The instrumentation that made it.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// `CLIENT` or `SERVER`.
    pub kind: String,
    /// The id of its trace, in hexadecimal digits.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of its parent, empty for none.
    pub parent: String,
    /// Flags, where the protocol has some.
    pub flags: u32,
    /// The state of its trace.
    pub state: String,
    /// Its attributes; with Zipkin all tags.
    pub attributes: BTreeMap<String, String>,
    /// Whether it failed.
    pub is_error: bool,
    /// Why it failed.
    pub error: String,
}

impl SeenSpan {
    /// Which sidecar made it.
    pub fn service(&self) -> &str {
        self.resource.get("service.name").map_or("", String::as_str)
    }
}

/// A series of a metric as a collector sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenMetric {
    /// What it is of, `service.name` among it.
    pub resource: BTreeMap<String, String>,
    /// Its name.
    pub name: String,
    /// `gauge`, `counter` or `histogram`.
    pub kind: &'static str,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its value; of a histogram how many values it has.
    pub value: f64,
    /// When counting began, in nanoseconds since 1970; 0 for a gauge.
    pub began: u64,
    /// Of a histogram: trace and span of its exemplars.
    pub exemplars: Vec<(String, String)>,
}

/// One export.
#[derive(Clone, Debug)]
pub struct Export {
    /// Where it was sent to.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its spans.
    pub spans: Vec<SeenSpan>,
    /// Its metrics.
    pub metrics: Vec<SeenMetric>,
    /// The JSON of Zipkin as it came.
    pub json: serde_json::Value,
}

type Exports = Arc<Mutex<Vec<Export>>>;

/// The collector; it stops when dropped.
pub struct Collector {
    /// Its port.
    pub port: u16,
    exports: Exports,
    _server: HttpApp,
}

impl Collector {
    /// Takes all that it is given.
    pub async fn start(spoken: Spoken) -> Self {
        Self::answering(spoken, |_| None).await
    }

    /// The same, but for the exports that `answer` answers; it is told how many came before.
    pub async fn answering(
        spoken: Spoken,
        answer: impl Fn(usize) -> Option<Response> + Clone + Send + Sync + 'static,
    ) -> Self {
        let exports = Exports::default();
        let seen = Arc::clone(&exports);
        let protocol = if spoken == Spoken::Grpc {
            Protocol::H2c
        } else {
            Protocol::Http
        };
        let server = HttpApp::start(protocol, move |request| {
            let (seen, answer) = (Arc::clone(&seen), answer.clone());
            async move {
                let export = read(spoken, request).await;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let before = seen.len();
                seen.push(export);
                drop(seen);
                answer(before).unwrap_or_else(|| match spoken {
                    Spoken::Grpc => grpc(0),
                    Spoken::Http => text(200, ""),
                    Spoken::Zipkin => text(202, ""),
                })
            }
        })
        .await;
        Self {
            port: server.port,
            exports,
            _server: server,
        }
    }

    /// All exports so far.
    pub fn exports(&self) -> Vec<Export> {
        self.exports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<SeenSpan> {
        self.exports()
            .into_iter()
            .flat_map(|export| export.spans)
            .collect()
    }

    /// All series so far, as the last export that has them says.
    pub fn metrics(&self) -> Vec<SeenMetric> {
        let mut all: Vec<SeenMetric> = Vec::new();
        for metric in self.exports().into_iter().flat_map(|export| export.metrics) {
            let is_same = |known: &&mut SeenMetric| {
                known.name == metric.name
                    && known.attributes == metric.attributes
                    && known.resource == metric.resource
            };
            match all.iter_mut().find(is_same) {
                Some(known) => *known = metric,
                None => all.push(metric),
            }
        }
        all
    }

    /// Waits until there are so many spans.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn await_spans(&self, count: usize) -> Vec<SeenSpan> {
        eventually(&format!("{count} spans"), || async {
            self.spans().len() >= count
        })
        .await;
        self.spans()
    }
}

/// An answer of gRPC with a status.
pub fn grpc(code: u32) -> Response {
    let message = (code == 0).then(Vec::new);
    let answer = crate::rpc::respond(message, code, "a test");
    answer.map(|body| body.map_err(|never: Infallible| match never {}).boxed_unsync())
}

async fn read(spoken: Spoken, request: Request) -> Export {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes);
    let mut body = body.unwrap_or_default();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let mut is_packed = header("content-encoding") == Some("gzip");
    if spoken == Spoken::Grpc {
        let head = body.split_to(5.min(body.len()));
        is_packed = head.first() == Some(&1);
        assert_eq!(is_packed, header("grpc-encoding") == Some("gzip"));
    }
    if is_packed {
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*body)
            .read_to_end(&mut unpacked)
            .expect("gzip");
        body = unpacked.into();
    }
    let is_of_metrics = parts.uri.path().contains("etrics");
    let metrics = if is_of_metrics {
        metrics_of(&body)
    } else {
        Vec::new()
    };
    let (spans, json) = match spoken {
        _ if is_of_metrics => (Vec::new(), serde_json::Value::Null),
        Spoken::Zipkin => {
            let json = serde_json::from_slice(&body).unwrap_or_default();
            (of_zipkin(&json), json)
        }
        Spoken::Grpc | Spoken::Http => (of_otlp(&body), serde_json::Value::Null),
    };
    Export {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        spans,
        metrics,
        json,
    }
}

fn metrics_of(message: &Bytes) -> Vec<SeenMetric> {
    const CUMULATIVE: i32 = 2;
    let request = otlp::MetricsRequest::decode(message.clone()).expect("a message of OTLP");
    let mut seen = Vec::new();
    for of_resource in request.resource_metrics {
        let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
        let scopes = of_resource.scope_metrics.into_iter();
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let mut put = |kind, pairs, value, began, exemplars| {
                seen.push(SeenMetric {
                    resource: resource.clone(),
                    name: metric.name.clone(),
                    kind,
                    attributes: attributes(pairs),
                    value,
                    began,
                    exemplars,
                });
            };
            if let Some(sum) = metric.sum {
                assert!(sum.is_monotonic && sum.temporality == CUMULATIVE);
                for point in sum.points {
                    assert!(point.start > 0 && point.start <= point.time);
                    put("counter", point.attributes, point.value, point.start, Vec::new());
                }
            }
            for point in metric.gauge.into_iter().flat_map(|gauge| gauge.points) {
                put("gauge", point.attributes, point.value, 0, Vec::new());
            }
            if let Some(histogram) = metric.histogram {
                assert_eq!(histogram.temporality, CUMULATIVE);
                for point in histogram.points {
                    assert!(point.start > 0 && point.start <= point.time);
                    assert_eq!(point.counts.len(), point.bounds.len() + 1);
                    assert_eq!(point.counts.iter().sum::<u64>(), point.count);
                    let count = point.count as f64;
                    let mut exemplars = Vec::new();
                    for exemplar in point.exemplars {
                        assert!(point.start <= exemplar.time && exemplar.time <= point.time);
                        exemplars.push((hex(&exemplar.trace_id), hex(&exemplar.span_id)));
                    }
                    put("histogram", point.attributes, count, point.start, exemplars);
                }
            }
        }
    }
    seen
}

fn of_otlp(message: &Bytes) -> Vec<SeenSpan> {
    let request = otlp::Request::decode(message.clone()).expect("a message of OTLP");
    let mut seen = Vec::new();
    for of_resource in request.resource_spans {
        assert_eq!(of_resource.schema_url, "https://opentelemetry.io/schemas/1.25.0");
        let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
        for of_scope in of_resource.scope_spans {
            let scope = of_scope.scope.unwrap_or_default().name;
            for span in of_scope.spans {
                let status = span.status.unwrap_or_default();
                seen.push(SeenSpan {
                    resource: resource.clone(),
                    scope: scope.clone(),
                    name: span.name,
                    kind: if span.kind == 3 { "CLIENT" } else { "SERVER" }.to_owned(),
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    flags: span.flags,
                    state: span.trace_state,
                    attributes: attributes(span.attributes),
                    is_error: status.code == 2,
                    error: status.message,
                });
                assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
            }
        }
    }
    seen
}

fn attributes(pairs: Vec<otlp::KeyValue>) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter();
    pairs
        .map(|pair| (pair.key, pair.value.unwrap_or_default().text))
        .collect()
}

fn of_zipkin(json: &serde_json::Value) -> Vec<SeenSpan> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let span = |span: &serde_json::Value| {
        let tags = span["tags"].as_object().into_iter().flatten();
        let tags: BTreeMap<String, String> = tags.map(|(key, value)| (key.clone(), text(value))).collect();
        SeenSpan {
            resource: [("service.name".to_owned(), text(&span["tags"]["service.name"]))].into(),
            scope: text(&span["tags"]["otel.scope.name"]),
            name: text(&span["name"]),
            kind: text(&span["kind"]),
            trace: text(&span["traceId"]),
            id: text(&span["id"]),
            parent: text(&span["parentId"]),
            is_error: tags.contains_key("error"),
            error: text(&span["tags"]["error"]),
            attributes: tags,
            ..SeenSpan::default()
        }
    };
    json.as_array().into_iter().flatten().map(span).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
