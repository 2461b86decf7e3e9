//! What a start counts: components that are set up, and those that cannot be.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::family::{Family, Kind, Sample};
use super::rules::Rules;
use super::text::label;

const INIT: &str = "dapr_runtime_component_init_total";
const INIT_FAIL: &str = "dapr_runtime_component_init_fail_total";
const LOADED: &str = "dapr_runtime_component_loaded";
/// What a name resolver is called as a component.
const NAME_RESOLUTION: &str = "nameResolution";

/// Counts components. Cloning shares the counters.
#[derive(Clone)]
pub struct StartMetrics(Arc<Inner>);

struct Inner {
    app_id: Arc<str>,
    rules: Rules,
    counts: Mutex<Counts>,
}

#[derive(Clone, Default)]
struct Counts {
    loaded: u64,
    /// By type.
    set_up: BTreeMap<String, u64>,
    /// By type, name and reason.
    failed: BTreeMap<[String; 3], u64>,
}

impl StartMetrics {
    /// Nothing happened yet.
    pub fn new(app_id: Arc<str>, rules: Rules) -> Self {
        Self(Arc::new(Inner {
            app_id,
            rules,
            counts: Mutex::default(),
        }))
    }

    /// A component of this type is set up.
    pub fn component_set_up(&self, kind: &str) {
        self.change(|counts| {
            counts.loaded += 1;
            *counts.set_up.entry(kind.to_owned()).or_default() += 1;
        });
    }

    /// A component cannot be set up.
    pub fn component_failed(&self, kind: &str, name: &str) {
        self.failed(kind, name, "init");
    }

    /// The name resolver cannot be set up.
    pub fn resolver_failed(&self, name: &str, is_unknown: bool) {
        self.failed(
            NAME_RESOLUTION,
            name,
            if is_unknown { "creation" } else { "init" },
        );
    }

    fn failed(&self, kind: &str, name: &str, reason: &str) {
        let names = [kind, name, reason].map(ToOwned::to_owned);
        self.change(|counts| *counts.failed.entry(names).or_default() += 1);
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The families as they are now.
    pub fn families(&self) -> Vec<Family> {
        let counts = self
            .0
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let family = |name, help, samples| Family {
            name,
            help,
            kind: Kind::Counter,
            samples,
        };
        let set_up = counts.set_up.iter().map(|(kind, count)| {
            let labels = self.labels(INIT, &[("component", kind)]);
            Sample::number(labels, *count as f64)
        });
        let failed = counts.failed.iter().map(|([kind, name, reason], count)| {
            let labels = [
                ("component", &**kind),
                ("componentName", name),
                ("reason", reason),
            ];
            Sample::number(self.labels(INIT_FAIL, &labels), *count as f64)
        });
        let loaded = (counts.loaded > 0).then(|| {
            let labels = self.labels(LOADED, &[]);
            Sample::number(labels, counts.loaded as f64)
        });
        vec![
            family(INIT, "The number of initialized components.", set_up.collect()),
            family(
                INIT_FAIL,
                "The number of component initialization failures.",
                failed.collect(),
            ),
            family(
                LOADED,
                "The number of successfully loaded components.",
                loaded.into_iter().collect(),
            ),
        ]
    }

    fn labels(&self, family: &str, labels: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for (name, value) in [("app_id", &*self.0.app_id)].iter().chain(labels) {
            label(&mut text, name, &self.0.rules.rewrite(family, name, value));
        }
        text
    }
}

impl fmt::Debug for StartMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartMetrics")
    }
}
