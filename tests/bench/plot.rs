//! A picture of the figures: bars with their spread, as SVG.

use std::fmt::Write as _;
use std::path::Path;

use pictures::{BLUE, GREEN, GREY, MARGIN, PURPLE, SKY, VERMILION, WIDTH, YELLOW, escaped};
use serde_json::Value;

use crate::chain::MTLS;
use crate::curve_plot;

/// One diagram: which figure, and what stands above it.
const PANELS: [(&str, &str); 4] = [
    ("closed_cpu_us", "CPU per call and hop at full load, µs"),
    ("open_cpu_us", "CPU per call and hop in the open loop, µs"),
    ("closed_calls_per_second", "calls per second, closed loop"),
    ("open_p99_ms", "p99 in the open loop, ms"),
];

/// The colours of the chains, in their order.
pub(crate) const COLOURS: [&str; 7] = [GREY, SKY, VERMILION, BLUE, GREEN, PURPLE, YELLOW];

const LEGEND: f64 = 40.0;
const TITLE: f64 = 26.0;
const BAR: f64 = 13.0;
const GAP: f64 = 14.0;
const LABELS: f64 = 150.0;
/// Room for the number behind a bar.
const NUMBERS: f64 = 130.0;
const COLUMN: f64 = WIDTH / 2.0;

/// How opaque the bar of a chain with mTLS is, which has the colour of the same chain without.
const PALE: f64 = 0.5;

struct Bar<'a> {
    chain: &'a str,
    median: f64,
    least: f64,
    greatest: f64,
}

/// The bars of one scene in one panel.
struct Cluster<'a> {
    scene: &'a str,
    bars: Vec<Bar<'a>>,
}

/// Draws a file of figures: bars, and curves, as far as it has them.
pub(crate) fn draw(figures: &Path, picture: &Path, curves: &Path) -> Result<(), String> {
    let says = |file: &Path, error: String| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(figures).map_err(|error| says(figures, error.to_string()))?;
    let value = serde_json::from_str(&text).map_err(|error| says(figures, error.to_string()))?;
    let drawn = [(picture, svg(&value)), (curves, curve_plot::svg(&value))];
    if drawn.iter().all(|(_, svg)| svg.is_none()) {
        return Err(says(figures, "there are no figures in it".to_owned()));
    }
    for (file, svg) in drawn {
        if let Some(svg) = svg {
            std::fs::write(file, svg).map_err(|error| says(file, error.to_string()))?;
            println!("{}", file.display());
        }
    }
    Ok(())
}

fn svg(value: &Value) -> Option<String> {
    let scenes = value["scenes"].as_array()?;
    let mut chains: Vec<&str> = Vec::new();
    for chain in scenes
        .iter()
        .flat_map(|scene| scene["chains"].as_array().into_iter().flatten())
    {
        let name = plain(chain["name"].as_str()?);
        if !chains.contains(&name) {
            chains.push(name);
        }
    }
    let panels: Vec<_> = PANELS.iter().map(|(key, _)| clusters(scenes, key)).collect();
    if panels.iter().all(Vec::is_empty) {
        return None;
    }
    let mut body = String::new();
    let mut y = LEGEND + MARGIN;
    for (row, pair) in panels.chunks(2).enumerate() {
        let mut lowest = y;
        for (column, clusters) in pair.iter().enumerate() {
            let title = PANELS[row * 2 + column].1;
            let x = MARGIN + column as f64 * COLUMN;
            lowest = lowest.max(panel(&mut body, title, clusters, &chains, (x, y)));
        }
        y = lowest + MARGIN;
    }
    Some(document(&body, &chains, &footer(value), y))
}

/// A whole picture that ends there, with a colour for each chain.
pub(crate) fn document(body: &str, chains: &[&str], footer: &str, end: f64) -> String {
    let colours = COLOURS.iter().cycle();
    let legend: Vec<_> = chains.iter().copied().zip(colours.copied()).collect();
    pictures::document((WIDTH, end + MARGIN), &legend, body, footer)
}

/// The name of a chain without what says that it has mTLS.
fn plain(chain: &str) -> &str {
    chain.strip_suffix(MTLS).unwrap_or(chain)
}

fn clusters<'a>(scenes: &'a [Value], key: &str) -> Vec<Cluster<'a>> {
    let of_scene = |scene: &'a Value| {
        let chains = scene["chains"].as_array().into_iter().flatten();
        let bars: Vec<_> = chains
            .filter_map(|chain| {
                let figure = &chain["figures"][key];
                Some(Bar {
                    chain: chain["name"].as_str()?,
                    median: figure["median"].as_f64()?,
                    least: figure["min"].as_f64()?,
                    greatest: figure["max"].as_f64()?,
                })
            })
            .collect();
        let scene = scene["name"].as_str()?;
        (!bars.is_empty()).then_some(Cluster { scene, bars })
    };
    scenes.iter().filter_map(of_scene).collect()
}

/// Draws a panel and returns where it ends.
fn panel(
    svg: &mut String,
    title: &str,
    clusters: &[Cluster<'_>],
    chains: &[&str],
    (x, top): (f64, f64),
) -> f64 {
    let bars = || clusters.iter().flat_map(|cluster| &cluster.bars);
    let greatest = bars().map(|bar| bar.greatest).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (COLUMN - MARGIN * 2.0 - LABELS - NUMBERS) / greatest;
    let left = x + LABELS;
    let mut y = top + TITLE;
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{:.1}\" class=\"title\">{}</text>",
        top + 12.0,
        escaped(title)
    );
    for cluster in clusters {
        let middle = y + BAR * cluster.bars.len() as f64 / 2.0 + 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{middle:.1}\">{}</text>",
            escaped(cluster.scene)
        );
        for bar in &cluster.bars {
            let name = plain(bar.chain);
            let colour = chains.iter().position(|chain| *chain == name).unwrap_or(0);
            let colour = COLOURS[colour % COLOURS.len()];
            let opacity = if name == bar.chain { 1.0 } else { PALE };
            let width = bar.median * scale;
            let middle = y + BAR / 2.0 - 0.5;
            let (from, to) = (left + bar.least * scale, left + bar.greatest * scale);
            let _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\" \
                 fill-opacity=\"{opacity}\"/>\
                 <path d=\"M{from:.1} {middle:.1}H{to:.1}\" stroke=\"#000000\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" class=\"small\">{}</text>",
                BAR - 1.0,
                to.max(left + width) + 4.0,
                y + BAR - 3.0,
                number(bar)
            );
            y += BAR;
        }
        y += GAP;
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{left:.1} {:.1}V{:.1}\" stroke=\"#666666\"/>",
        top + TITLE - 4.0,
        y - GAP + 4.0
    );
    y
}

fn number(bar: &Bar<'_>) -> String {
    let decimals = match bar.median {
        median if median >= 100.0 => 0,
        median if median >= 10.0 => 1,
        _ => 2,
    };
    format!(
        "{:.decimals$} ({:.decimals$}–{:.decimals$})",
        bar.median, bar.least, bar.greatest
    )
}

fn footer(value: &Value) -> String {
    let machine = value["machine"]["processor"].as_str().unwrap_or_default();
    let options = &value["options"];
    format!(
        "{machine}; {} rounds of {} s, {} calls at once, {} calls/s in the open loop, bodies of {} bytes; bars are \
         medians, pale with mTLS; lines: least to greatest round",
        options["rounds"], options["seconds"], options["connections"], options["rate"], options["body"]
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bar_for_each_chain_that_has_the_figure() {
        let figure = json!({"closed_cpu_us": {"median": 20.0, "min": 10.0, "max": 40.0}});
        let svg = svg(&json!({
            "machine": {"processor": "a < b"},
            "scenes": [{"name": "http", "chains": [
                {"name": "direct", "figures": {}},
                {"name": "daprd-rs", "figures": figure},
                {"name": "daprd-rs+mtls", "figures": figure},
            ]}],
        }))
        .expect("figures");
        assert!(svg.contains(">daprd-rs</text>") && svg.contains(">direct</text>"));
        assert!(
            !svg.contains("mtls</text>"),
            "the same colour, paler, and one place in the legend"
        );
        assert_eq!(svg.matches("20.0 (10.0–40.0)").count(), 2);
        assert_eq!(svg.matches("fill-opacity=\"0.5\"").count(), 1);
        assert!(svg.contains("a &lt; b"));
    }

    #[test]
    fn nothing_makes_no_picture() {
        assert!(svg(&json!({"scenes": []})).is_none());
        assert!(svg(&json!([])).is_none());
    }
}
