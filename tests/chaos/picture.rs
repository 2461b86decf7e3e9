//! A picture for each scene: what callers got, and how long they waited for it, with a row for each binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pictures::{BLUE, Line, MARGIN, Panel, SKY, Scale, VERMILION, document, escaped};
use serde_json::Value;

const WIDTH: f64 = 760.0;
const COLUMN: f64 = (WIDTH - 2.0 * MARGIN) / 2.0;
const HEAD: f64 = 40.0;
const HEIGHT: f64 = 130.0;
const ROW: f64 = HEIGHT + 18.0;
const FOOT: f64 = 34.0;

const ANSWERED: &str = SKY;
const FAILED: &str = VERMILION;
const MEDIAN: &str = SKY;
const SLOWEST: &str = BLUE;

/// Draws the scenes of a file, each into a file of its own in that folder. Gives back which.
pub(crate) fn draw(figures: &Path, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let says = |file: &Path, error: String| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(figures).map_err(|error| says(figures, error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| says(figures, error.to_string()))?;
    let mut names: Vec<&str> = Vec::new();
    for scene in scenes(&value) {
        let name = scene["scene"].as_str().unwrap_or_default();
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase());
        if is_name && !names.contains(&name) {
            names.push(name);
        }
    }
    let mut drawn = Vec::new();
    for name in names {
        let file = folder.join(format!("chaos-{name}.svg"));
        std::fs::write(&file, svg(&value, name)).map_err(|error| says(&file, error.to_string()))?;
        drawn.push(file);
    }
    if drawn.is_empty() {
        return Err(says(figures, "there are no scenes in it".to_owned()));
    }
    Ok(drawn)
}

fn scenes(value: &Value) -> impl Iterator<Item = &Value> {
    value["scenes"].as_array().into_iter().flatten()
}

/// The picture of one scene.
fn svg(value: &Value, name: &str) -> String {
    let rate = value["calls_per_second"].as_f64().unwrap_or(1.0);
    let seconds = value["seconds"].as_f64().unwrap_or(1.0);
    let mut body = String::new();
    let mut rows = 0;
    for scene in scenes(value).filter(|scene| scene["scene"] == name) {
        let y = HEAD + f64::from(rows) * ROW;
        rows += 1;
        let _ = writeln!(
            body,
            "<text x=\"{MARGIN}\" y=\"{:.0}\" class=\"title\">{}</text>",
            y + 8.0,
            escaped(scene["binary"].as_str().unwrap_or_default())
        );
        let marks: Vec<f64> = ["trouble_s", "relief_s"]
            .iter()
            .filter_map(|mark| scene[mark].as_f64())
            .collect();
        let slice = scene["slice_s"].as_f64().unwrap_or(1.0);
        let slices: Vec<&Value> = scene["slices"].as_array().into_iter().flatten().collect();
        // A point stands in the middle of its slice; one without calls has no point of time.
        let line = |colour, key: &str, factor: f64| Line {
            colour,
            points: slices
                .iter()
                .enumerate()
                .filter(|(_, values)| {
                    values["answered"].as_u64() != Some(0) || values["failed"].as_u64() != Some(0)
                })
                .filter_map(|(at, values)| Some(((at as f64 + 0.5) * slice, values[key].as_f64()? * factor)))
                .collect(),
        };
        let panel = |what, scale, lines| Panel {
            what,
            scale,
            seconds,
            lines,
            marks: &marks,
        };
        let calls = vec![
            line(ANSWERED, "answered", 1.0 / slice),
            line(FAILED, "failed", 1.0 / slice),
        ];
        let latency = vec![line(MEDIAN, "p50_ms", 1.0), line(SLOWEST, "p99_ms", 1.0)];
        let size = (COLUMN, HEIGHT);
        panel("calls in a second", Scale::UpTo(rate * 1.2), calls).draw(&mut body, (MARGIN, y + 6.0), size);
        panel("milliseconds", Scale::Powers(1.0, 10_000.0), latency).draw(
            &mut body,
            (MARGIN + COLUMN, y + 6.0),
            size,
        );
    }
    let height = HEAD + f64::from(rows) * ROW + FOOT;
    let footer = "dashed: when it happened, and when it was over";
    let legend = [("answered, p50", ANSWERED), ("failed", FAILED), ("p99", SLOWEST)];
    document((WIDTH, height), &legend, &body, footer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_picture_for_each_scene_with_a_row_for_each_binary() {
        let slices = json!([
            {"answered": 25, "failed": 0, "p50_ms": 3.0, "p99_ms": 5.0},
            {"answered": 0, "failed": 0, "p50_ms": 0.0, "p99_ms": 0.0},
            {"answered": 20, "failed": 5, "p50_ms": 3.0, "p99_ms": 900.0},
        ]);
        let scene = |scene: &str, binary: &str| {
            json!({"scene": scene, "binary": binary, "trouble_s": 0.25, "relief_s": null, "slice_s": 0.25,
                   "slices": slices})
        };
        let value = json!({"calls_per_second": 100, "seconds": 0.75, "scenes": [
            scene("rolled", "daprd-rs"), scene("rolled", "a<b"), scene("app-slow", "daprd-rs"), scene("../x", "y"),
        ]});
        let folder = tempfile::tempdir().expect("a folder");
        let figures = folder.path().join("figures.json");
        std::fs::write(&figures, value.to_string()).expect("a file");
        let drawn = draw(&figures, folder.path()).expect("pictures");
        let names: Vec<_> = drawn
            .iter()
            .map(|file| file.file_name().expect("a name"))
            .collect();
        assert_eq!(names, ["chaos-rolled.svg", "chaos-app-slow.svg"]);
        let svg = std::fs::read_to_string(&drawn[0]).expect("a picture");
        assert!(svg.contains("a&lt;b"));
        assert_eq!(svg.matches("polyline").count(), 8);
        assert_eq!(
            svg.matches("stroke-dasharray").count(),
            4,
            "what never ended has one mark"
        );
        std::fs::write(&figures, "{}").expect("a file");
        assert!(draw(&figures, folder.path()).is_err());
    }
}
