//! What policies of resiliency did. Whoever carries policies out feeds this: it asks for [`PolicyMeters`] once for each
//! target, and then counts with them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::buckets::Counter;
use super::family::{Family, Kind, Sample};
use super::rules::Rules;
use super::text::label;

const LOADED: &str = "dapr_resiliency_loaded";
const COUNT: &str = "dapr_resiliency_count";
const ACTIVATIONS: &str = "dapr_resiliency_activations_total";
const STATE: &str = "dapr_resiliency_cb_state";
/// So many targets have numbers of their own.
const MAX_TARGETS: usize = 1024;
/// The target in whose name all further ones are counted.
const OTHER: &str = "other";

/// A kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// A limit of time.
    Timeout,
    /// Further attempts.
    Retry,
    /// A circuit breaker, in this state.
    CircuitBreaker(BreakerState),
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// A few calls pass, to see how they fare.
    HalfOpen,
    /// No call passes.
    Open,
    /// Nobody knows.
    Unknown,
}

impl BreakerState {
    const ALL: [Self; 4] = [Self::Closed, Self::HalfOpen, Self::Open, Self::Unknown];

    fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
            Self::Unknown => "unknown",
        }
    }
}

impl PolicyKind {
    const ALL: [Self; 6] = [
        Self::Timeout,
        Self::Retry,
        Self::CircuitBreaker(BreakerState::Closed),
        Self::CircuitBreaker(BreakerState::HalfOpen),
        Self::CircuitBreaker(BreakerState::Open),
        Self::CircuitBreaker(BreakerState::Unknown),
    ];

    fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|kind| *kind == self)
            .unwrap_or_default()
    }

    /// The labels `policy` and `status`.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Timeout => ["timeout", ""],
            Self::Retry => ["retry", ""],
            Self::CircuitBreaker(state) => ["circuitbreaker", state.name()],
        }
    }
}

/// What a target's numbers are called by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResiliencyLabels {
    /// The name of the resource.
    pub name: String,
    /// Its namespace, as it is written.
    pub namespace: String,
    /// `app_` and the app as callers name it.
    pub target: String,
}

/// What policies did for one target.
#[derive(Debug, Default)]
pub struct PolicyMeters {
    applied: [Counter; PolicyKind::ALL.len()],
    activated: [Counter; PolicyKind::ALL.len()],
    /// The state of the breaker, from 1 on; 0 without one.
    state: AtomicU8,
}

impl PolicyMeters {
    /// A policy was looked up for a call: once for each kind that it has, not for each attempt.
    pub fn applied(&self, kind: PolicyKind) {
        self.applied[kind.index()].add_one();
        self.note(kind);
    }

    /// A policy did something: time ran out, a first retry began, a breaker changed to a state.
    pub fn activated(&self, kind: PolicyKind) {
        self.activated[kind.index()].add_one();
        self.note(kind);
    }

    /// The breaker is in this state.
    pub fn breaker_is(&self, state: BreakerState) {
        self.state.store(state as u8 + 1, Ordering::Relaxed);
    }

    fn note(&self, kind: PolicyKind) {
        if let PolicyKind::CircuitBreaker(state) = kind {
            self.breaker_is(state);
        }
    }
}

/// The families of resiliency. Cloning shares the counters.
#[derive(Clone)]
pub struct ResiliencyMetrics(Arc<Inner>);

struct Inner {
    app_id: Arc<str>,
    rules: Rules,
    /// By name and namespace.
    loaded: Mutex<BTreeMap<[String; 2], u64>>,
    targets: Mutex<BTreeMap<ResiliencyLabels, Arc<PolicyMeters>>>,
}

impl ResiliencyMetrics {
    /// Nothing happened yet.
    pub fn new(app_id: Arc<str>, rules: Rules) -> Self {
        Self(Arc::new(Inner {
            app_id,
            rules,
            loaded: Mutex::default(),
            targets: Mutex::default(),
        }))
    }

    /// A resource was loaded.
    pub fn loaded(&self, name: &str, namespace: &str) {
        let mut loaded = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        *loaded.entry([name.to_owned(), namespace.to_owned()]).or_default() += 1;
    }

    /// What is counted for a target; to be asked for when the target is found, not for each call.
    pub fn meters(&self, mut labels: ResiliencyLabels) -> Arc<PolicyMeters> {
        let mut targets = self.0.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if targets.len() >= MAX_TARGETS && !targets.contains_key(&labels) {
            OTHER.clone_into(&mut labels.target);
        }
        Arc::clone(targets.entry(labels).or_default())
    }

    /// The families as they are now.
    pub fn families(&self) -> Vec<Family> {
        let loaded = self
            .0
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let targets = self
            .0
            .targets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let of_kinds = |family: &'static str, counters: fn(&PolicyMeters) -> &[Counter]| {
            let samples = targets.iter().flat_map(|(labels, meters)| {
                let counted = PolicyKind::ALL.into_iter().zip(counters(meters));
                counted.filter_map(move |(kind, counter)| {
                    Some(Sample::new(self.labels(family, labels, kind), counter.value()?))
                })
            });
            samples.collect()
        };
        let states = targets.iter().flat_map(|(labels, meters)| {
            let state = meters.state.load(Ordering::Relaxed);
            let states = BreakerState::ALL.into_iter().filter(move |_| state > 0);
            states.map(move |known| {
                let kind = PolicyKind::CircuitBreaker(known);
                let is_it = known as u8 + 1 == state;
                Sample::number(self.labels(STATE, labels, kind), f64::from(u8::from(is_it)))
            })
        });
        let family = |name, help, kind, samples| Family {
            name,
            help,
            kind,
            samples,
        };
        vec![
            family(
                LOADED,
                "Number of resiliency policies loaded.",
                Kind::Counter,
                loaded
                    .iter()
                    .map(|(names, count)| self.of_resource(names, *count))
                    .collect(),
            ),
            family(
                COUNT,
                "Number of times a resiliency policyKey has been applied to a building block.",
                Kind::Counter,
                of_kinds(COUNT, |meters| &meters.applied),
            ),
            family(
                ACTIVATIONS,
                "Number of times a resiliency policyKey has been activated in a building block after a failure or \
                 after a state change.",
                Kind::Counter,
                of_kinds(ACTIVATIONS, |meters| &meters.activated),
            ),
            family(
                STATE,
                "A resiliency policy's current CircuitBreakerState state. 0 is closed, 1 is half-open, 2 is open, \
                 and -1 is unknown.",
                Kind::Gauge,
                states.collect(),
            ),
        ]
    }

    fn of_resource(&self, [name, namespace]: &[String; 2], count: u64) -> Sample {
        let labels = [
            ("app_id", &*self.0.app_id),
            ("name", name),
            ("namespace", namespace),
        ];
        Sample::number(self.written(LOADED, &labels), count as f64)
    }

    fn labels(&self, family: &str, labels: &ResiliencyLabels, kind: PolicyKind) -> String {
        let [policy, status] = kind.names();
        let labels = [
            ("app_id", &*self.0.app_id),
            ("flow_direction", "outbound"),
            ("name", &labels.name),
            ("namespace", &labels.namespace),
            ("policy", policy),
            ("status", status),
            ("target", &labels.target),
        ];
        self.written(family, &labels)
    }

    fn written(&self, family: &str, labels: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for (name, value) in labels {
            label(&mut text, name, &self.0.rules.rewrite(family, name, value));
        }
        text
    }
}

impl fmt::Debug for ResiliencyMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResiliencyMetrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn labels(target: &str) -> ResiliencyLabels {
        ResiliencyLabels {
            name: "pol".to_owned(),
            namespace: String::new(),
            target: target.to_owned(),
        }
    }

    /// Three calls of which two find the breaker closed and one finds it open, as Dapr shows them.
    #[test]
    fn what_a_dashboard_reads() {
        let resiliency = ResiliencyMetrics::new("c".into(), Rules::default());
        resiliency.loaded("pol", "");
        let meters = resiliency.meters(labels("app_r"));
        for state in [BreakerState::Closed, BreakerState::Closed, BreakerState::Open] {
            meters.applied(PolicyKind::Retry);
            meters.applied(PolicyKind::CircuitBreaker(state));
        }
        meters.activated(PolicyKind::Retry);
        meters.activated(PolicyKind::CircuitBreaker(BreakerState::Open));
        resiliency
            .meters(labels("app_s.default"))
            .applied(PolicyKind::Timeout);
        let metrics = Metrics::default();
        metrics.register(Box::new(move || resiliency.families()));
        let text = metrics.expose();
        let shown: Vec<_> = text.lines().filter(|line| !line.starts_with("# ")).collect();
        let with = |family: &str, policy: &str, status: &str, target: &str, value: u8| {
            format!(
                "dapr_resiliency_{family}{{app_id=\"c\",flow_direction=\"outbound\",name=\"pol\",namespace=\"\",\
                 policy=\"{policy}\",status=\"{status}\",target=\"{target}\"}} {value}"
            )
        };
        assert_eq!(
            shown,
            [
                with("activations_total", "circuitbreaker", "open", "app_r", 1),
                with("activations_total", "retry", "", "app_r", 1),
                with("cb_state", "circuitbreaker", "closed", "app_r", 0),
                with("cb_state", "circuitbreaker", "half-open", "app_r", 0),
                with("cb_state", "circuitbreaker", "open", "app_r", 1),
                with("cb_state", "circuitbreaker", "unknown", "app_r", 0),
                with("count", "circuitbreaker", "closed", "app_r", 2),
                with("count", "circuitbreaker", "open", "app_r", 1),
                with("count", "retry", "", "app_r", 3),
                with("count", "timeout", "", "app_s.default", 1),
                "dapr_resiliency_loaded{app_id=\"c\",name=\"pol\",namespace=\"\"} 1".to_owned(),
            ]
        );
    }

    #[test]
    fn targets_are_bounded() {
        let resiliency = ResiliencyMetrics::new("c".into(), Rules::default());
        for number in 0..MAX_TARGETS + 5 {
            resiliency
                .meters(labels(&number.to_string()))
                .applied(PolicyKind::Retry);
        }
        let families = resiliency.families();
        assert_eq!(families[1].samples.len(), MAX_TARGETS + 1);
    }
}
