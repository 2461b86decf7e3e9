//! A picture of how things come to rest: one row for each scene, one line for each scale.

use std::fmt::Write as _;

use crate::report::Report;
use crate::scene::Scene;

/// Colours that people who see fewer of them can tell apart, too.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#999999"];
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 16.0;
const COLUMN: f64 = (WIDTH - 2.0 * MARGIN) / 2.0;
const NUMBERS: f64 = 40.0;
const HEIGHT: f64 = 90.0;
const ROW: f64 = HEIGHT + 60.0;
const HEAD: f64 = 44.0;

/// A diagram: what it shows, the greatest value, and the values of each second of each report.
struct Panel<'a> {
    what: &'static str,
    most: f64,
    unit: &'static str,
    lines: Vec<(usize, &'a [f64])>,
}

/// The picture of all reports, whose order is that of the scenes.
pub(crate) fn svg(reports: &[Report]) -> String {
    let mut scales = Vec::new();
    let mut scenes: Vec<Scene> = Vec::new();
    for report in reports {
        if !scales.contains(&report.scale) {
            scales.push(report.scale);
        }
        if !scenes.contains(&report.scene) {
            scenes.push(report.scene);
        }
    }
    let height = HEAD + ROW * scenes.len() as f64 + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<style>.small{{font-size:10px}} .title{{font-weight:bold}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#ffffff\"/>\n"
    );
    for (place, scale) in scales.iter().enumerate() {
        let x = MARGIN + place as f64 * 150.0;
        let colour = COLOURS[place % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.0}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"22\">{scale}</text>",
            x + 18.0
        );
    }
    for (row, scene) in scenes.iter().enumerate() {
        let of_scene = || reports.iter().filter(|report| report.scene == *scene);
        let colour = |report: &Report| {
            scales
                .iter()
                .position(|scale| *scale == report.scale)
                .unwrap_or(0)
        };
        let y = HEAD + row as f64 * ROW;
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{y:.0}\" class=\"title\">{}</text>",
            scene.name()
        );
        let bad = Panel {
            what: "calls that failed or were slow, of 100",
            most: 1.0,
            unit: "100",
            lines: of_scene()
                .map(|report| (colour(report), &report.bad[..]))
                .collect(),
        };
        draw(&mut svg, &bad, MARGIN, y);
        let shares = Panel {
            what: "calls of those in trouble, for each that they had if all were equal",
            most: 2.0,
            unit: "2",
            lines: of_scene()
                .map(|report| (colour(report), &report.shares[..]))
                .collect(),
        };
        if shares.lines.iter().any(|(_, values)| !values.is_empty()) {
            draw(&mut svg, &shares, MARGIN + COLUMN, y);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, panel: &Panel<'_>, x: f64, y: f64) {
    let (left, top, width) = (x + NUMBERS, y + 22.0, COLUMN - NUMBERS - MARGIN);
    let bottom = top + HEIGHT;
    let seconds = panel
        .lines
        .iter()
        .map(|(_, values)| values.len())
        .max()
        .unwrap_or(0)
        .max(2);
    let _ = writeln!(
        svg,
        "<text x=\"{left:.0}\" y=\"{:.0}\" class=\"small\">{}</text>\
         <path d=\"M{left:.0} {top:.0}V{bottom:.0}H{:.0}\" fill=\"none\" stroke=\"#000000\"/>\
         <text x=\"{:.0}\" y=\"{:.0}\" class=\"small\" text-anchor=\"end\">{}</text>\
         <text x=\"{:.0}\" y=\"{bottom:.0}\" class=\"small\" text-anchor=\"end\">0</text>\
         <text x=\"{:.0}\" y=\"{:.0}\" class=\"small\" text-anchor=\"end\">{seconds} s</text>",
        top - 6.0,
        panel.what,
        left + width,
        left - 4.0,
        top + 8.0,
        panel.unit,
        left - 4.0,
        left + width,
        bottom + 12.0
    );
    for (colour, values) in &panel.lines {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(second, value)| {
                let across = left + width * second as f64 / (seconds - 1) as f64;
                let up = bottom - HEIGHT * (value / panel.most).min(1.0);
                format!("{across:.1},{up:.1}")
            })
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>",
            points.join(" "),
            COLOURS[colour % COLOURS.len()]
        );
    }
}
