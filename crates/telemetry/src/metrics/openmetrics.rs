//! The text exposition of `OpenMetrics`, version 1.0.0, which has room for exemplars
//! (<https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>).
//!
//! A series is the same in both texts, so that dashboards and alerts do not care which one is scraped. Only the bounds of
//! buckets are written as `OpenMetrics` wants numbers in labels: `1.0`, where the other text has `1`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use go_text::push_float;

use super::exemplars::Exemplar;
use super::family::{Distribution, Family, Kind, Sample, Value};
use super::text::{INFINITE, put_bucket, put_line};

/// What the names of counters end with.
const TOTAL: &str = "_total";

/// Families in the order in which they come.
pub(super) fn exposition(families: &[Family]) -> String {
    let mut text = String::with_capacity(16 * 1024);
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        put_family(&mut text, family);
    }
    text.push_str("# EOF\n");
    text
}

/// The name and the type of a family. A counter has its name without `_total`, which its samples add again. One of Dapr
/// whose name does not end so can be no counter here, since its samples would get another name: it has no known type.
fn named(family: &Family) -> (&str, &'static str) {
    match (family.kind, family.name.strip_suffix(TOTAL)) {
        (Kind::Counter, Some(name)) => (name, "counter"),
        (Kind::Counter, None) => (family.name, "unknown"),
        (kind, _) => (family.name, kind.name()),
    }
}

fn put_family(text: &mut String, family: &Family) {
    let (name, kind) = named(family);
    let help = family.help.replace('\\', "\\\\");
    let help = help.replace('\n', "\\n").replace('"', "\\\"");
    let _ = writeln!(text, "# HELP {name} {help}");
    let _ = writeln!(text, "# TYPE {name} {kind}");
    for Sample { labels, value, .. } in &family.samples {
        match value {
            Value::Number(value) => put_line(text, family.name, "", labels, *value),
            Value::Distribution(distribution) => put_distribution(text, name, labels, distribution),
        }
    }
}

fn put_distribution(text: &mut String, name: &str, labels: &str, distribution: &Distribution) {
    let mut exemplars = distribution.exemplars.iter().peekable();
    let mut count = 0;
    for (bucket, more) in distribution.counts.iter().enumerate() {
        count += more;
        let bound = distribution.bounds.get(bucket);
        let bound = bound.map_or(Cow::Borrowed(INFINITE), |bound| with_point(bound));
        put_bucket(text, name, labels, &bound, count);
        if let Some(exemplar) = exemplars.next_if(|exemplar| exemplar.bucket == bucket) {
            put_exemplar(text, exemplar);
        }
        text.push('\n');
    }
    put_line(text, name, "_sum", labels, distribution.sum);
    put_line(text, name, "_count", labels, count as f64);
}

/// A number that is whole has a point, unless it has an exponent.
fn with_point(bound: &str) -> Cow<'_, str> {
    if bound.contains(['.', 'e']) {
        Cow::Borrowed(bound)
    } else {
        Cow::Owned(format!("{bound}.0"))
    }
}

/// Labels, value and time. The names and the values of the labels have 63 characters together, of 128 that are allowed.
fn put_exemplar(text: &mut String, exemplar: &Exemplar) {
    text.push_str(" # {trace_id=\"");
    put_hex(text, &exemplar.trace_id);
    text.push_str("\",span_id=\"");
    put_hex(text, &exemplar.span_id);
    text.push_str("\"} ");
    push_float(text, exemplar.value);
    let since = since_epoch(exemplar.at);
    let _ = write!(text, " {}.{:03}", since.as_secs(), since.subsec_millis());
}

/// A clock that stands before 1970 says 1970.
fn since_epoch(time: SystemTime) -> std::time::Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Bytes as hexadecimal digits.
pub(super) fn put_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn family(name: &'static str, kind: Kind, samples: Vec<Sample>) -> Family {
        Family {
            name,
            help: "A \"b\" \\ c\nd.",
            kind,
            samples,
        }
    }

    #[test]
    fn types_follow_names_and_no_sample_has_another_name() {
        for (name, kind, wanted) in [
            ("a_total", Kind::Counter, ["a counter", "a_total"]),
            ("a_count", Kind::Counter, ["a_count unknown", "a_count"]),
            ("_total", Kind::Counter, [" counter", "_total"]),
            ("a_total", Kind::Gauge, ["a_total gauge", "a_total"]),
            ("a", Kind::Gauge, ["a gauge", "a"]),
        ] {
            let samples = vec![Sample::number("", 1.0), Sample::number("l=\"\"", 1_000_000.0)];
            let [kind_line, name_of_sample] = wanted;
            let name_of_family = kind_line.split(' ').next().unwrap();
            assert_eq!(
                exposition(&[family(name, kind, samples)]),
                format!(
                    "# HELP {name_of_family} A \\\"b\\\" \\\\ c\\nd.\n# TYPE {kind_line}\n{name_of_sample} 1\n\
                     {name_of_sample}{{l=\"\"}} 1e+06\n# EOF\n"
                )
            );
        }
    }

    #[test]
    fn nothing_is_a_whole_exposition() {
        assert_eq!(exposition(&[family("a", Kind::Gauge, vec![])]), "# EOF\n");
    }

    #[test]
    fn a_histogram_has_exemplars() {
        let exemplar = |bucket, value, at: Option<Duration>| Exemplar {
            bucket,
            trace_id: [0xab; 16],
            span_id: [1; 8],
            value,
            at: at.map_or(UNIX_EPOCH - Duration::from_secs(1), |at| UNIX_EPOCH + at),
        };
        let distribution = Distribution {
            bounds: ["1".into(), "2.5".into(), "1e+06".into()].into(),
            counts: vec![1, 0, 2, 1],
            sum: 9.5,
            exemplars: vec![
                exemplar(0, 0.25, None),
                exemplar(3, 2_000_000.0, Some(Duration::from_millis(1_520_879_607_007))),
            ],
        };
        let samples = vec![Sample::new("a=\"x\\\"y\"", Value::Distribution(distribution))];
        let text = exposition(&[family("h", Kind::Histogram, samples)]);
        let ids = "# {trace_id=\"abababababababababababababababab\",span_id=\"0101010101010101\"}";
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "# TYPE h histogram",
                &format!(r#"h_bucket{{a="x\"y",le="1.0"}} 1 {ids} 0.25 0.000"#),
                r#"h_bucket{a="x\"y",le="2.5"} 1"#,
                r#"h_bucket{a="x\"y",le="1e+06"} 3"#,
                &format!(r#"h_bucket{{a="x\"y",le="+Inf"}} 4 {ids} 2e+06 1520879607.007"#),
                r#"h_sum{a="x\"y"} 9.5"#,
                r#"h_count{a="x\"y"} 4"#,
                "# EOF",
            ]
        );
    }
}
