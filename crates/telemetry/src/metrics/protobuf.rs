//! The protobuf exposition of Prometheus: a message for each family, each behind its length
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Scrapers that want histograms of the kind *native* ask for it before they ask for a text. What it says is what the text
//! says, and exemplars where there are some.

use std::time::UNIX_EPOCH;

use dapr_proto::prometheus::{
    Bucket, Counter, Exemplar, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Timestamp,
};
use prost::Message;

use super::exemplars;
use super::family::{Distribution, Family, Kind, Sample, Value};
use super::openmetrics::put_hex;
use super::pairs::pairs;

/// Families in the order in which they come.
pub(super) fn exposition(families: &[Family]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        // One family at a time is held as messages: they take several times the room of the text. Writing to memory cannot
        // fail.
        let _ = message(family).encode_length_delimited(&mut bytes);
    }
    bytes
}

fn message(family: &Family) -> MetricFamily {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    MetricFamily {
        name: Some(family.name.to_owned()),
        help: Some(family.help.to_owned()),
        r#type: Some(kind.into()),
        metric: family
            .samples
            .iter()
            .map(|sample| metric(family.kind, sample))
            .collect(),
    }
}

fn metric(kind: Kind, sample: &Sample) -> Metric {
    let mut metric = Metric {
        label: pairs(&sample.labels)
            .map(|(name, value)| pair(name, value))
            .collect(),
        ..Metric::default()
    };
    match (&sample.value, kind) {
        (Value::Distribution(distribution), _) => metric.histogram = Some(histogram(distribution)),
        (Value::Number(value), Kind::Gauge) => metric.gauge = Some(Gauge { value: Some(*value) }),
        (Value::Number(value), _) => metric.counter = Some(Counter { value: Some(*value) }),
    }
    metric
}

fn pair(name: &str, value: String) -> LabelPair {
    LabelPair {
        name: Some(name.to_owned()),
        value: Some(value),
    }
}

/// As with Go's client the bucket without a bound is there only if it has an exemplar: the number of all values says what
/// it has.
fn histogram(distribution: &Distribution) -> Histogram {
    let mut exemplars = distribution.exemplars.iter().peekable();
    let mut count = 0;
    let mut buckets = Vec::with_capacity(distribution.counts.len());
    for (bucket, more) in distribution.counts.iter().enumerate() {
        count += more;
        let exemplar = exemplars
            .next_if(|exemplar| exemplar.bucket == bucket)
            .map(exemplar);
        let bound = match distribution.bounds.get(bucket) {
            Some(bound) => bound.parse().unwrap_or(f64::NAN),
            None if exemplar.is_some() => f64::INFINITY,
            None => continue,
        };
        buckets.push(Bucket {
            cumulative_count: Some(count),
            upper_bound: Some(bound),
            exemplar,
        });
    }
    Histogram {
        sample_count: Some(count),
        sample_sum: Some(distribution.sum),
        bucket: buckets,
    }
}

fn exemplar(of: &exemplars::Exemplar) -> Exemplar {
    let id = |bytes: &[u8]| {
        let mut text = String::with_capacity(2 * bytes.len());
        put_hex(&mut text, bytes);
        text
    };
    let since = of.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Exemplar {
        label: vec![
            pair("trace_id", id(&of.trace_id)),
            pair("span_id", id(&of.span_id)),
        ],
        value: Some(of.value),
        timestamp: Some(Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The messages of an exposition.
    fn decoded(families: &[Family]) -> Vec<MetricFamily> {
        let bytes = exposition(families);
        let (mut rest, mut messages) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            messages.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
        }
        messages
    }

    fn family(name: &'static str, kind: Kind, samples: Vec<Sample>) -> Family {
        Family {
            name,
            help: "h",
            kind,
            samples,
        }
    }

    #[test]
    fn numbers_of_both_kinds() {
        let families = decoded(&[
            family("g", Kind::Gauge, vec![Sample::number("", 0.0)]),
            family("none", Kind::Gauge, vec![]),
            family(
                "c",
                Kind::Counter,
                vec![Sample::number("a=\"x\\\"y\",b=\"\"", 3.0)],
            ),
        ]);
        let shown: Vec<_> = families
            .iter()
            .map(|family| (family.name.as_deref(), family.help.as_deref(), family.r#type))
            .collect();
        // The type that has the number 0 is written, too.
        assert_eq!(
            shown,
            [(Some("g"), Some("h"), Some(1)), (Some("c"), Some("h"), Some(0))]
        );
        assert_eq!(families[0].metric[0].gauge, Some(Gauge { value: Some(0.0) }));
        let counter = &families[1].metric[0];
        assert_eq!(counter.counter, Some(Counter { value: Some(3.0) }));
        assert_eq!(
            counter.label,
            [pair("a", "x\"y".to_owned()), pair("b", String::new())]
        );
    }

    #[test]
    fn buckets_are_cumulative_and_have_exemplars() {
        let exemplar = |bucket| exemplars::Exemplar {
            bucket,
            trace_id: [0xab; 16],
            span_id: [1; 8],
            value: 1.5,
            at: UNIX_EPOCH + Duration::new(7, 9),
        };
        for (exemplars, wanted) in [
            (vec![], &[(1, 1.0, false), (1, 2e6, false)][..]),
            (vec![exemplar(1)], &[(1, 1.0, false), (1, 2e6, true)]),
            (
                vec![exemplar(0), exemplar(2)],
                &[(1, 1.0, true), (1, 2e6, false), (4, f64::INFINITY, true)],
            ),
        ] {
            let value = Value::Distribution(Distribution {
                bounds: ["1".into(), "2e+06".into()].into(),
                counts: vec![1, 0, 3],
                sum: 9.5,
                exemplars,
            });
            let families = decoded(&[family("h", Kind::Histogram, vec![Sample::new("", value)])]);
            let histogram = families[0].metric[0].histogram.clone().unwrap();
            assert_eq!(
                (histogram.sample_count, histogram.sample_sum),
                (Some(4), Some(9.5))
            );
            let buckets: Vec<_> = histogram
                .bucket
                .iter()
                .map(|bucket| {
                    let (count, bound) = (bucket.cumulative_count.unwrap(), bucket.upper_bound.unwrap());
                    (count, bound, bucket.exemplar.is_some())
                })
                .collect();
            assert_eq!(buckets, wanted);
            if let Some(shown) = histogram
                .bucket
                .iter()
                .find_map(|bucket| bucket.exemplar.as_ref())
            {
                let trace = pair("trace_id", "ab".repeat(16));
                assert_eq!(shown.label, [trace, pair("span_id", "01".repeat(8))]);
                assert_eq!(shown.timestamp, Some(Timestamp { seconds: 7, nanos: 9 }));
            }
        }
    }
}
