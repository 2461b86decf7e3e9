//! Exemplars, and the two forms of the exposition that carry them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use futures_util::stream;
use integration_tests::collector::{Collector, Spoken};
use integration_tests::{Daprd, HttpApp, Mesh, Protocol, eventually, text};
use prost::Message;

use super::stage::{Stage, scrape};

const OPENMETRICS: &str =
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,*/*;q=0.1";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The kind of the answer, and the answer.
async fn scrape_as(daprd: &Daprd, accept: &str) -> (String, Vec<u8>) {
    let url = format!("http://127.0.0.1:{}/metrics", daprd.metrics_port);
    let request = reqwest::Client::new().get(url).header("accept", accept);
    let answer = request.send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, answer.bytes().await.unwrap().to_vec())
}

/// What there is to look at in a bucket.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    family: String,
    labels: String,
    trace: String,
    span: String,
}

/// An exposition of `OpenMetrics`, held against the rules of its format.
#[derive(Debug, Default)]
struct OpenMetrics {
    /// Each series, its labels included.
    series: BTreeSet<String>,
    kinds: BTreeMap<String, String>,
    exemplars: Vec<Shown>,
}

impl OpenMetrics {
    async fn of(daprd: &Daprd) -> Self {
        let (kind, body) = scrape_as(daprd, OPENMETRICS).await;
        assert_eq!(
            kind,
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
        );
        Self::parse(&String::from_utf8(body).unwrap())
    }

    fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        let (mut family, mut below) = (String::new(), 0.0);
        let lines = text.strip_suffix("# EOF\n").expect("an end");
        for line in lines.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                rest.split_once(' ').unwrap().0.clone_into(&mut family);
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, family, "help and type stand together");
                let before = parsed.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} is there once");
                continue;
            }
            let (sample, exemplar) = match line.split_once(" # ") {
                Some((sample, exemplar)) => (sample, Some(exemplar)),
                None => (line, None),
            };
            let (series, value) = sample.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let suffix = name.strip_prefix(&*family).expect("a sample of the family");
            let allowed: &[&str] = match &*parsed.kinds[&family] {
                "counter" => &["_total"],
                "gauge" | "unknown" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                other => panic!("{other}"),
            };
            assert!(allowed.contains(&suffix), "{line}");
            assert!(parsed.series.insert(series.to_owned()), "{line} is there once");
            if suffix != "_bucket" {
                continue;
            }
            let (labels, bound) = labels.rsplit_once("le=\"").unwrap();
            let bound = bound.trim_end_matches("\"}");
            assert!(bound == "+Inf" || bound.contains(['.', 'e']), "{line}");
            let bound: f64 = bound.parse().unwrap();
            if bound < below {
                below = 0.0;
            }
            if let Some(exemplar) = exemplar {
                let (ids, value) = exemplar[1..].split_once("} ").unwrap();
                let (value, at) = value.split_once(' ').unwrap();
                let value: f64 = value.parse().unwrap();
                assert!(below <= value && value <= bound, "{line}");
                assert!(at.parse::<f64>().unwrap() > 1.6e9, "{line}");
                let pairs = ids.split(',').map(|pair| pair.split_once('=').unwrap());
                let pairs: Vec<_> = pairs.map(|(name, id)| (name, id.trim_matches('"'))).collect();
                assert_eq!((pairs[0].0, pairs[1].0, pairs.len()), ("trace_id", "span_id", 2));
                parsed.exemplars.push(Shown {
                    family: family.clone(),
                    labels: labels.trim_end_matches(',').to_owned(),
                    trace: pairs[0].1.to_owned(),
                    span: pairs[1].1.to_owned(),
                });
            }
            below = bound;
        }
        parsed
    }

    /// The families that have exemplars.
    fn traced(&self) -> BTreeSet<&str> {
        self.exemplars.iter().map(|shown| &*shown.family).collect()
    }

    /// What a bucket of this family has whose labels have this part.
    fn exemplar(&self, family: &str, part: &str) -> Option<Shown> {
        let found = self.exemplars.iter();
        let mut found = found.filter(|shown| shown.family == family && shown.labels.contains(part));
        found.next_back().cloned()
    }
}

/// The series of the other text, by the names that `OpenMetrics` has for them.
fn series_of(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, _) = line.rsplit_once(' ').unwrap();
            match series.rsplit_once("le=\"") {
                Some((labels, bound)) if !bound.contains(['.', 'e', '+']) => {
                    format!("{labels}le=\"{}.0\"}}", bound.trim_end_matches("\"}"))
                }
                _ => series.to_owned(),
            }
        })
        .collect()
}

const ON: &str = "  tracing: {samplingRate: '1', stdout: true}\n  daprd: {metrics: {exemplars: true}}\n";

/// On all roads, with every family that a call can have.
#[tokio::test(flavor = "multi_thread")]
async fn latencies_of_all_roads_have_exemplars() {
    let stage = Stage::start(ON).await;
    stage.call_all().await;
    for (daprd, wanted) in [
        (
            &stage.caller,
            &[
                "dapr_grpc_io_server_server_latency",
                "dapr_http_client_roundtrip_latency",
                "dapr_http_server_latency",
                "dapr_runtime_service_invocation_res_recv_latency_ms",
            ][..],
        ),
        (&stage.http, &["dapr_http_client_roundtrip_latency"]),
        (&stage.grpc, &["dapr_grpc_io_client_roundtrip_latency"]),
    ] {
        eventually("exemplars", || async {
            OpenMetrics::of(daprd).await.traced() == wanted.iter().copied().collect()
        })
        .await;
        let shown = OpenMetrics::of(daprd).await;
        let plain = scrape(daprd).await;
        assert!(!plain.contains("trace_id") && !plain.contains("EOF"));
        let missing: Vec<_> = series_of(&plain).difference(&shown.series).cloned().collect();
        assert!(missing.is_empty(), "{missing:?}");
        for (name, kind) in [
            ("process_cpu_seconds", "counter"),
            ("process_open_fds", "gauge"),
            ("dapr_http_server_request_count", "unknown"),
            ("dapr_http_server_latency", "histogram"),
        ] {
            assert_eq!(shown.kinds[name], kind, "{name}");
        }
    }
}

/// Which span is shown: the one that the sidecar exported of the call.
#[tokio::test(flavor = "multi_thread")]
async fn an_exemplar_names_the_span_of_its_call() {
    let collector = Collector::start(Spoken::Grpc).await;
    let mesh = Mesh::with_configuration(&format!(
        "  tracing:\n    samplingRate: '0.0000000001'\n    otel: {{endpointAddress: '127.0.0.1:{port}', protocol: grpc, isSecure: \
         false}}\n  daprd:\n    metrics:\n      exemplars: true\n      otlp: {{endpointAddress: '127.0.0.1:{port}', \
         isSecure: false, interval: 200ms}}\n",
        port = collector.port
    ));
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await;
    let start = |id: &str| {
        mesh.sidecar(id)
            .app_port(app.port)
            .env("OTEL_BSP_SCHEDULE_DELAY", "20")
    };
    let (caller, callee) = (start("c").start().await, start("s").start().await);
    for (path, flags) in [("seen", "01"), ("unseen", "00")] {
        let request = reqwest::Client::new().get(caller.invoke_url("s", path));
        let request = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-{flags}"));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let spans = collector.await_spans(2).await;
    let span = |kind: &str| {
        let found = spans.iter().find(|span| span.kind == kind && span.trace == TRACE);
        found.expect("a span").id.clone()
    };
    for (daprd, family, kind) in [
        (&caller, "dapr_http_server_latency", "CLIENT"),
        (
            &caller,
            "dapr_runtime_service_invocation_res_recv_latency_ms",
            "CLIENT",
        ),
        (&callee, "dapr_http_client_roundtrip_latency", "SERVER"),
    ] {
        eventually("the exemplar", || async {
            OpenMetrics::of(daprd).await.exemplar(family, "").is_some()
        })
        .await;
        let shown = OpenMetrics::of(daprd).await;
        let found = shown.exemplar(family, "").unwrap();
        assert_eq!((&*found.trace, found.span), (TRACE, span(kind)), "{family}");
        // The other call has left no trace.
        assert_eq!(shown.exemplar(family, "unseen"), None);
    }
    // What is pushed has it, too.
    eventually("an exemplar by OTLP", || async {
        let metrics = collector.metrics();
        let mut seen = metrics
            .iter()
            .filter(|metric| metric.name == "dapr_http_server_latency");
        seen.any(|metric| metric.exemplars == [(TRACE.to_owned(), span("CLIENT"))])
    })
    .await;
    // And so has the form in messages.
    let (kind, body) = scrape_as(&caller, PROTOBUF).await;
    assert_eq!(
        kind,
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"
    );
    let exemplars: Vec<_> = families(&body)
        .into_iter()
        .filter(|family| family.name() == "dapr_http_server_latency")
        .flat_map(|family| family.metric)
        .flat_map(|metric| metric.histogram.expect("a histogram").bucket)
        .filter_map(|bucket| bucket.exemplar)
        .collect();
    assert_eq!(exemplars.len(), 1);
    assert_eq!(exemplars[0].label[0].value(), TRACE);
    assert_eq!(exemplars[0].label[1].value(), span("CLIENT"));
}

/// Many series, each with an exemplar.
#[tokio::test(flavor = "multi_thread")]
async fn an_exposition_with_many_exemplars_is_whole() {
    const PATHS: usize = 300;
    let mesh = Mesh::with_configuration(ON);
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await;
    let daprd = mesh
        .sidecar("a")
        .app_port(app.port)
        .log_level("error")
        .start()
        .await;
    let call = async |number: usize| {
        // What must not be taken for the end of a label.
        let url = daprd.invoke_url("a", &format!("p{number}%22%7D%20%5C"));
        assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
    };
    stream::iter(0..PATHS)
        .map(call)
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
    let shown = {
        let (_, body) = scrape_as(&daprd, OPENMETRICS).await;
        String::from_utf8(body).unwrap()
    };
    let count = |part: &str| shown.lines().filter(|line| line.contains(part)).count();
    assert!(count("_bucket{") > 10_000, "{}", count("_bucket{"));
    // Calls that were made at once may give way to each other, but for nearly all there is one.
    assert!(
        count("} # {trace_id=") + count(" # {trace_id=\"") >= PATHS,
        "{shown}"
    );
    assert!(shown.ends_with("\n# EOF\n"));
    let ids: BTreeSet<&str> = shown
        .lines()
        .filter_map(|line| Some(line.split_once(" # {trace_id=\"")?.1.split_once('"')?.0))
        .collect();
    assert!(
        ids.iter().all(|id| id.len() == 32) && ids.len() > PATHS / 2,
        "{}",
        ids.len()
    );
}

/// Nobody gets anything else unless the configuration says so; from then on scrapers that ask for it do.
#[tokio::test]
async fn exemplars_are_off_until_the_configuration_wants_them() {
    let mesh = Mesh::with_configuration("  daprd: {metrics: {exemplars: false}}\n");
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await;
    let daprd = mesh.sidecar("a").app_port(app.port).start().await;
    let call = async || {
        let request = reqwest::Client::new().get(daprd.invoke_url("a", "x"));
        let request = request.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    call().await;
    let (kind, body) = scrape_as(&daprd, OPENMETRICS).await;
    assert_eq!(
        kind,
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    );
    assert!(!String::from_utf8(body).unwrap().contains(TRACE));
    let file = mesh.folder().join("config.yaml");
    let new = std::fs::read_to_string(&file)
        .unwrap()
        .replace("exemplars: false", "exemplars: true");
    let beside = mesh.folder().join("beside");
    std::fs::write(&beside, new).unwrap();
    std::fs::rename(beside, &file).unwrap();
    daprd
        .await_log("The changes are in place; calls that had begun go on as they began")
        .await;
    call().await;
    // Nothing makes spans here: what there is to look at is the span of the caller.
    eventually("the exemplar", || async {
        let found = OpenMetrics::of(&daprd)
            .await
            .exemplar("dapr_http_server_latency", "/x");
        found.is_some_and(|found| found.trace == TRACE && found.span == "00f067aa0ba902b7")
    })
    .await;
}

/// Both forms say the same, whether or not there are exemplars.
#[tokio::test]
async fn the_form_in_messages_says_what_the_text_says() {
    const COUNT: &str = "dapr_http_server_request_count";
    let mesh = Mesh::new();
    let app = HttpApp::start(Protocol::Http, |_| async { text(200, "ok") }).await;
    let daprd = mesh.sidecar("a").app_port(app.port).start().await;
    for (path, status) in [("x", 200), ("y%22%0A", 500)] {
        let answer = reqwest::get(daprd.invoke_url("a", path)).await.unwrap();
        assert_eq!(answer.status(), status);
    }
    eventually("both calls", || async {
        let text = scrape(&daprd).await;
        text.lines()
            .filter(|line| line.starts_with(COUNT) && line.contains("/method/"))
            .count()
            == 2
    })
    .await;
    let (text, (_, body)) = (scrape(&daprd).await, scrape_as(&daprd, PROTOBUF).await);
    let families = families(&body);
    let kinds: Vec<String> = families
        .iter()
        .map(|family| {
            let kind = ["counter", "gauge", "", "", "histogram"][family.kind() as usize];
            format!("{} {kind}", family.name())
        })
        .collect();
    let wanted: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    assert_eq!(kinds, wanted);
    let mut shown = BTreeSet::new();
    for family in &families {
        assert!(text.contains(&format!("# HELP {} {}\n", family.name(), family.help())));
        for metric in &family.metric {
            let labels: Vec<String> = metric.label.iter().map(LabelPair::shown).collect();
            let name = |suffix: &str, labels: &[String]| match labels {
                [] => format!("{}{suffix}", family.name()),
                labels => format!("{}{suffix}{{{}}}", family.name(), labels.join(",")),
            };
            let Some(histogram) = &metric.histogram else {
                assert!(metric.counter.is_some() != metric.gauge.is_some());
                shown.insert(name("", &labels));
                continue;
            };
            shown.insert(name("_sum", &labels));
            shown.insert(name("_count", &labels));
            assert!(
                histogram
                    .bucket
                    .iter()
                    .all(|bucket| bucket.cumulative_count() <= histogram.sample_count())
            );
            let bounds = histogram.bucket.iter().map(Bucket::upper_bound);
            for bound in bounds.chain([f64::INFINITY]) {
                let mut labels = labels.clone();
                labels.push(format!(
                    "le=\"{}\"",
                    if bound.is_finite() {
                        bound.to_string()
                    } else {
                        "+Inf".to_owned()
                    }
                ));
                shown.insert(name("_bucket", &labels));
            }
        }
    }
    let plain = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("e+"));
    for line in plain {
        let series = line.rsplit_once(' ').unwrap().0;
        assert!(shown.contains(series), "{series}");
    }
}

/// The messages of an exposition.
fn families(body: &[u8]) -> Vec<MetricFamily> {
    let (mut rest, mut families) = (body, Vec::new());
    while !rest.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut rest).expect("a message"));
    }
    families
}

/// The messages of Prometheus, as far as they are looked at. Numbers are those of its public protocol file.
#[derive(Clone, PartialEq, prost::Message)]
struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    help: Option<String>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

impl LabelPair {
    /// As the text has it.
    fn shown(&self) -> String {
        let value = self
            .value()
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("{}=\"{value}\"", self.name())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    sample_count: Option<u64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<Exemplar>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
}
