//! A picture of how things come to rest: one row for each scene, one line for each scale.

use std::fmt::Write as _;

use pictures::{BLUE, GREEN, GREY, Line, MARGIN, PURPLE, Panel, SKY, Scale, VERMILION, WIDTH, document};

use crate::report::Report;
use crate::scene::Scene;

/// The colours of the scales, in their order.
const COLOURS: [&str; 6] = [BLUE, VERMILION, GREEN, PURPLE, SKY, GREY];
const COLUMN: f64 = (WIDTH - 2.0 * MARGIN) / 2.0;
const HEIGHT: f64 = 130.0;
const ROW: f64 = HEIGHT + 20.0;
const HEAD: f64 = 44.0;

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
    let colour = |report: &Report| {
        let place = scales.iter().position(|scale| *scale == report.scale);
        COLOURS[place.unwrap_or(0) % COLOURS.len()]
    };
    let mut body = String::new();
    for (row, scene) in scenes.iter().enumerate() {
        let of_scene = |values: fn(&Report) -> &[f64]| {
            let of_scene = reports.iter().filter(|report| report.scene == *scene);
            of_scene.map(move |report| (colour(report), values(report)))
        };
        let y = HEAD + row as f64 * ROW;
        let _ = writeln!(
            body,
            "<text x=\"{MARGIN}\" y=\"{y:.0}\" class=\"title\">{}</text>",
            scene.name()
        );
        let what = "calls that failed or were slow, of 100";
        let bad = of_scene(|report| &report.bad).map(|(colour, values)| {
            let percent = values.iter().map(|value| value * 100.0);
            (colour, percent.collect())
        });
        panel(what, 100.0, bad.collect()).draw(&mut body, (MARGIN, y), (COLUMN, HEIGHT));
        let what = "calls of those in trouble, for each that they had if all were equal";
        let shares: Vec<_> = of_scene(|report| &report.shares)
            .map(|(colour, values)| (colour, values.to_vec()))
            .collect();
        if shares.iter().any(|(_, values)| !values.is_empty()) {
            panel(what, 2.0, shares).draw(&mut body, (MARGIN + COLUMN, y), (COLUMN, HEIGHT));
        }
    }
    let names: Vec<String> = scales.iter().map(ToString::to_string).collect();
    let legend: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip(COLOURS.into_iter().cycle())
        .collect();
    let height = HEAD + ROW * scenes.len() as f64 + MARGIN;
    document((WIDTH, height), &legend, &body, "")
}

/// A line for each scale: the value of each second.
fn panel<'a>(what: &'a str, most: f64, lines: Vec<(&'static str, Vec<f64>)>) -> Panel<'a> {
    let seconds = lines.iter().map(|(_, values)| values.len()).max();
    let line = |(colour, values): (&'static str, Vec<f64>)| Line {
        colour,
        points: values
            .into_iter()
            .enumerate()
            .map(|(second, value)| (second as f64, value))
            .collect(),
    };
    Panel {
        what,
        scale: Scale::UpTo(most),
        seconds: (seconds.unwrap_or(0).max(2) - 1) as f64,
        lines: lines.into_iter().map(line).collect(),
        marks: &[],
    }
}
