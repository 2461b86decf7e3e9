//! A picture of how figures change along the axes, as SVG.

use std::fmt::Write as _;

use pictures::{MARGIN, WIDTH, escaped};
use serde_json::Value;

use crate::curve::COST;
use crate::plot::{COLOURS, document};

/// One diagram: the axis, the figures of each chain (the second is dashed), what stands above it.
struct Panel {
    axis: &'static str,
    keys: &'static [&'static str],
    what: &'static str,
}

const LOADED: &[&str] = &["rss_loaded_mib_caller", "rss_loaded_mib_callee"];
const RESTING: &[&str] = &["rss_resting_mib_caller", "rss_resting_mib_callee"];

const fn panel(axis: &'static str, keys: &'static [&'static str], what: &'static str) -> Panel {
    Panel { axis, keys, what }
}

const PANELS: [Panel; 8] = [
    panel("scale-http", &[COST], "CPU per call and hop, µs"),
    panel("scale-grpc-proxy", &[COST], "CPU per call and hop, µs"),
    panel("scale-apps", &[COST], "CPU per call and hop, µs"),
    panel("scale-addresses", &[COST], "CPU per call and hop, µs"),
    panel("scale-policies", &[COST], "CPU per call and hop, µs"),
    panel(
        "scale-connections",
        RESTING,
        "resident memory, MiB (callee's dashed)",
    ),
    panel(
        "scale-http",
        LOADED,
        "peak of resident memory, MiB (callee's dashed)",
    ),
    panel(
        "scale-grpc-proxy",
        LOADED,
        "peak of resident memory, MiB (callee's dashed)",
    ),
];

const COLUMN: f64 = WIDTH / 2.0;
const HEIGHT: f64 = 170.0;
const HEAD: f64 = 40.0;
const FOOT: f64 = 40.0;
/// Room for the numbers of the vertical axis.
const NUMBERS: f64 = 36.0;
const LEGEND: f64 = 40.0;
/// Between two numbers of the horizontal axis.
const NARROW: f64 = 24.0;

/// A line of a diagram: where, the median, the least and the greatest.
struct Line<'a> {
    chain: &'a str,
    is_dashed: bool,
    points: Vec<[f64; 4]>,
}

/// The picture, if there are curves.
pub(crate) fn svg(value: &Value) -> Option<String> {
    let curves = value["curves"].as_array()?;
    let mut chains: Vec<&str> = Vec::new();
    for chain in curves.iter().flat_map(of_chains) {
        let name = chain["name"].as_str()?;
        if !chains.contains(&name) {
            chains.push(name);
        }
    }
    let mut body = String::new();
    let mut drawn = 0;
    for panel in &PANELS {
        let Some(curve) = curves.iter().find(|curve| curve["name"] == panel.axis) else {
            continue;
        };
        let lines = lines(curve, panel.keys);
        if lines.iter().all(|line| line.points.is_empty()) {
            continue;
        }
        let x = MARGIN + f64::from(drawn % 2) * COLUMN;
        let y = LEGEND + f64::from(drawn / 2) * (HEAD + HEIGHT + FOOT);
        draw(&mut body, panel, curve, &lines, &chains, (x, y));
        drawn += 1;
    }
    if drawn == 0 {
        return None;
    }
    let end = LEGEND + f64::from((drawn + 1) / 2) * (HEAD + HEIGHT + FOOT) + MARGIN;
    let options = &value["options"];
    let footer = format!(
        "{}; {} rounds of {} s, bodies of {} bytes; medians, strokes reach from the least to the greatest round; \
         grey is ±15 % of the cost of daprd-rs at the step of reference",
        value["machine"]["processor"].as_str().unwrap_or_default(),
        options["rounds"],
        options["seconds"],
        options["body"]
    );
    Some(document(&body, &chains, &footer, end))
}

fn of_chains(curve: &Value) -> impl Iterator<Item = &Value> {
    curve["chains"].as_array().into_iter().flatten()
}

fn lines<'a>(curve: &'a Value, keys: &[&str]) -> Vec<Line<'a>> {
    let of_chain = |chain: &'a Value| {
        keys.iter().enumerate().map(move |(at, key)| {
            let points = chain["figures"][key].as_array().into_iter().flatten();
            let point = |point: &Value| {
                let number = |name: &str| point[name].as_f64();
                Some([number("at")?, number("median")?, number("min")?, number("max")?])
            };
            Line {
                chain: chain["name"].as_str().unwrap_or_default(),
                is_dashed: at > 0,
                points: points.filter_map(point).collect(),
            }
        })
    };
    of_chains(curve).flat_map(of_chain).collect()
}

/// From what was measured to where it is drawn.
struct Scale {
    left: f64,
    bottom: f64,
    width: f64,
    steps: Vec<f64>,
    /// Costs are compared by ratio, so that their axis is logarithmic and their steps are even; memory is to grow
    /// with the number of what grows.
    is_of_cost: bool,
    least: f64,
    greatest: f64,
}

impl Scale {
    fn x(&self, step: f64) -> f64 {
        let part = if self.is_of_cost {
            let at = self.steps.iter().position(|known| (known - step).abs() < 0.5);
            at.unwrap_or(0) as f64 / (self.steps.len().max(2) - 1) as f64
        } else {
            step / self.steps.last().copied().unwrap_or(1.0).max(1.0)
        };
        self.left + part * self.width
    }

    fn y(&self, value: f64) -> f64 {
        let part = if self.is_of_cost {
            (value / self.least).ln() / (self.greatest / self.least).ln()
        } else {
            value / self.greatest
        };
        self.bottom - part.clamp(0.0, 1.0) * HEIGHT
    }

    /// Numbers for the vertical axis.
    fn marks(&self) -> Vec<f64> {
        if self.is_of_cost {
            let decades = [1.0, 10.0, 100.0, 1000.0].into_iter();
            let all = decades.flat_map(|decade| [1.0, 2.0, 3.0, 5.0, 7.0].map(|one| one * decade));
            return all
                .filter(|mark| (self.least..=self.greatest).contains(mark))
                .collect();
        }
        (0..=4)
            .map(|part| self.greatest * f64::from(part) / 4.0)
            .collect()
    }
}

fn draw(
    svg: &mut String,
    panel: &Panel,
    curve: &Value,
    lines: &[Line<'_>],
    chains: &[&str],
    (x, top): (f64, f64),
) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let is_of_cost = panel.keys == [COST];
    let steps = curve["steps"].as_array().into_iter().flatten();
    let greatest = points().map(|point| point[3]).fold(1.0, f64::max);
    let scale = Scale {
        left: x + NUMBERS,
        bottom: top + HEAD + HEIGHT,
        width: COLUMN - MARGIN * 2.0 - NUMBERS,
        steps: steps.filter_map(Value::as_f64).collect(),
        is_of_cost,
        // At least a factor of four, so that noise does not look like a slope.
        least: (points().map(|point| point[2]).fold(greatest, f64::min) / 1.3).min(greatest / 4.0),
        greatest: if is_of_cost {
            greatest * 1.2
        } else {
            (greatest / 20.0).ceil() * 20.0
        },
    };
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{:.1}\" class=\"title\">{}</text>\
         <text x=\"{x:.1}\" y=\"{:.1}\" class=\"small\">over {}</text>",
        top + 12.0,
        escaped(panel.what),
        top + 26.0,
        escaped(curve["title"].as_str().unwrap_or_default())
    );
    let right = scale.left + scale.width;
    if let Some(cost) = is_of_cost.then(|| own_cost(curve, lines)).flatten() {
        let (upper, lower) = (scale.y(cost * 1.15), scale.y(cost * 0.85));
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{upper:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#dddddd\"/>",
            scale.left,
            scale.width,
            lower - upper
        );
    }
    for mark in scale.marks() {
        let y = scale.y(mark);
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {y:.1}H{right:.1}\" stroke=\"#cccccc\" stroke-width=\"0.5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" class=\"small\" text-anchor=\"end\">{mark:.0}</text>",
            scale.left,
            scale.left - 4.0,
            y + 3.0
        );
    }
    let mut end = f64::MIN;
    for step in &scale.steps {
        // Where steps are close to each other, one number has to do.
        if scale.x(*step) - end < NARROW {
            continue;
        }
        end = scale.x(*step);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"small\" text-anchor=\"middle\">{step}</text>",
            scale.x(*step),
            scale.bottom + 14.0
        );
    }
    for line in lines {
        draw_line(svg, line, chains, &scale);
    }
}

/// What a call costs our sidecars at the step of reference.
fn own_cost(curve: &Value, lines: &[Line<'_>]) -> Option<f64> {
    let own = of_chains(curve).find(|chain| chain["is_own"] == true)?["name"].as_str()?;
    let reference = curve["reference"].as_f64()?;
    let line = lines.iter().find(|line| line.chain == own)?;
    let point = line
        .points
        .iter()
        .find(|point| (point[0] - reference).abs() < 0.5);
    point.map(|point| point[1])
}

fn draw_line(svg: &mut String, line: &Line<'_>, chains: &[&str], scale: &Scale) {
    let colour = chains.iter().position(|chain| *chain == line.chain).unwrap_or(0);
    let colour = COLOURS[colour % COLOURS.len()];
    let (mut path, mut strokes) = (String::new(), String::new());
    for (at, [step, median, least, greatest]) in line.points.iter().enumerate() {
        let x = scale.x(*step);
        let command = if at == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{x:.1} {:.1}", scale.y(*median));
        let _ = write!(
            strokes,
            "M{x:.1} {:.1}V{:.1}",
            scale.y(*least),
            scale.y(*greatest)
        );
    }
    let dashes = if line.is_dashed {
        " stroke-dasharray=\"4 3\""
    } else {
        ""
    };
    let _ = writeln!(
        svg,
        "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"1.5\" fill=\"none\"{dashes}/>\
         <path d=\"{strokes}\" stroke=\"{colour}\" stroke-width=\"3\" stroke-opacity=\"0.5\"/>"
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_for_each_chain_and_a_band_for_ours() {
        let points = json!([
            {"at": 1, "median": 20.0, "min": 19.0, "max": 21.0},
            {"at": 50, "median": 21.0, "min": 19.0, "max": 22.0},
        ]);
        let svg = svg(&json!({"curves": [{
            "name": "scale-policies", "title": "policies", "steps": [1, 50], "reference": 1,
            "chains": [
                {"name": "daprd-rs", "is_own": true, "figures": {COST: points}},
                {"name": "go", "is_own": false, "figures": {COST: points}},
            ],
        }]}))
        .expect("curves");
        assert_eq!(svg.matches("stroke-width=\"1.5\"").count(), 2);
        assert_eq!(svg.matches("#dddddd").count(), 1);
        assert!(svg.contains("over policies"));
    }

    #[test]
    fn nothing_makes_no_picture() {
        assert!(svg(&json!({"curves": []})).is_none());
        assert!(svg(&json!({})).is_none());
    }
}
