//! How figures change along an axis, as a table and as JSON.

use serde_json::{Map, Value, json};

use crate::axis::Axis;
use crate::chain;
use crate::figures::{FIGURES, Figure};
use crate::measure::Sample;
use crate::report::{NOTHING, Spread, aligned};
use crate::sweep::Swept;

/// By how much the cost of a call may change along an axis.
const FLAT: f64 = 0.15;
/// The figure that should not change.
pub(crate) const COST: &str = "closed_cpu_us";
/// What is shown of each step, as far as it was measured.
const SHOWN: [&str; 9] = [
    COST,
    "closed_cpu_us_caller",
    "closed_cpu_us_callee",
    "closed_calls_per_second",
    "closed_p99_ms",
    "rss_loaded_mib_caller",
    "rss_loaded_mib_callee",
    "rss_resting_mib_caller",
    "rss_resting_mib_callee",
];

/// All that was measured along an axis.
pub(crate) struct Curve {
    pub(crate) axis: Axis,
    pub(crate) chains: Vec<OfChain>,
}

/// All that was measured along an axis of one chain.
pub(crate) struct OfChain {
    pub(crate) name: String,
    /// What every round measured at each step of the axis.
    steps: Vec<Vec<Sample>>,
    pub(crate) problems: Vec<String>,
}

impl OfChain {
    pub(crate) fn new(name: &str, axis: Axis) -> Self {
        Self {
            name: name.to_owned(),
            steps: vec![Vec::new(); axis.steps().len()],
            problems: Vec::new(),
        }
    }

    fn spread(&self, at: usize, key: &str) -> Option<Spread> {
        let values = self.steps[at].iter();
        Spread::of(
            values
                .filter_map(|sample| sample.figures.get(key).copied())
                .collect(),
        )
    }

    fn row(&self, key: &str) -> Vec<Option<Spread>> {
        (0..self.steps.len()).map(|at| self.spread(at, key)).collect()
    }

    /// What the medians of a figure are at each step.
    fn medians(&self, key: &str) -> Vec<Option<f64>> {
        let row = self.row(key).into_iter();
        row.map(|spread| spread.map(|spread| spread.median)).collect()
    }
}

impl Curve {
    /// Adds what a round measured.
    pub(crate) fn add(&mut self, chain: usize, round: usize, swept: Swept) {
        let chain = &mut self.chains[chain];
        for (step, sample) in swept.steps {
            if let Some(at) = self.axis.steps().iter().position(|known| *known == step) {
                chain.steps[at].push(sample);
            }
        }
        let problems = swept.problems.into_iter();
        chain
            .problems
            .extend(problems.map(|problem| format!("round {round}, {problem}")));
    }

    /// The table: a part for each figure, with a line for each chain.
    pub(crate) fn table(&self) -> String {
        let steps = self.axis.steps();
        let mut lines = vec![(String::new(), steps.iter().map(ToString::to_string).collect())];
        for figure in SHOWN.iter().filter_map(|key| figure(key)) {
            if self
                .chains
                .iter()
                .all(|chain| chain.row(figure.key).iter().all(Option::is_none))
            {
                continue;
            }
            lines.push((format!(" {}", figure.label), Vec::new()));
            for chain in &self.chains {
                let row = chain.row(figure.key);
                let shown = |spread: Option<Spread>| {
                    spread.map_or_else(|| NOTHING.to_owned(), |spread| spread.shown(figure.decimals))
                };
                let cells = row.iter().map(|spread| shown(*spread)).collect();
                lines.push((format!("   {}", chain.name), cells));
                if figure.key == COST {
                    let head = format!("     of that at {}", self.axis.reference());
                    lines.push((head, texts(&self.relative(chain), 2, "x")));
                }
                if figure.key.starts_with("rss_resting") {
                    let growth = growth(steps, &chain.medians(figure.key));
                    lines.push(("     MiB per 1,000 more".to_owned(), texts(&growth, 1, "")));
                }
            }
        }
        let verdicts: String = self
            .chains
            .iter()
            .filter_map(|chain| self.verdict(chain))
            .collect();
        format!(
            "{}: {}\n{}{verdicts}",
            self.axis.name(),
            self.axis.title(),
            aligned(&lines)
        )
    }

    /// The cost of a call at each step, compared with that at the step of reference.
    fn relative(&self, chain: &OfChain) -> Vec<Option<f64>> {
        let medians = chain.medians(COST);
        let reference = self
            .axis
            .steps()
            .iter()
            .position(|step| *step == self.axis.reference());
        let reference = reference.and_then(|at| medians[at]);
        let relative = |median: &Option<f64>| Some((*median)? / reference?);
        medians.iter().map(relative).collect()
    }

    fn verdict(&self, chain: &OfChain) -> Option<String> {
        let relative: Vec<_> = self.relative(chain).into_iter().flatten().collect();
        let (least, greatest) = (
            relative.iter().copied().min_by(f64::total_cmp)?,
            relative.iter().copied().max_by(f64::total_cmp)?,
        );
        let is_flat = least >= 1.0 - FLAT && greatest <= 1.0 + FLAT;
        Some(format!(
            " {}: {:+.0} % to {:+.0} % of the cost at {}{}\n",
            chain.name,
            (least - 1.0) * 100.0,
            (greatest - 1.0) * 100.0,
            self.axis.reference(),
            if is_flat { ", flat" } else { ", NOT flat" }
        ))
    }

    pub(crate) fn json(&self) -> Value {
        let steps = self.axis.steps();
        let chains = self.chains.iter().map(|chain| {
            let figures = FIGURES.iter().filter_map(|figure| {
                let of_step = steps.iter().enumerate().filter_map(|(at, step)| {
                    let spread = chain.spread(at, figure.key)?;
                    let rounds = chain.steps[at].iter();
                    let rounds: Vec<_> = rounds
                        .filter_map(|sample| sample.figures.get(figure.key))
                        .collect();
                    Some(json!({
                        "at": step,
                        "median": spread.median,
                        "min": spread.least,
                        "max": spread.greatest,
                        "rounds": rounds,
                    }))
                });
                let of_step: Vec<_> = of_step.collect();
                (!of_step.is_empty()).then(|| (figure.key.to_owned(), Value::from(of_step)))
            });
            json!({
                "name": chain.name,
                "is_own": chain::is_own(&chain.name),
                "figures": figures.collect::<Map<_, _>>(),
                "problems": chain.problems,
            })
        });
        json!({
            "name": self.axis.name(),
            "title": self.axis.title(),
            "steps": steps,
            "reference": self.axis.reference(),
            "chains": chains.collect::<Vec<_>>(),
        })
    }
}

fn figure(key: &str) -> Option<&'static Figure> {
    FIGURES.iter().find(|figure| figure.key == key)
}

fn texts(values: &[Option<f64>], decimals: usize, unit: &str) -> Vec<String> {
    let text = |value: &Option<f64>| {
        value.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.decimals$}{unit}"))
    };
    values.iter().map(text).collect()
}

/// By how much a figure grows from each step to the next, for a thousand of what grows.
fn growth(steps: &[usize], medians: &[Option<f64>]) -> Vec<Option<f64>> {
    let between = |at: usize| {
        let before = at.checked_sub(1)?;
        let more = (steps[at] - steps[before]) as f64;
        Some((medians[at]? - medians[before]?) * 1000.0 / more)
    };
    (0..steps.len()).map(between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(costs: &[f64]) -> Curve {
        let axis = Axis::Policies;
        let mut curve = Curve {
            axis,
            chains: vec![OfChain::new("daprd-rs", axis)],
        };
        let steps = axis.steps().iter().zip(costs).map(|(step, cost)| {
            let mut sample = Sample::default();
            sample.put(COST, *cost);
            (*step, sample)
        });
        let swept = Swept {
            steps: steps.rev().collect(),
            problems: vec!["something".to_owned()],
        };
        curve.add(0, 1, swept);
        curve
    }

    #[test]
    fn what_changes_by_more_is_not_flat() {
        for (costs, verdict) in [
            (&[20.0, 22.0, 18.0][..], "-10 % to +10 % of the cost at 1, flat"),
            (&[20.0, 22.0, 25.0], "+0 % to +25 % of the cost at 1, NOT flat"),
        ] {
            let table = curve(costs).table();
            assert!(table.contains(verdict), "{table}");
        }
        assert_eq!(curve(&[]).verdict(&curve(&[]).chains[0]), None);
    }

    #[test]
    fn steps_stand_in_order_whatever_the_order_of_the_round() {
        let json = curve(&[20.0, 21.0, 22.0]).json();
        let figure = &json["chains"][0]["figures"][COST];
        assert_eq!(
            (&figure[0]["at"], &figure[2]["median"]),
            (&json!(1), &json!(22.0))
        );
        assert_eq!(json["chains"][0]["problems"][0], "round 1, something");
    }

    #[test]
    fn growth_is_that_between_neighbours() {
        let grown = growth(&[0, 500, 1000], &[Some(10.0), Some(15.0), None]);
        assert_eq!(grown, [None, Some(10.0), None]);
    }
}
