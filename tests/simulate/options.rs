//! What the command line asks for.

use std::path::PathBuf;

use crate::scene::{Scale, Scene};

pub(crate) const USAGE: &str = "\
simulate [OPTIONS]

Plays what can happen to thousands of sidecars in one thread, with a clock and a network of its own, through the balancer,
the resolvers' watches and the attempts of a sidecar. Fails when something does not hold that has to, and tells the seed.

  --scene NAME           start, start-asking, rolling, churn, partition, equal, slow, refusing, overload or part;
                         may be repeated (default: all)
  --scale CALLERSxINSTANCES
                         may be repeated (default: 100x100, 1000x1000, 10000x100 and 100x10000)
  --seed N               what chance decides (default: the time)
  --picture FILE.svg     how shares and bad calls change
  --sizes                what a set of endpoints and a pick cost, and nothing else
  --help                 this text
";

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) scenes: Vec<Scene>,
    pub(crate) scales: Vec<Scale>,
    pub(crate) seed: u64,
    pub(crate) picture: Option<PathBuf>,
    pub(crate) is_for_sizes: bool,
}

impl Options {
    /// Reads a command line; `None` when it asks for help.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            scenes: Vec::new(),
            scales: Vec::new(),
            seed: fastrand::u64(..1_000_000),
            picture: None,
            is_for_sizes: false,
        };
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            match name.as_str() {
                "--help" | "-h" => return Ok(None),
                "--sizes" => {
                    options.is_for_sizes = true;
                    continue;
                }
                _ => {}
            }
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--scene" => options.scenes.push(Scene::named(&value)?),
                "--scale" => options.scales.push(scale(&value)?),
                "--seed" => {
                    options.seed = value
                        .parse()
                        .map_err(|_| format!("--seed: {value:?} is no number"))?;
                }
                "--picture" => options.picture = Some(value.into()),
                _ => return Err(format!("there is no option {name:?}; --help tells all")),
            }
        }
        if options.scenes.is_empty() {
            options.scenes = Scene::ALL.to_vec();
        }
        if options.scales.is_empty() {
            let scales = [(100, 100), (1000, 1000), (10_000, 100), (100, 10_000)];
            options.scales = scales
                .map(|(callers, instances)| Scale::new(callers, instances))
                .to_vec();
        }
        Ok(Some(options))
    }
}

fn scale(text: &str) -> Result<Scale, String> {
    let parts = text.split_once('x');
    let numbers =
        parts.and_then(|(callers, instances)| Some((callers.parse().ok()?, instances.parse().ok()?)));
    match numbers {
        Some((callers @ 1..=100_000, instances @ 3..=100_000)) => Ok(Scale::new(callers, instances)),
        _ => Err(format!(
            "--scale: {text:?} is not CALLERSxINSTANCES, with at least three instances"
        )),
    }
}
