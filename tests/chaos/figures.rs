//! What callers saw over time, as JSON: from it pictures are drawn.

use std::time::Duration;

use serde_json::{Value, json};

use crate::calls::Made;
use crate::options::Options;
use crate::report::{Report, quantile};
use crate::scene::Scene;

/// What is shown as one point of a line. Too short a slice has too few calls for a slowest hundredth.
pub(crate) const SLICE: Duration = Duration::from_millis(250);

/// What was played, and how.
pub(crate) fn of_run(options: &Options, scenes: Vec<Value>) -> Value {
    json!({
        "calls_per_second": options.rate,
        "seconds": options.length.as_secs_f64(),
        "has_retries": options.has_retries,
        "timeout_ms": options.timeout,
        "seed": options.seed,
        "scenes": scenes,
    })
}

/// A scene with one binary. Calls count for the slice in which they began.
pub(crate) fn of_scene(scene: Scene, binary: &str, report: &Report, length: Duration) -> Value {
    let slices = length.as_millis().div_ceil(SLICE.as_millis());
    let of_slice = |slice: u128| {
        let of_it = report.made.iter();
        let of_it: Vec<&Made> = of_it
            .filter(|made| made.at.as_millis() / SLICE.as_millis() == slice)
            .collect();
        let failed = of_it.iter().filter(|made| made.failure.is_some()).count();
        let took = |share| quantile(&of_it, share).as_secs_f64() * 1000.0;
        json!({
            "answered": of_it.len() - failed,
            "failed": failed,
            "p50_ms": round(took(0.5)),
            "p99_ms": round(took(0.99)),
        })
    };
    json!({
        "scene": scene.name(),
        "binary": binary,
        "trouble_s": report.trouble.as_secs_f64(),
        "relief_s": report.relief.map(|relief| relief.as_secs_f64()),
        "slice_s": SLICE.as_secs_f64(),
        "slices": (0..slices).map(of_slice).collect::<Vec<_>>(),
    })
}

/// Nobody sees more than a hundredth of a millisecond.
fn round(millis: f64) -> f64 {
    (millis * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_count_where_they_began() {
        let millis = Duration::from_millis;
        let made = |at, took, failure: Option<&str>| Made {
            at: millis(at),
            took: millis(took),
            failure: failure.map(str::to_owned),
        };
        let calls = vec![made(600, 3, None), made(0, 700, Some("500")), made(249, 2, None)];
        let report = Report::of(calls, millis(250), Some(millis(500)));
        let value = of_scene(Scene::AppKilled, "it", &report, millis(800));
        assert_eq!(value["trouble_s"], 0.25);
        assert_eq!(value["relief_s"], 0.5);
        let nothing = json!({"answered": 0, "failed": 0, "p50_ms": 0.0, "p99_ms": 0.0});
        let one = json!({"answered": 1, "failed": 0, "p50_ms": 3.0, "p99_ms": 3.0});
        let both = json!({"answered": 1, "failed": 1, "p50_ms": 700.0, "p99_ms": 700.0});
        assert_eq!(value["slices"], json!([both, nothing, one, nothing]));
    }
}
