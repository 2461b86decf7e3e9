//! Handing spans to whoever wants them: a queue and a task for each exporter.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lifecycle::Tasks;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use transport::client::Proxies;

use super::grpc::OtlpGrpc;
use super::otlp::{self, Resource};
use super::post::HttpPost;
use super::settings::Batching;
use super::span::Span;
use super::{stdout, zipkin};
use crate::metrics::{Family, Kind, Sample, label};

const SCOPE: &str = "dapr.runtime";
/// How many bytes of spans wait for one exporter. They have what callers sent, and collectors may be away.
const MOST_HELD: usize = 8 << 20;
/// The pause before a batch is sent again, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// How soon an exporter that waits to send again notices that it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Who is told of spans.
const NAMES: [&str; 3] = ["otel", "stdout", "zipkin"];

/// The exporters of a sidecar: they outlive the configuration that wanted them until they have sent what is left. Cloning
/// shares them.
#[derive(Clone)]
pub struct Exporters(Arc<Inner>);

struct Inner {
    app_id: Box<str>,
    tasks: Tasks,
    connections: Tasks,
    proxies: Proxies,
    /// How many spans each of them lost; nothing for those that never were at work.
    dropped: [OnceLock<AtomicU64>; NAMES.len()],
}

impl fmt::Debug for Exporters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporters")
    }
}

impl Exporters {
    /// None yet. `tasks` owns their work, `connections` their connections.
    pub fn new(app_id: &str, tasks: Tasks, connections: Tasks, proxies: Proxies) -> Self {
        Self(Arc::new(Inner {
            app_id: app_id.into(),
            tasks,
            connections,
            proxies,
            dropped: Default::default(),
        }))
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(super) fn connections(&self) -> &Tasks {
        &self.0.connections
    }

    pub(super) fn proxies(&self) -> &Proxies {
        &self.0.proxies
    }

    /// An exporter at work. It ends when the queue is gone and empty.
    pub(super) fn begin(&self, name: &'static str, destination: Destination, batching: Batching) -> Queue {
        let (sender, receiver) = mpsc::channel(batching.queue);
        let index = NAMES.iter().position(|known| *known == name).unwrap_or(0);
        self.0.dropped[index].get_or_init(AtomicU64::default);
        let shared = Arc::new(Shared {
            of: self.clone(),
            index,
            held: AtomicUsize::new(0),
        });
        let worker = Worker {
            name,
            destination,
            batching,
            receiver,
            shared: Arc::clone(&shared),
            is_failing: false,
        };
        self.0.tasks.spawn(worker.run());
        Queue { sender, shared }
    }

    /// How many spans were dropped, as a family.
    pub fn families(&self) -> Vec<Family> {
        let dropped = NAMES.iter().zip(&self.0.dropped);
        let dropped = dropped.filter_map(|(name, count)| Some((name, count.get()?.load(Ordering::Relaxed))));
        let samples = dropped.map(|(name, count)| {
            let mut labels = String::new();
            label(&mut labels, "app_id", &self.0.app_id);
            label(&mut labels, "exporter", name);
            Sample::number(labels, count as f64)
        });
        vec![Family {
            name: "daprd_trace_spans_dropped_total",
            help: "The number of spans that no collector got.",
            kind: Kind::Counter,
            samples: samples.collect(),
        }]
    }
}

/// What a queue and its exporter know together.
struct Shared {
    of: Exporters,
    index: usize,
    /// How many bytes of spans wait.
    held: AtomicUsize,
}

impl Shared {
    fn dropped(&self, spans: usize) {
        let dropped = self.of.0.dropped[self.index].get_or_init(AtomicU64::default);
        dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }
}

/// Where calls leave their spans. It never waits.
pub(super) struct Queue {
    sender: Sender<Arc<Span>>,
    shared: Arc<Shared>,
}

impl Queue {
    /// One whose spans the test takes.
    #[cfg(test)]
    pub(super) fn of_test(length: usize) -> (Self, Receiver<Arc<Span>>) {
        let (sender, receiver) = mpsc::channel(length);
        let shared = Arc::new(Shared {
            of: Exporters::new("me", Tasks::new(), Tasks::new(), Proxies::default()),
            index: 0,
            held: AtomicUsize::new(0),
        });
        (Self { sender, shared }, receiver)
    }

    /// Who counts what was dropped.
    #[cfg(test)]
    pub(super) fn exporters(&self) -> &Exporters {
        &self.shared.of
    }

    /// Leaves a span, or drops it when too much waits already.
    pub(super) fn push(&self, span: &Arc<Span>) {
        let size = span.size();
        let held = self.shared.held.fetch_add(size, Ordering::Relaxed) + size;
        if held > MOST_HELD || self.sender.try_send(Arc::clone(span)).is_err() {
            self.shared.held.fetch_sub(size, Ordering::Relaxed);
            self.shared.dropped(1);
        }
    }
}

/// Whoever wants spans.
pub(super) enum Destination {
    Stdout,
    Zipkin(HttpPost, Vec<(String, String)>),
    Http(HttpPost, Resource),
    Grpc(OtlpGrpc, Resource),
    /// One that refuses for now, or says nothing; it counts how often it was asked.
    #[cfg(test)]
    Unwilling {
        is_silent: bool,
        asked: Arc<AtomicUsize>,
    },
}

/// Spans that were not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) why: String,
    /// They may be taken later, but not before this has passed.
    pub(super) again: Option<Duration>,
}

impl Refused {
    pub(super) fn for_good(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            again: None,
        }
    }

    pub(super) fn for_now(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            again: Some(Duration::ZERO),
        }
    }
}

impl Destination {
    async fn send(&self, spans: &[Arc<Span>]) -> Result<(), Refused> {
        match self {
            Self::Stdout => {
                stdout::log(spans);
                Ok(())
            }
            Self::Zipkin(post, resource) => post.to_zipkin(zipkin::encode(resource, spans)).await,
            Self::Http(post, resource) => post.send(otlp::encode(resource, spans)).await,
            Self::Grpc(grpc, resource) => grpc.send(otlp::encode(resource, spans)).await,
            #[cfg(test)]
            Self::Unwilling { is_silent, asked } => {
                asked.fetch_add(1, Ordering::Relaxed);
                if *is_silent {
                    std::future::pending::<()>().await;
                }
                Err(Refused::for_now("not now"))
            }
        }
    }
}

/// Takes spans out of the queue and hands them over, batch by batch.
struct Worker {
    name: &'static str,
    destination: Destination,
    batching: Batching,
    receiver: Receiver<Arc<Span>>,
    shared: Arc<Shared>,
    /// Whether the last batch was lost, which the log has.
    is_failing: bool,
}

impl Worker {
    async fn run(mut self) {
        let mut batch = Vec::new();
        while let Some(first) = self.receiver.recv().await {
            batch.push(first);
            self.fill(&mut batch).await;
            let size: usize = batch.iter().map(|span| span.size()).sum();
            self.hand_over(&batch).await;
            self.shared.held.fetch_sub(size, Ordering::Relaxed);
            batch.clear();
        }
    }

    /// Waits for others that go along.
    async fn fill(&mut self, batch: &mut Vec<Arc<Span>>) {
        let until = Instant::now() + self.batching.delay;
        while batch.len() < self.batching.batch {
            match timeout_at(until, self.receiver.recv()).await {
                Ok(Some(span)) => batch.push(span),
                Ok(None) | Err(_) => return,
            }
        }
    }

    async fn hand_over(&mut self, batch: &[Arc<Span>]) {
        let until = Instant::now() + self.batching.timeout;
        let mut pause = PAUSES.0;
        let why = loop {
            let refused = match timeout_at(until, self.destination.send(batch)).await {
                Ok(Ok(())) => {
                    if self.is_failing {
                        tracing::info!(target: SCOPE, "spans are exported to {} again", self.name);
                    }
                    self.is_failing = false;
                    return;
                }
                Ok(Err(refused)) => refused,
                Err(_) => break "it does not answer in time".to_owned(),
            };
            let Some(least) = refused.again else {
                break refused.why;
            };
            // Others do not come back all at once.
            let wait = least.max(pause.mul_f64(0.5 + fastrand::f64()));
            if !is_before(until, wait) || !self.waits(wait).await {
                break refused.why;
            }
            pause = (pause * 2).min(PAUSES.1);
        };
        self.shared.dropped(batch.len());
        if !self.is_failing {
            tracing::warn!(
                target: SCOPE,
                "spans are not exported to {}, {} of them are lost: {why}", self.name, batch.len()
            );
        }
        self.is_failing = true;
    }

    /// Waits, unless no more spans come: then this was the last chance.
    async fn waits(&self, wait: Duration) -> bool {
        let is_closed = async {
            while !self.receiver.is_closed() {
                sleep(LOOK).await;
            }
        };
        timeout(wait, is_closed).await.is_err()
    }
}

/// Whether that wait is over before `until`. A collector may ask for one that no clock can count.
fn is_before(until: Instant, wait: Duration) -> bool {
    Instant::now().checked_add(wait).is_some_and(|over| over < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Arc<Span> {
        let now = std::time::SystemTime::now();
        Arc::new(Span {
            context: invoke_core::trace::TraceContext::default(),
            parent: [0; 8],
            state: String::new(),
            name: String::new(),
            kind: crate::traces::span::Kind::Client,
            start: now,
            end: now,
            attributes: Vec::new(),
            dropped: 0,
            error: None,
        })
    }

    #[test]
    fn waits_that_are_too_long() {
        let until = Instant::now() + Duration::from_secs(30);
        for (wait, wanted) in [
            (Duration::ZERO, true),
            (Duration::from_secs(20), true),
            (Duration::from_secs(31), false),
            (Duration::from_secs(u64::MAX), false),
            (Duration::MAX, false),
        ] {
            assert_eq!(is_before(until, wait), wanted, "{wait:?}");
        }
    }

    /// A batch that nobody takes is given up, however often it was sent again until then.
    #[tokio::test(start_paused = true)]
    async fn a_batch_has_a_time_limit_with_all_that_is_tried() {
        for (is_silent, often) in [(true, 1..=1), (false, 3..=6)] {
            let exporters = Exporters::new("me", Tasks::new(), Tasks::new(), Proxies::default());
            let asked = Arc::<AtomicUsize>::default();
            let destination = Destination::Unwilling {
                is_silent,
                asked: Arc::clone(&asked),
            };
            let shared = Arc::new(Shared {
                of: exporters.clone(),
                index: 0,
                held: AtomicUsize::new(0),
            });
            let (_sender, receiver) = mpsc::channel(1);
            let mut worker = Worker {
                name: NAMES[0],
                destination,
                batching: Batching::default(),
                receiver,
                shared,
                is_failing: false,
            };
            let begun = Instant::now();
            worker.hand_over(&[span(), span()]).await;
            let elapsed = begun.elapsed();
            assert!(elapsed <= Duration::from_secs(30) + LOOK, "{elapsed:?}");
            assert!(!is_silent || elapsed >= Duration::from_secs(30), "{elapsed:?}");
            let asked = asked.load(Ordering::Relaxed);
            assert!(often.contains(&asked), "asked {asked} times");
            assert_eq!(
                exporters.families()[0].samples[0].value,
                crate::metrics::Value::Number(2.0)
            );
        }
    }
}
