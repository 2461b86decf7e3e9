//! Families in the messages of OTLP (<https://opentelemetry.io/docs/specs/otel/metrics/data-model/>).

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dapr_proto::otlp::metrics::{
    AggregationTemporality, ExportMetricsServiceRequest, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use dapr_proto::otlp::{InstrumentationScope, KeyValue};
use prost::Message;

use crate::metrics::{Family, Kind, Sample, Value};
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
        attributes: attributes(&sample.labels),
    })
}

/// Labels as the exposition writes them, taken apart again.
fn attributes(labels: &str) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    let mut rest = labels;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (mut value, mut end) = (String::new(), after.len());
        let mut characters = after.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped)) => value.push(escaped),
                    None => {}
                },
                other => value.push(other),
            }
        }
        attributes.push(attribute(name.trim_start_matches(','), &value));
        rest = &after[end..];
    }
    attributes
}

#[cfg(test)]
mod tests {
    use dapr_proto::otlp::any_value;

    use super::*;
    use crate::metrics::{Distribution, label};

    #[test]
    fn labels_are_taken_apart() {
        let pairs = [("a", "x\\\"\ny,b=\"z\""), ("b", ""), ("c", "ü=")];
        let mut text = String::new();
        for (name, value) in pairs {
            label(&mut text, name, value);
        }
        let found = attributes(&text);
        let found: Vec<(String, String)> = found
            .into_iter()
            .map(|pair| match pair.value.and_then(|value| value.value) {
                Some(any_value::Value::StringValue(value)) => (pair.key, value),
                other => panic!("{other:?}"),
            })
            .collect();
        let wanted = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, wanted);
        assert!(attributes("").is_empty());
        for odd in ["a", "a=", "a=\"", "a=\"\\", "a=\"b"] {
            attributes(odd);
        }
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
