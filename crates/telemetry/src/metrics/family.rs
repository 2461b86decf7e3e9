//! Families as they are at the moment.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::SystemTime;

use super::exemplars::{self, Exemplar};

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values are distributed among buckets.
    Histogram,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A family with its samples, as they are at the moment.
#[derive(Clone, Debug)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// One for each set of labels; empty when there is nothing to show.
    pub samples: Vec<Sample>,
}

impl Family {
    /// The same, counted since then. A sample that began later by itself did.
    #[must_use]
    pub fn since(mut self, began: SystemTime) -> Self {
        for sample in &mut self.samples {
            sample.began = sample.began.max(Some(began));
        }
        self
    }
}

/// A value with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// As the exposition writes them, without braces: `app_id="a",method="GET"`.
    pub labels: Arc<str>,
    /// The value.
    pub value: Value,
    /// When counting began, if that was later than the start of the process.
    pub began: Option<SystemTime>,
}

impl Sample {
    /// A sample of whatever kind, counted since the start of the process.
    pub fn new(labels: impl Into<Arc<str>>, value: Value) -> Self {
        Self {
            labels: labels.into(),
            value,
            began: None,
        }
    }

    /// A sample of a counter or a gauge.
    pub fn number(labels: impl Into<Arc<str>>, value: f64) -> Self {
        Self::new(labels, Value::Number(value))
    }

    /// The order of samples: by the values of their labels, one label after the other.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        // A quote ends a value, so that it comes before whatever else could stand there.
        let rank = |byte: u8| if byte == b'"' { 0 } else { byte };
        let (ours, others) = (self.labels.as_bytes(), other.labels.as_bytes());
        let difference = ours.iter().zip(others).find(|(a, b)| a != b);
        match difference {
            Some((a, b)) => rank(*a).cmp(&rank(*b)),
            None => ours.len().cmp(&others.len()),
        }
    }
}

/// Families by name, samples by the values of their labels; what has the same labels is added up.
pub(super) fn merged(mut families: Vec<Family>) -> Vec<Family> {
    families.sort_by_key(|family| family.name);
    let mut merged = Vec::with_capacity(families.len());
    let mut families = families.into_iter().peekable();
    while let Some(mut family) = families.next() {
        while let Some(more) = families.next_if(|next| next.name == family.name) {
            family.samples.extend(more.samples);
        }
        family.samples.sort_by(Sample::order);
        family.samples.dedup_by(|next, kept| {
            let is_same = next.labels == kept.labels;
            if is_same {
                kept.value.add(&next.value);
                // The sum is what it is only since the last of its parts is there.
                kept.began = kept.began.max(next.began);
            }
            is_same
        });
        merged.push(family);
    }
    merged
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Distribution(Distribution),
}

impl Value {
    /// What two series show that have come to have the same labels.
    pub(super) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Number(ours), Self::Number(others)) => *ours += others,
            (Self::Distribution(ours), Self::Distribution(others)) => {
                for (count, more) in ours.counts.iter_mut().zip(&others.counts) {
                    *count += more;
                }
                ours.sum += others.sum;
                exemplars::join(&mut ours.exemplars, &others.exemplars);
            }
            _ => {}
        }
    }
}

/// A histogram as it is at the moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// The upper bounds as the exposition writes them, without `+Inf`.
    pub bounds: Arc<[Box<str>]>,
    /// How many values each bucket has by itself; the last one has those beyond all bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
    /// Spans to look at, in the order of their buckets; at most one of each.
    pub exemplars: Vec<Exemplar>,
}
