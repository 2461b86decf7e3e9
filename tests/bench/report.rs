//! What was measured, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::chain::Chain;
use crate::extremes::Extremes;
use crate::figures::{OF_EXTREMES, OF_ROUND, Section};
use crate::measure::Round;
use crate::options::Options;

/// All that was measured of one chain.
pub(crate) struct Measured {
    pub(crate) chain: Chain,
    pub(crate) rounds: Vec<Round>,
    pub(crate) extremes: Extremes,
    /// What went wrong, in words.
    pub(crate) problems: Vec<String>,
}

/// A line of the table.
struct Row {
    section: Section,
    label: &'static str,
    decimals: usize,
    /// One value for each chain.
    values: Vec<Option<f64>>,
}

/// The index of the chain that the peers are compared with.
const OWN: usize = 1;
const LABEL_WIDTH: usize = 38;

/// The table, with the chain `daprd-rs` compared with each peer.
pub(crate) fn table(all: &[Measured], options: &Options) -> String {
    let of_rounds = OF_ROUND.iter().map(|figure| Row {
        section: figure.section,
        label: figure.label,
        decimals: figure.decimals,
        values: all
            .iter()
            .map(|one| median(one.rounds.iter().filter_map(figure.of).collect()))
            .collect(),
    });
    let of_extremes = OF_EXTREMES.iter().map(|figure| Row {
        section: figure.section,
        label: figure.label,
        decimals: figure.decimals,
        values: all.iter().map(|one| (figure.of)(&one.extremes)).collect(),
    });
    let names: Vec<_> = all.iter().map(|one| one.chain.name.clone()).collect();
    let ratios: Vec<_> = names
        .iter()
        .enumerate()
        .skip(OWN + 1)
        .map(|(at, peer)| (at, format!("{}/{peer}", names[OWN])))
        .collect();
    let widths: Vec<_> = names
        .iter()
        .chain(ratios.iter().map(|(_, name)| name))
        .map(|name| name.chars().count().max(8) + 3)
        .collect();

    let mut text = String::new();
    let heads = names.iter().chain(ratios.iter().map(|(_, name)| name));
    let _ = write!(text, "{:LABEL_WIDTH$}", "");
    for (head, width) in heads.zip(&widths) {
        let _ = write!(text, "{head:>width$}");
    }
    text.push('\n');
    let mut section = None;
    for row in of_rounds.chain(of_extremes) {
        if row.values.iter().all(Option::is_none) {
            continue;
        }
        if section != Some(row.section) {
            section = Some(row.section);
            let _ = writeln!(text, "\n{}", heading(row.section, options));
        }
        let _ = write!(text, "{:LABEL_WIDTH$}", format!("  {}", row.label));
        let values = row.values.iter().map(|value| shown(*value, row.decimals));
        let ratios = ratios
            .iter()
            .map(|(at, _)| ratio(row.values[OWN], row.values[*at]));
        for (cell, width) in values.chain(ratios).zip(&widths) {
            let _ = write!(text, "{cell:>width$}");
        }
        text.push('\n');
    }
    text
}

fn heading(section: Section, options: &Options) -> String {
    match section {
        Section::Closed => format!(
            "closed loop, {} connections, {} bytes there and back",
            options.connections, options.body
        ),
        Section::Open => format!("open loop, {} calls/s", options.rate),
        Section::Process => "the sidecar as a process".to_owned(),
        Section::LargeBody => format!("a body of {} MiB", options.large_body),
        Section::Crowd => format!(
            "{} calls at the same time, an app that takes 2 s for each",
            options.concurrent
        ),
    }
}

fn shown(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn ratio(own: Option<f64>, peer: Option<f64>) -> String {
    match (own, peer) {
        (Some(own), Some(peer)) if peer > 0.0 => format!("{:.2}x", own / peer),
        _ => "-".to_owned(),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(values[values.len() / 2 - 1], upper))
}

/// Everything, with each round on its own.
pub(crate) fn json(all: &[Measured], machine: &[(String, String)], options: &Options) -> Value {
    let machine: Map<String, Value> = machine
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let chains: Vec<_> = all.iter().map(chain).collect();
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
            "large_body_mib": options.large_body,
            "concurrent": options.concurrent,
        },
        "chains": chains,
    })
}

fn chain(measured: &Measured) -> Value {
    let rounds: Vec<Map<String, Value>> = measured
        .rounds
        .iter()
        .map(|round| {
            let figures = OF_ROUND.iter();
            figures
                .map(|figure| (figure.key.to_owned(), json!((figure.of)(round))))
                .collect()
        })
        .collect();
    let medians = OF_ROUND.iter().map(|figure| {
        let value = median(measured.rounds.iter().filter_map(figure.of).collect());
        (figure.key.to_owned(), json!(value))
    });
    let extremes = OF_EXTREMES.iter().map(|figure| {
        let value = (figure.of)(&measured.extremes);
        (figure.key.to_owned(), json!(value))
    });
    json!({
        "name": measured.chain.name,
        "binary": measured.chain.binary,
        "median": medians.chain(extremes).collect::<Map<_, _>>(),
        "rounds": rounds,
        "problems": measured.problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn nothing_is_compared_with_nothing() {
        assert_eq!(ratio(Some(3.0), Some(2.0)), "1.50x");
        assert_eq!(ratio(Some(3.0), Some(0.0)), "-");
        assert_eq!(ratio(None, Some(1.0)), "-");
    }
}
