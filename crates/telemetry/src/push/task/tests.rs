//! How long collectors may take. The clock stands still but when everybody waits.

use std::sync::{Arc, Mutex};

use lifecycle::Tasks;
use tokio::net::TcpListener;
use tokio::time::sleep;
use transport::client::Proxies;

use super::*;
use crate::metrics::{Family, Kind, Sample};
use crate::otlp::{Collector, Protocol, TIMEOUT};

fn exporters() -> Exporters {
    Exporters::new("me", Tasks::new(), Tasks::new(), Proxies::default())
}

/// Metrics of so many series.
fn metrics(series: usize) -> Metrics {
    let metrics = Metrics::new();
    metrics.register(Box::new(move || {
        let samples = (0..series).map(|number| Sample::number(format!("a=\"{number}\""), 1.0));
        vec![Family {
            name: "x",
            help: "",
            kind: Kind::Counter,
            samples: samples.collect(),
        }]
    }));
    metrics
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_says_nothing_to_a_message() {
    // The system takes the connection, and nobody reads from it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = |protocol| Collector {
        authority: silent.local_addr().unwrap().to_string(),
        protocol,
        is_secure: false,
        roots: None,
        headers: Vec::new(),
        timeout: TIMEOUT,
        is_packed: false,
    };
    let exporters = exporters();
    let http = collector(Protocol::Http(String::new()));
    let grpc = collector(Protocol::Grpc);
    for (worker, wanted) in [
        (
            Worker::http(HttpPost::to_collector(&http, "/", &exporters).unwrap()),
            "the collector does not answer in time",
        ),
        (
            Worker::grpc(OtlpGrpc::new(&grpc, "/a/b", &exporters).unwrap()),
            "rpc error: code = 4 desc = context deadline exceeded",
        ),
    ] {
        let begun = Instant::now();
        let exported = worker.export(&metrics(1), &Resource::new(&[])).await;
        assert_eq!(exported, Err(wanted.to_owned()));
        assert_eq!(begun.elapsed().as_secs(), 10, "{wanted}");
    }
}

/// Each message is in time, and all of them are not. The export ends, and the next one begins when it is due.
#[tokio::test(start_paused = true)]
async fn an_export_of_many_messages_has_a_time_limit() {
    let got = Arc::<Mutex<Vec<Instant>>>::default();
    let worker = Worker::new(Destination::Slow(Duration::from_secs(9), Arc::clone(&got)));
    let begun = Instant::now();
    let times = [60, 30].map(Duration::from_secs);
    let pushing = worker.begin(&metrics(10_000), Resource::new(&[]), times, &exporters());
    sleep(Duration::from_secs(125)).await;
    let at: Vec<u64> = got
        .lock()
        .unwrap()
        .iter()
        .map(|got| (*got - begun).as_secs())
        .collect();
    assert_eq!(at, [60, 69, 78, 87, 120]);
    drop(pushing);
}
