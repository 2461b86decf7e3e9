//! Families in the messages of OTLP (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/>).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dapr_proto::otlp::metrics::{
    AggregationTemporality, Exemplar, ExportMetricsServiceRequest, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric::Data, number_data_point,
};
use dapr_proto::otlp::{InstrumentationScope, KeyValue};
use prost::Message;

use crate::metrics::{self, Family, Kind, Sample, Value, pairs};
use crate::traces::{Resource, attribute};

/// So many series go out in one message: collectors take 4 MiB at once.
const MOST_POINTS: usize = 1000;
const SCOPE: &str = "daprd";
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// When counting began unless a sample says otherwise, and when it was looked at, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) now: u64,
}

impl Span {
    /// When the counter of a sample began. It is never after the look: a clock may have been set back in between.
    fn start_of(self, sample: &Sample) -> u64 {
        sample
            .began
            .map_or(self.start, |began| nanos(began).min(self.now))
    }
}

pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The messages that give families to a collector.
pub(super) fn messages(resource: &Resource, families: &[Family], span: Span) -> Vec<Bytes> {
    let mut messages = Vec::new();
    let (mut metrics, mut points) = (Vec::new(), 0);
    for family in families {
        let mut rest = &family.samples[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(MOST_POINTS - points));
            metrics.push(metric(family, now, span));
            points += now.len();
            rest = later;
            if points == MOST_POINTS {
                messages.push(message(resource, std::mem::take(&mut metrics)));
                points = 0;
            }
        }
    }
    if !metrics.is_empty() {
        messages.push(message(resource, metrics));
    }
    messages
}

fn message(resource: &Resource, metrics: Vec<Metric>) -> Bytes {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.message()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: SCOPE.to_owned(),
                    version: String::new(),
                }),
                metrics,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    };
    request.encode_to_vec().into()
}

fn metric(family: &Family, samples: &[Sample], span: Span) -> Metric {
    let numbers = || samples.iter().filter_map(|sample| number(sample, span)).collect();
    let data = match family.kind {
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: numbers(),
        }),
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: samples
                .iter()
                .filter_map(|sample| distribution(sample, span))
                .collect(),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: String::new(),
        data: Some(data),
    }
}

fn number(sample: &Sample, span: Span) -> Option<NumberDataPoint> {
    let Value::Number(value) = sample.value else {
        return None;
    };
    Some(NumberDataPoint {
        start_time_unix_nano: span.start_of(sample),
        time_unix_nano: span.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        attributes: attributes(&sample.labels),
    })
}

fn distribution(sample: &Sample, span: Span) -> Option<HistogramDataPoint> {
    let Value::Distribution(distribution) = &sample.value else {
        return None;
    };
    Some(HistogramDataPoint {
        start_time_unix_nano: span.start_of(sample),
        time_unix_nano: span.now,
        count: distribution.counts.iter().sum(),
        sum: Some(distribution.sum),
        bucket_counts: distribution.counts.clone(),
        explicit_bounds: distribution
            .bounds
            .iter()
            .filter_map(|bound| bound.parse().ok())
            .collect(),
        exemplars: distribution
            .exemplars
            .iter()
            .map(|of| exemplar(of, span))
            .collect(),
        attributes: attributes(&sample.labels),
    })
}

/// Labels as the exposition writes them, as attributes.
fn attributes(labels: &str) -> Vec<KeyValue> {
    pairs(labels)
        .map(|(name, value)| attribute(name, &value))
        .collect()
}

/// A span to look at. Like the values that are shown it is not later than the look.
fn exemplar(of: &metrics::Exemplar, span: Span) -> Exemplar {
    Exemplar {
        time_unix_nano: nanos(of.at).min(span.now),
        span_id: Bytes::copy_from_slice(&of.span_id),
        trace_id: Bytes::copy_from_slice(&of.trace_id),
        value: Some(exemplar::Value::AsDouble(of.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Distribution;

    #[test]
    fn labels_are_attributes() {
        let mut found = attributes("a=\"x\\ny\",b=\"\"")
            .into_iter()
            .map(|pair| (pair.key, pair.value));
        for (name, value) in [("a", "x\ny"), ("b", "")] {
            let wanted = attribute(name, value);
            assert_eq!(found.next(), Some((wanted.key, wanted.value)));
        }
        assert_eq!(found.next(), None);
    }

    fn family(kind: Kind, samples: Vec<Sample>) -> Family {
        Family {
            name: "n",
            help: "h",
            kind,
            samples,
        }
    }

    fn decoded(families: &[Family]) -> Vec<Vec<Metric>> {
        let resource = Resource::new(&[("service.name".to_owned(), "a".to_owned())]);
        let span = Span { start: 1, now: 2 };
        let messages = messages(&resource, families, span).into_iter();
        let requests = messages.map(|message| ExportMetricsServiceRequest::decode(message).unwrap());
        requests
            .map(|mut request| request.resource_metrics.remove(0).scope_metrics.remove(0).metrics)
            .collect()
    }

    #[test]
    fn families_of_all_kinds() {
        let distribution = Value::Distribution(Distribution {
            bounds: ["1".into(), "1e+06".into()].into(),
            counts: vec![2, 0, 3],
            sum: 7.5,
            exemplars: vec![metrics::Exemplar {
                bucket: 2,
                trace_id: [7; 16],
                span_id: [9; 8],
                value: 2e6,
                at: UNIX_EPOCH + std::time::Duration::from_nanos(5),
            }],
        });
        let metrics = decoded(&[
            family(Kind::Gauge, vec![Sample::number("", 2.0)]),
            family(Kind::Counter, vec![Sample::number("a=\"b\"", 3.0)]),
            family(Kind::Histogram, vec![Sample::new("a=\"b\"", distribution)]),
            family(Kind::Gauge, vec![]),
        ])
        .remove(0);
        let [
            Some(Data::Gauge(gauge)),
            Some(Data::Sum(sum)),
            Some(Data::Histogram(histogram)),
        ] = [0, 1, 2].map(|at: usize| metrics[at].data.clone())
        else {
            panic!("{metrics:?}");
        };
        assert_eq!(metrics.len(), 3, "a family without samples says nothing");
        assert_eq!(
            gauge.data_points[0].value,
            Some(number_data_point::Value::AsDouble(2.0))
        );
        assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
        assert_eq!(sum.data_points[0].attributes[0].key, "a");
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (5, Some(7.5)));
        assert_eq!(point.bucket_counts, [2, 0, 3]);
        assert_eq!(point.explicit_bounds, [1.0, 1e6]);
        let exemplar = &point.exemplars[0];
        assert_eq!(
            (&*exemplar.trace_id, &*exemplar.span_id),
            (&[7; 16][..], &[9; 8][..])
        );
        assert_eq!(exemplar.time_unix_nano, 2, "not after the look");
        assert_eq!(exemplar.value, Some(exemplar::Value::AsDouble(2e6)));
    }

    #[test]
    fn a_counter_that_began_later_says_when() {
        let at = |nanos| Some(UNIX_EPOCH + std::time::Duration::from_nanos(nanos));
        let starts = |sample: Sample, now| -> Vec<u64> {
            let span = Span { start: 100, now };
            let metric = metric(&family(Kind::Counter, vec![]), &[sample], span);
            match metric.data {
                Some(Data::Sum(sum)) => sum
                    .data_points
                    .iter()
                    .map(|point| point.start_time_unix_nano)
                    .collect(),
                other => panic!("{other:?}"),
            }
        };
        let sample = |began| Sample {
            began,
            ..Sample::number("", 1.0)
        };
        for (began, now, wanted) in [(None, 900, 100), (at(300), 900, 300), (at(300), 200, 200)] {
            assert_eq!(starts(sample(began), now), [wanted], "{began:?}");
        }
        let both = vec![sample(at(300)), sample(at(400))];
        let both = family(Kind::Counter, both).since(at(350).unwrap());
        let began: Vec<_> = both.samples.iter().map(|sample| sample.began).collect();
        assert_eq!(began, [at(350), at(400)]);
    }

    #[test]
    fn a_message_has_a_bound() {
        let samples = (0..2500).map(|number| Sample::number(format!("a=\"{number}\""), 1.0));
        let families = [
            family(Kind::Gauge, vec![Sample::number("", 2.0)]),
            family(Kind::Counter, samples.collect()),
        ];
        let points: Vec<usize> = decoded(&families)
            .iter()
            .map(|metrics| {
                let of = |metric: &Metric| match &metric.data {
                    Some(Data::Sum(sum)) => sum.data_points.len(),
                    _ => 1,
                };
                metrics.iter().map(of).sum()
            })
            .collect();
        assert_eq!(points, [1000, 1000, 501]);
    }
}
