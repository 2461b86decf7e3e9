//! The text exposition of Prometheus, version 0.0.4, as its Go client writes it
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write as _;

use go_text::push_float;

use super::family::{Distribution, Family, Sample, Value};

/// Families as a text.
pub(super) struct Exposition(String);

impl Exposition {
    /// In the order in which they come.
    pub(super) fn of(families: &[Family]) -> Self {
        let mut text = Self(String::with_capacity(16 * 1024));
        for family in families {
            text.family(family);
        }
        text
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, family: &Family) {
        if family.samples.is_empty() {
            return;
        }
        let name = family.name;
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP {name} {help}");
        let _ = writeln!(self.0, "# TYPE {name} {}", family.kind.name());
        for Sample { labels, value, .. } in &family.samples {
            match value {
                Value::Number(value) => put_line(&mut self.0, name, "", labels, *value),
                Value::Distribution(distribution) => self.distribution(name, labels, distribution),
            }
        }
    }

    fn distribution(&mut self, name: &str, labels: &str, distribution: &Distribution) {
        let bounds = distribution.bounds.iter().map(|bound| &**bound);
        let mut count = 0;
        for (bound, more) in bounds.chain([INFINITE]).zip(&distribution.counts) {
            count += more;
            put_bucket(&mut self.0, name, labels, bound, count);
            self.0.push('\n');
        }
        put_line(&mut self.0, name, "_sum", labels, distribution.sum);
        put_line(&mut self.0, name, "_count", labels, count as f64);
    }
}

/// Writes a label with its value.
pub(crate) fn label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
}

/// The bound of the last bucket.
pub(super) const INFINITE: &str = "+Inf";

/// A line with one number.
pub(super) fn put_line(text: &mut String, name: &str, suffix: &str, labels: &str, value: f64) {
    text.push_str(name);
    text.push_str(suffix);
    if !labels.is_empty() {
        text.push('{');
        text.push_str(labels);
        text.push('}');
    }
    text.push(' ');
    push_float(text, value);
    text.push('\n');
}

/// The line of a bucket, without its end.
pub(super) fn put_bucket(text: &mut String, name: &str, labels: &str, bound: &str, count: u64) {
    text.push_str(name);
    text.push_str("_bucket{");
    text.push_str(labels);
    if !labels.is_empty() {
        text.push(',');
    }
    text.push_str("le=\"");
    text.push_str(bound);
    text.push_str("\"} ");
    push_float(text, count as f64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Kind;
    use crate::metrics::family::merged;

    #[test]
    fn labels() {
        let mut text = String::new();
        label(&mut text, "a", "x\\\"\ny");
        label(&mut text, "b", "");
        assert_eq!(text, r#"a="x\\\"\ny",b="""#);
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let distribution = |counts: [u64; 3], sum| {
            Value::Distribution(Distribution {
                bounds: ["1".into(), "2.5".into()].into(),
                counts: counts.into(),
                sum,
                exemplars: Vec::new(),
            })
        };
        let sample = |labels: &str, value| Sample::new(labels, value);
        let family = Family {
            name: "h",
            help: "H.",
            kind: Kind::Histogram,
            samples: vec![
                sample("a=\"b\"", distribution([1, 0, 2], 9.5)),
                sample("", distribution([0, 1, 0], 2.0)),
                sample("a=\"b\"", distribution([0, 1, 0], 1.5)),
            ],
        };
        assert_eq!(
            Exposition::of(&merged(vec![family])).into_text(),
            "# HELP h H.\n# TYPE h histogram\n\
             h_bucket{le=\"1\"} 0\nh_bucket{le=\"2.5\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n\
             h_bucket{a=\"b\",le=\"1\"} 1\nh_bucket{a=\"b\",le=\"2.5\"} 2\nh_bucket{a=\"b\",le=\"+Inf\"} 4\n\
             h_sum{a=\"b\"} 11\nh_count{a=\"b\"} 4\n"
        );
    }
}
