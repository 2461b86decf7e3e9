//! Counters and histograms: what is added to on the way of a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use go_text::push_float;
use invoke_core::trace::TraceContext;

use super::exemplars::Exemplars;
use super::family::{Distribution, Value};

/// Only goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The count; `None` as long as nothing was counted, so that nothing is shown.
    pub(super) fn value(&self) -> Option<Value> {
        let count = self.0.load(Ordering::Relaxed);
        (count > 0).then_some(Value::Number(count as f64))
    }
}

/// The bounds of a family of histograms, shared by all its series.
#[derive(Clone, Debug)]
pub struct Buckets {
    bounds: Arc<Bounds>,
    has_exemplars: bool,
}

#[derive(Debug)]
struct Bounds {
    /// In the unit in which values are kept.
    bounds: Box<[u64]>,
    shown: Arc<[Box<str>]>,
    /// How many of that unit make one of the unit that is shown.
    scale: f64,
}

/// Bounds of latencies in milliseconds, as Dapr has them by default.
pub(super) const LATENCIES: [u64; 34] = [
    1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200, 250, 300, 400, 500, 650,
    800, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000,
];

const SIZES: [u64; 13] = [
    1 << 10,
    2 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
    256 << 20,
    1 << 30,
    4 << 30,
];

/// Latencies are kept in microseconds and shown in milliseconds.
const MICROS: u64 = 1000;

impl Buckets {
    /// For latencies, with bounds in milliseconds.
    pub fn latencies(milliseconds: impl IntoIterator<Item = u64>) -> Self {
        Self::new(milliseconds, MICROS)
    }

    /// For numbers of bytes.
    pub fn sizes() -> Self {
        Self::new(SIZES, 1)
    }

    fn new(bounds: impl IntoIterator<Item = u64>, scale: u64) -> Self {
        let mut bounds: Vec<u64> = bounds.into_iter().filter(|bound| *bound > 0).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let shown = bounds.iter().map(|bound| {
            let mut text = String::new();
            push_float(&mut text, *bound as f64);
            text.into_boxed_str()
        });
        Self {
            bounds: Arc::new(Bounds {
                shown: shown.collect(),
                bounds: bounds.iter().map(|bound| bound.saturating_mul(scale)).collect(),
                scale: scale as f64,
            }),
            has_exemplars: false,
        }
    }

    /// Whether histograms keep exemplars. They do not unless this says so.
    #[must_use]
    pub fn with_exemplars(self, has_exemplars: bool) -> Self {
        Self {
            has_exemplars,
            ..self
        }
    }

    /// An empty histogram.
    pub fn histogram(&self) -> Histogram {
        Histogram {
            counts: (0..=self.bounds.bounds.len())
                .map(|_| AtomicU64::new(0))
                .collect(),
            bounds: Arc::clone(&self.bounds),
            sum: AtomicU64::new(0),
            exemplars: self.has_exemplars.then(Exemplars::default),
        }
    }
}

/// How values are distributed among buckets. A value that equals a bound is below it.
#[derive(Debug)]
pub struct Histogram {
    bounds: Arc<Bounds>,
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// Where they are kept.
    exemplars: Option<Exemplars>,
}

impl Histogram {
    /// Takes a latency in.
    pub fn observe(&self, latency: Duration) {
        self.observe_in(latency, None);
    }

    /// Takes the latency of a call in, which belongs to this span if its trace is recorded.
    pub fn observe_in(&self, latency: Duration, span: Option<&TraceContext>) {
        let value = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.add(value);
        if let (Some(span), Some(exemplars)) = (span, &self.exemplars) {
            exemplars.keep(bucket, value as f64 / self.bounds.scale, span);
        }
    }

    /// Takes a number of bytes in.
    pub fn observe_bytes(&self, bytes: u64) {
        self.add(bytes);
    }

    /// The bucket into which it falls.
    fn add(&self, value: u64) -> usize {
        let bucket = self.bounds.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        bucket
    }

    /// How many values there were; `None` for none.
    pub(super) fn count(&self) -> Option<Value> {
        let count: u64 = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum();
        (count > 0).then_some(Value::Number(count as f64))
    }

    /// The distribution; `None` as long as there was no value.
    pub(super) fn value(&self) -> Option<Value> {
        let counts: Vec<u64> = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        if counts.iter().all(|count| *count == 0) {
            return None;
        }
        Some(Value::Distribution(Distribution {
            bounds: Arc::clone(&self.bounds.shown),
            counts,
            sum: self.sum.load(Ordering::Relaxed) as f64 / self.bounds.scale,
            exemplars: self.exemplars.as_ref().map(Exemplars::all).unwrap_or_default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_their_buckets() {
        let histogram = Buckets::latencies([5, 0, 2, 5]).histogram();
        assert_eq!(histogram.value(), None);
        for micros in [0, 2000, 2001, 5000, 7500] {
            histogram.observe(Duration::from_micros(micros));
        }
        let wanted = Distribution {
            bounds: ["2".into(), "5".into()].into(),
            counts: vec![2, 2, 1],
            sum: 16.501,
            exemplars: Vec::new(),
        };
        assert_eq!(histogram.value(), Some(Value::Distribution(wanted)));
        assert_eq!(histogram.count(), Some(Value::Number(5.0)));
    }

    #[test]
    fn exemplars_are_kept_where_they_are_wanted() {
        let span = TraceContext {
            trace_id: [1; 16],
            span_id: [2; 8],
            flags: 1,
        };
        for (is_wanted, span, wanted) in [
            (false, Some(&span), None),
            (true, None, None),
            (true, Some(&span), Some((2, 7.5, [1; 16], [2; 8]))),
        ] {
            let histogram = Buckets::latencies([2, 5]).with_exemplars(is_wanted).histogram();
            histogram.observe_in(Duration::from_micros(7500), span);
            histogram.observe(Duration::from_millis(9));
            let Some(Value::Distribution(shown)) = histogram.value() else {
                panic!("nothing is shown");
            };
            assert_eq!(shown.counts, [0, 0, 2]);
            let found = shown.exemplars.first();
            let found = found.map(|found| (found.bucket, found.value, found.trace_id, found.span_id));
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn sizes_are_written_as_go_writes_them() {
        let Some(Value::Distribution(shown)) = ({
            let histogram = Buckets::sizes().histogram();
            histogram.observe_bytes(1024);
            histogram.value()
        }) else {
            panic!("nothing is shown");
        };
        assert_eq!(&*shown.bounds[0], "1024");
        assert_eq!(&*shown.bounds[12], "4.294967296e+09");
        assert_eq!(shown.counts[0], 1);
        assert!((shown.sum - 1024.0).abs() < f64::EPSILON);
    }
}
