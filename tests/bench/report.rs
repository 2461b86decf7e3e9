//! What was measured, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::chain::{DIRECT, MTLS, OWN};
use crate::curve::Curve;
use crate::figures::{ABOVE_DIRECT, FIGURES, Figure};
use crate::kind::Scene;
use crate::measure::Sample;
use crate::options::Options;

/// All that was measured of one scene.
pub(crate) struct Measured {
    pub(crate) scene: Scene,
    /// One entry for each chain that suits it.
    pub(crate) chains: Vec<OfChain>,
}

/// All that was measured of one scene of one chain.
pub(crate) struct OfChain {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Sample>,
    pub(crate) problems: Vec<String>,
}

/// The median of some rounds, and between what they lay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

const LABEL_WIDTH: usize = 38;
pub(crate) const NOTHING: &str = "-";

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let upper = *values.get(values.len() / 2)?;
        let median = if values.len() % 2 == 1 {
            upper
        } else {
            f64::midpoint(values[values.len() / 2 - 1], upper)
        };
        Some(Self {
            median,
            least,
            greatest,
        })
    }

    pub(crate) fn shown(self, decimals: usize) -> String {
        let Self {
            median,
            least,
            greatest,
        } = self;
        if least.total_cmp(&greatest).is_eq() {
            return format!("{median:.decimals$}");
        }
        format!("{median:.decimals$} ({least:.decimals$}–{greatest:.decimals$})")
    }
}

impl Measured {
    /// The names of the chains, in order.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.chains.iter().map(|chain| chain.name.as_str())
    }

    fn spread(&self, chain: &OfChain, key: &str) -> Option<Spread> {
        if let Some((_, of)) = ABOVE_DIRECT.iter().find(|(above, _)| *above == key) {
            let direct = self.chains.iter().find(|chain| chain.name == DIRECT)?;
            if chain.name == DIRECT {
                return None;
            }
            let direct = self.spread(direct, of)?.median;
            let above = values(chain, of).into_iter().map(|value| value - direct);
            return Spread::of(above.collect());
        }
        Spread::of(values(chain, key))
    }

    fn row(&self, figure: &Figure) -> Vec<Option<Spread>> {
        let chains = self.chains.iter();
        chains.map(|chain| self.spread(chain, figure.key)).collect()
    }

    /// Which chain is compared with which, and how that is called: ours with each other one that has as much TLS,
    /// and each with mTLS with the same without.
    fn compared(&self) -> Vec<(usize, usize, String)> {
        let position = |wanted: &str| self.names().position(|name| name == wanted);
        let mut compared = Vec::new();
        for (at, name) in self.names().enumerate() {
            let tls = if name.ends_with(MTLS) { MTLS } else { "" };
            if let Some(own) = position(&format!("{OWN}{tls}"))
                && own != at
                && name != DIRECT
            {
                let plain = name.strip_suffix(MTLS);
                let head = plain.map(|plain| format!("mtls: {OWN}/{plain}"));
                compared.push((own, at, head.unwrap_or_else(|| format!("{OWN}/{name}"))));
            }
        }
        for (at, name) in self.names().enumerate() {
            if let Some(plain) = name.strip_suffix(MTLS)
                && let Some(plain_at) = position(plain)
            {
                compared.push((at, plain_at, format!("{plain}: mtls/plain")));
            }
        }
        compared
    }

    /// The table of the scene, with our chain compared with each other one.
    pub(crate) fn table(&self, options: &Options) -> String {
        let rows = FIGURES.iter().map(|figure| (figure, self.row(figure)));
        let rows: Vec<_> = rows.filter(|(_, row)| row.iter().any(Option::is_some)).collect();
        let compared = self.compared();
        let heads = self
            .names()
            .map(str::to_owned)
            .chain(compared.iter().map(|(_, _, head)| head.clone()));
        let mut lines = vec![(String::new(), heads.collect::<Vec<_>>())];
        let mut group = None;
        for (figure, row) in rows {
            if group.replace(figure.group) != Some(figure.group)
                && let Some(heading) = figure.group.heading(options)
            {
                lines.push((format!(" {heading}"), Vec::new()));
            }
            let cells = row.iter().map(|spread| {
                spread.map_or_else(|| NOTHING.to_owned(), |spread| spread.shown(figure.decimals))
            });
            let ratios = compared
                .iter()
                .map(|(one, other, _)| ratio(row[*one], row[*other]));
            lines.push((format!("   {}", figure.label), cells.chain(ratios).collect()));
        }
        let text = aligned(&lines);
        format!("{}\n{text}", self.scene.heading(options))
    }

    fn json(&self, options: &Options) -> Value {
        let chains = self.chains.iter().map(|chain| {
            let figures = FIGURES.iter().filter_map(|figure| {
                let spread = self.spread(chain, figure.key)?;
                let value = json!({
                    "median": spread.median,
                    "min": spread.least,
                    "max": spread.greatest,
                    "rounds": values(chain, figure.key),
                });
                Some((figure.key.to_owned(), value))
            });
            json!({
                "name": chain.name,
                "figures": figures.collect::<Map<_, _>>(),
                "problems": chain.problems,
            })
        });
        json!({
            "name": self.scene.name(),
            "heading": self.scene.heading(options),
            "chains": chains.collect::<Vec<_>>(),
        })
    }
}

fn values(chain: &OfChain, key: &str) -> Vec<f64> {
    let rounds = chain.rounds.iter();
    rounds
        .filter_map(|round| round.figures.get(key).copied())
        .filter(|value| value.is_finite())
        .collect()
}

/// Lines of a label and cells, with the cells below each other.
pub(crate) fn aligned(lines: &[(String, Vec<String>)]) -> String {
    let columns = lines.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = lines.iter().filter_map(|(_, cells)| cells.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + 2
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (label, cells) in lines {
        if cells.is_empty() {
            let _ = writeln!(text, "{label}");
            continue;
        }
        let _ = write!(text, "{label:LABEL_WIDTH$}");
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "{cell:>width$}");
        }
        text.push('\n');
    }
    text
}

fn ratio(own: Option<Spread>, other: Option<Spread>) -> String {
    match (own, other) {
        (Some(own), Some(other)) if other.median > 0.0 => format!("{:.2}x", own.median / other.median),
        _ => NOTHING.to_owned(),
    }
}

/// Everything, with each round on its own.
pub(crate) fn json(
    all: &[Measured],
    curves: &[Curve],
    machine: &[(String, String)],
    options: &Options,
) -> Value {
    let machine: Map<String, Value> = machine
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "machine": machine,
        "options": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "warm_up": options.warm_up,
            "connections": options.connections,
            "rate": options.rate,
            "body": options.body,
            "resolver": options.resolver.name(),
            "mtls": options.mtls,
            "large_body_mib": options.large_body,
            "idle": options.idle,
            "concurrent": options.concurrent,
        },
        "scenes": all.iter().map(|one| one.json(options)).collect::<Vec<_>>(),
        "curves": curves.iter().map(Curve::json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[f64]) -> Option<Spread> {
        Spread::of(values.to_vec())
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let median = |values: &[f64]| spread(values).map(|spread| spread.median);
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn chains_are_compared_with_their_like() {
        let chain = |name: &str| OfChain {
            name: name.to_owned(),
            rounds: Vec::new(),
            problems: Vec::new(),
        };
        let names = ["direct", "daprd-rs", "daprd-rs+mtls", "go", "go+mtls", "nginx"];
        let measured = Measured {
            scene: Scene::Http,
            chains: names.map(chain).into(),
        };
        let compared = measured.compared();
        let heads: Vec<_> = compared.iter().map(|(_, _, head)| &**head).collect();
        assert_eq!(
            heads,
            [
                "daprd-rs/go",
                "mtls: daprd-rs/go",
                "daprd-rs/nginx",
                "daprd-rs: mtls/plain",
                "go: mtls/plain"
            ]
        );
        assert_eq!((compared[1].0, compared[1].1), (2, 4));
    }

    #[test]
    fn nothing_is_compared_with_nothing() {
        assert_eq!(ratio(spread(&[3.0]), spread(&[2.0])), "1.50x");
        assert_eq!(ratio(spread(&[3.0]), spread(&[0.0])), "-");
        assert_eq!(ratio(None, spread(&[1.0])), "-");
    }

    #[test]
    fn the_direct_call_is_taken_off() {
        let chain = |name: &str, values: &[f64]| OfChain {
            name: name.to_owned(),
            rounds: values
                .iter()
                .map(|value| {
                    let mut sample = Sample::default();
                    sample.put("open_p50_ms", *value);
                    sample
                })
                .collect(),
            problems: Vec::new(),
        };
        let measured = Measured {
            scene: Scene::Http,
            chains: vec![chain(DIRECT, &[1.0, 2.0, 3.0]), chain(OWN, &[5.0])],
        };
        let above = |at: usize| measured.spread(&measured.chains[at], "open_p50_above_direct_ms");
        assert_eq!(above(0), None);
        assert_eq!(above(1), spread(&[3.0]));
        let table = measured.table(&Options::default());
        assert!(table.contains("p50 above direct"), "{table}");
    }
}
