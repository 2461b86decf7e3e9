//! Pictures of figures, as SVG: what the programs that measure and those that play scenes draw in the same way.
//!
//! A [`document`] has a legend and a body; a [`Panel`] is a diagram of lines over time. What else a program draws it puts
//! into the body by itself.
//!
//! This crate knows no figures, no files and no options: `bench`, `chaos` (`tests`) and `simulate` bring theirs. Nothing of it is
//! part of a sidecar.

use std::fmt::Write as _;

/// Colours that people who see fewer of them can tell apart, too.
pub const GREY: &str = "#999999";
/// A pale blue.
pub const SKY: &str = "#56b4e9";
/// A red that is no green to anybody.
pub const VERMILION: &str = "#d55e00";
/// A deep blue.
pub const BLUE: &str = "#0072b2";
/// A green that is no red to anybody.
pub const GREEN: &str = "#009e73";
/// A pale purple.
pub const PURPLE: &str = "#cc79a7";
/// A yellow; too pale for thin lines.
pub const YELLOW: &str = "#f0e442";

/// How wide pictures are that stand across a page.
pub const WIDTH: f64 = 960.0;
/// Room around everything.
pub const MARGIN: f64 = 16.0;

/// A whole picture of this size: squares of the legend above, what is drawn below them, and a line at its end.
pub fn document(size: (f64, f64), legend: &[(&str, &str)], body: &str, footer: &str) -> String {
    let (width, height) = size;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<style>.small{{font-size:10px}} .title{{font-weight:bold}}</style>\n\
         <rect width=\"{width}\" height=\"{height:.0}\" fill=\"#ffffff\"/>\n"
    );
    for (at, (name, colour)) in legend.iter().enumerate() {
        let x = MARGIN + at as f64 * 120.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"16\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"26\">{}</text>",
            x + 18.0,
            escaped(name)
        );
    }
    svg.push_str(body);
    if !footer.is_empty() {
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{:.0}\" class=\"small\">{}</text>",
            height - MARGIN,
            escaped(footer)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A text that means nothing to XML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A diagram of lines over time.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// What stands above it.
    pub what: &'a str,
    /// What the vertical axis shows.
    pub scale: Scale,
    /// How many seconds the horizontal axis has.
    pub seconds: f64,
    /// The lines, the later ones above the earlier ones.
    pub lines: Vec<Line<'a>>,
    /// When something happened, in seconds.
    pub marks: &'a [f64],
}

/// One line of a [`Panel`].
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Its colour, as SVG writes it.
    pub colour: &'a str,
    /// Seconds and values, in order. Values beyond the scale are drawn at its end.
    pub points: Vec<(f64, f64)>,
}

/// What a vertical axis shows.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    /// From nothing to this, evenly.
    UpTo(f64),
    /// From the one to the other, each step a power of ten.
    Powers(f64, f64),
}

impl Scale {
    /// Which part of the height a value has.
    fn part(self, value: f64) -> f64 {
        let part = match self {
            Self::UpTo(most) => value / most,
            Self::Powers(least, most) => (value.max(least) / least).ln() / (most / least).ln(),
        };
        part.clamp(0.0, 1.0)
    }

    /// Where numbers stand.
    fn numbers(self) -> Vec<f64> {
        match self {
            Self::UpTo(most) => vec![0.0, most],
            Self::Powers(least, most) => {
                let powers = std::iter::successors(Some(least), |number| Some(number * 10.0));
                powers.take_while(|number| *number <= most * 1.001).collect()
            }
        }
    }
}

/// Room for the numbers of the vertical axis.
const NUMBERS: f64 = 40.0;
const TITLE: f64 = 22.0;
const FOOT: f64 = 18.0;

impl Panel<'_> {
    /// Draws it into a rectangle: its corner, and its size.
    pub fn draw(&self, svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let (left, right) = (x + NUMBERS, x + width - MARGIN);
        let (top, bottom) = (y + TITLE, y + height - FOOT);
        let across = |seconds: f64| left + (right - left) * (seconds / self.seconds).clamp(0.0, 1.0);
        let up = |value: f64| bottom - (bottom - top) * self.scale.part(value);
        let _ = writeln!(
            svg,
            "<text x=\"{left:.0}\" y=\"{:.0}\" class=\"small\">{}</text>\
             <path d=\"M{left:.0} {top:.0}V{bottom:.0}H{right:.0}\" fill=\"none\" stroke=\"#000000\"/>\
             <text x=\"{right:.0}\" y=\"{:.0}\" class=\"small\" text-anchor=\"end\">{} s</text>",
            top - 6.0,
            escaped(self.what),
            bottom + 12.0,
            self.seconds
        );
        for number in self.scale.numbers() {
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" class=\"small\" text-anchor=\"end\">{number}</text>",
                left - 4.0,
                up(number) + 3.0
            );
        }
        for mark in self.marks {
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {top:.0}V{bottom:.0}\" stroke=\"#000000\" stroke-dasharray=\"3 3\"/>",
                across(*mark)
            );
        }
        for line in self.lines.iter().filter(|line| !line.points.is_empty()) {
            let points = line.points.iter();
            let points: Vec<String> = points
                .map(|(seconds, value)| format!("{:.1},{:.1}", across(*seconds), up(*value)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>",
                points.join(" "),
                line.colour
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_its_legend_and_its_footer() {
        let svg = document(
            (100.0, 50.0),
            &[("a < b", GREY), ("c", SKY)],
            "<body/>",
            "by & by",
        );
        assert!(svg.contains("viewBox=\"0 0 100 50\"") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b</text>") && svg.contains("by &amp; by</text>"));
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(!document((1.0, 1.0), &[], "", "").contains("<text"));
    }

    #[test]
    fn lines_are_where_their_values_are() {
        let mut svg = String::new();
        let panel = |scale, points| Panel {
            what: "<1>",
            scale,
            seconds: 10.0,
            lines: vec![Line { colour: BLUE, points }],
            marks: &[5.0],
        };
        let size = (156.0, 140.0);
        panel(Scale::UpTo(100.0), vec![(0.0, 0.0), (5.0, 50.0), (10.0, 1000.0)]).draw(
            &mut svg,
            (0.0, 0.0),
            size,
        );
        assert!(
            svg.contains("points=\"40.0,122.0 90.0,72.0 140.0,22.0\""),
            "{svg}"
        );
        assert!(svg.contains("M90.0 22V122") && svg.contains("&lt;1&gt;"), "{svg}");
        let mut svg = String::new();
        panel(Scale::Powers(1.0, 100.0), vec![(0.0, 0.0), (10.0, 10.0)]).draw(&mut svg, (0.0, 0.0), size);
        assert!(svg.contains("points=\"40.0,122.0 140.0,72.0\""), "{svg}");
        for number in ["1", "10", "100"] {
            assert!(svg.contains(&format!(">{number}</text>")), "{svg}");
        }
        let mut svg = String::new();
        panel(Scale::UpTo(1.0), Vec::new()).draw(&mut svg, (0.0, 0.0), size);
        assert!(!svg.contains("polyline"));
    }
}
