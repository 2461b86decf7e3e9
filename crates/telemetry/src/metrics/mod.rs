//! The metrics: families that are gathered when somebody asks.

mod access;
mod process;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

pub use access::{AccessCounters, Decided};

/// The kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
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
    /// Labels (already written, without braces) and value; empty when there is nothing to show.
    pub samples: Vec<(String, f64)>,
}

/// Something that has families to show.
pub type Source = Box<dyn Fn() -> Vec<Family> + Send + Sync>;

/// The registry behind the metrics port. Cloning shares it.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Vec<Source>>>);

impl Metrics {
    /// A registry with what the process itself has to show.
    pub fn new() -> Self {
        let metrics = Self::default();
        metrics.register(Box::new(process::families));
        metrics
    }

    /// Adds a source.
    pub fn register(&self, source: Source) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// The text exposition, version 0.0.4. Reads `/proc`: not for a worker thread.
    pub fn expose(&self) -> String {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families: Vec<Family> = sources.iter().flat_map(|source| source()).collect();
        drop(sources);
        families.sort_by_key(|family| family.name);
        let mut text = String::with_capacity(2048);
        for family in families.iter().filter(|family| !family.samples.is_empty()) {
            let _ = writeln!(text, "# HELP {} {}", family.name, family.help);
            let _ = writeln!(text, "# TYPE {} {}", family.name, family.kind.name());
            for (labels, value) in &family.samples {
                let braces = if labels.is_empty() {
                    String::new()
                } else {
                    format!("{{{labels}}}")
                };
                let _ = writeln!(text, "{}{braces} {}", family.name, number(*value));
            }
        }
        text
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// A label as the text exposition writes it.
fn label(name: &str, value: &str) -> String {
    let mut text = format!("{name}=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// The shortest decimal that reads as the same number, with an exponent where Go writes one.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-4..1e21).contains(&magnitude) && magnitude < 1e6 {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (value, wanted) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (0.000_01, "1e-05"),
            (-2.0, "-2"),
        ] {
            assert_eq!(number(value), wanted);
        }
    }

    #[test]
    fn the_exposition() {
        let metrics = Metrics::default();
        metrics.register(Box::new(|| {
            vec![
                Family {
                    name: "b",
                    help: "B.",
                    kind: Kind::Gauge,
                    samples: vec![("x=\"\"".into(), 2.0)],
                },
                Family {
                    name: "a",
                    help: "A.",
                    kind: Kind::Counter,
                    samples: vec![(String::new(), 1.0)],
                },
                Family {
                    name: "none",
                    help: "",
                    kind: Kind::Gauge,
                    samples: vec![],
                },
            ]
        }));
        assert_eq!(
            metrics.expose(),
            "# HELP a A.\n# TYPE a counter\na 1\n# HELP b B.\n# TYPE b gauge\nb{x=\"\"} 2\n"
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
