//! The metrics: families that are gathered when somebody asks.
//!
//! Whoever counts keeps handles ([`Counter`], [`Histogram`]) which cost an atomic addition or two; the registry knows
//! where to gather. Nothing here is on the way of a call but those additions and one look-up in `labels`, which takes
//! no lock. The registry is our own because Dapr's names must stay what they are: other libraries add `_total` and units
//! to them, leave out labels that are empty, or take a lock for each look-up.

mod access;
mod app;
mod attempts;
mod buckets;
mod calls;
mod errors;
mod exemplars;
mod family;
mod grpc;
mod http;
mod in_flight;
mod invocation;
mod labels;
mod openmetrics;
mod own;
mod pairs;
mod paths;
mod peers;
mod process;
mod protobuf;
mod resiliency;
mod rules;
mod settings;
mod startup;
mod text;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

pub use access::{AccessCounters, Decided};
pub use app::{AppMetrics, GrpcCall, HttpCall};
pub use buckets::{Buckets, Counter, Histogram};
pub use calls::{CallMetrics, CallTicket, TargetMeters};
pub use exemplars::Exemplar;
pub use family::{Distribution, Family, Kind, Sample, Value};
pub use own::{single, sockets};
pub use paths::{PathLabels, PatternError};
pub use peers::PeerMetrics;
pub use resiliency::{BreakerState, PolicyKind, PolicyMeters, ResiliencyLabels, ResiliencyMetrics};
pub use rules::{Rule, RuleError, Rules};
pub use settings::{HttpMode, MetricsSettings};
pub use startup::StartMetrics;

pub(crate) use pairs::pairs;
use text::Exposition;
pub(crate) use text::label;

/// Something that has families to show.
pub type Source = Box<dyn Fn() -> Vec<Family> + Send + Sync>;

/// What the families are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text of Prometheus, version 0.0.4.
    Text,
    /// The text of `OpenMetrics`, version 1.0.0.
    OpenMetrics,
    /// The messages of Prometheus, each behind its length.
    Protobuf,
}

/// The registry behind the metrics port. Cloning shares it.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Registry>);

struct Registry {
    sources: Mutex<Vec<Source>>,
    offers_openmetrics: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    began: SystemTime,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            sources: Mutex::default(),
            offers_openmetrics: OnceLock::new(),
            began: SystemTime::now(),
        }
    }
}

impl Metrics {
    /// A registry with what the process itself has to show.
    pub fn new() -> Self {
        let metrics = Self::default();
        metrics.register(Box::new(process::families));
        metrics
    }

    /// Adds a source. Families of the same name from several sources are shown as one.
    pub fn register(&self, source: Source) {
        let mut sources = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.push(source);
    }

    /// When counting began that no sample says something else of: the start of the process.
    pub fn began(&self) -> SystemTime {
        self.0.began
    }

    /// Families by name, samples by the values of their labels; what has the same labels is added up. Reads `/proc`: not
    /// for a worker thread.
    pub fn gather(&self) -> Vec<Family> {
        let sources = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let families: Vec<Family> = sources.iter().flat_map(|source| source()).collect();
        drop(sources);
        family::merged(families)
    }

    /// Scrapers may have `OpenMetrics` whenever this says so; nobody may unless this was called. It is for those who have
    /// exemplars: where there are none, scrapers get what Dapr's `daprd` gives them.
    pub fn offer_openmetrics(&self, is_wanted: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.0.offers_openmetrics.set(Box::new(is_wanted));
    }

    /// Whether a scraper may have `OpenMetrics` now.
    pub fn offers_openmetrics(&self) -> bool {
        self.0
            .offers_openmetrics
            .get()
            .is_some_and(|is_wanted| is_wanted())
    }

    /// All families as a scraper wants them.
    pub fn expose_as(&self, format: Format) -> Vec<u8> {
        let families = self.gather();
        match format {
            Format::Text => Exposition::of(&families).into_text().into_bytes(),
            Format::OpenMetrics => openmetrics::exposition(&families).into_bytes(),
            Format::Protobuf => protobuf::exposition(&families),
        }
    }

    /// The text exposition, version 0.0.4.
    pub fn expose(&self) -> String {
        Exposition::of(&self.gather()).into_text()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &'static str, kind: Kind, samples: Vec<Sample>) -> Family {
        Family {
            name,
            help: "Some\nhelp.",
            kind,
            samples,
        }
    }

    #[test]
    fn families_stand_in_order_and_are_shown_once() {
        let metrics = Metrics::default();
        let sample = |labels: &str, value: f64| Sample::number(labels, value);
        metrics.register(Box::new(move || {
            vec![
                family("b", Kind::Gauge, vec![sample("x=\"\"", 2.0)]),
                family(
                    "a",
                    Kind::Counter,
                    vec![sample("l=\"/z\"", 1.0), sample("l=\"/a/\"", 1.0)],
                ),
                family("none", Kind::Gauge, vec![]),
            ]
        }));
        metrics.register(Box::new(move || {
            let more = vec![sample("l=\"/a\"", 1_000_000.0), sample("l=\"/z\"", 2.0)];
            vec![
                family("a", Kind::Counter, more),
                family("c", Kind::Gauge, vec![sample("", 1.0)]),
            ]
        }));
        assert_eq!(
            metrics.expose(),
            "# HELP a Some\\nhelp.\n# TYPE a counter\na{l=\"/a\"} 1e+06\na{l=\"/a/\"} 1\na{l=\"/z\"} 3\n\
             # HELP b Some\\nhelp.\n# TYPE b gauge\nb{x=\"\"} 2\n\
             # HELP c Some\\nhelp.\n# TYPE c gauge\nc 1\n"
        );
    }

    #[test]
    fn the_process_shows_itself() {
        let text = Metrics::new().expose();
        let value = |name: &str| -> f64 {
            let line = text
                .lines()
                .find(|line| line.starts_with(name) && !line.starts_with('#'))
                .unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_start_time_seconds") > 1_600_000_000.0);
    }
}
