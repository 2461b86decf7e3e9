//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

use integration_tests::daprd_binary;

use crate::scene::Scene;

pub(crate) const USAGE: &str = "\
chaos [OPTIONS]
chaos --plot FILE.json [--pictures FOLDER]

Calls three instances of an app while one of them is killed, stalled or slowed, and while all are replaced. Fails when
a call fails in a scene that need not lose any.

  --scene NAME           sidecar-killed, sidecar-stalled, partitioned, app-killed, app-stalled, app-slow or rolled; may be
                         repeated (default: all)
  --rate N               calls per second (default 300)
  --seconds N            how long a scene lasts (default 16)
  --retries              with a policy of three retries, 50 ms apart
  --timeout MS           with a policy that gives each attempt so long
  --peer NAME=PATH       the same scenes with another binary; may be repeated
  --resolver NAME        how sidecars find each other: sqlite or mdns, which needs a network that can multicast
                         (default sqlite)
  --seed N               which instance it happens to (default: the time)
  --json FILE            writes what callers saw over time
  --plot FILE.json       draws such a file instead of playing scenes: a picture for each scene
  --pictures FOLDER      where to (default docs/src)
  --help                 this text
";

/// A program of daprd's command line.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) is_ours: bool,
}

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) scenes: Vec<Scene>,
    pub(crate) rate: u32,
    pub(crate) length: Duration,
    pub(crate) has_retries: bool,
    pub(crate) timeout: Option<u64>,
    /// Whether sidecars find each other by multicast, instead of a file.
    pub(crate) by_mdns: bool,
    pub(crate) binaries: Vec<Binary>,
    pub(crate) seed: u64,
    pub(crate) json: Option<PathBuf>,
    pub(crate) plot: Option<PathBuf>,
    pub(crate) pictures: PathBuf,
}

impl Options {
    /// Reads a command line; `None` when it asks for help.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            scenes: Vec::new(),
            rate: 300,
            length: Duration::from_secs(16),
            has_retries: false,
            timeout: None,
            by_mdns: false,
            binaries: Vec::new(),
            seed: fastrand::u64(..1_000_000),
            json: None,
            plot: None,
            pictures: "docs/src".into(),
        };
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            match name.as_str() {
                "--help" | "-h" => return Ok(None),
                "--retries" => {
                    options.has_retries = true;
                    continue;
                }
                _ => {}
            }
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{name}: {value:?} is no number"))
            };
            match name.as_str() {
                "--scene" => options.scenes.push(Scene::named(&value)?),
                "--rate" => options.rate = u32::try_from(number()?.clamp(1, 10_000)).unwrap_or(300),
                "--seconds" => options.length = Duration::from_secs(number()?.max(4)),
                "--timeout" => options.timeout = Some(number()?),
                "--resolver" => {
                    options.by_mdns = match value.as_str() {
                        "mdns" => true,
                        "sqlite" => false,
                        _ => return Err(format!("--resolver: {value:?} is neither sqlite nor mdns")),
                    }
                }
                "--seed" => options.seed = number()?,
                "--json" => options.json = Some(value.into()),
                "--plot" => options.plot = Some(value.into()),
                "--pictures" => options.pictures = value.into(),
                "--peer" => {
                    let (name, path) = value
                        .split_once('=')
                        .ok_or_else(|| format!("--peer: {value:?} is not NAME=PATH"))?;
                    options.binaries.push(Binary {
                        name: name.to_owned(),
                        path: path.into(),
                        is_ours: false,
                    });
                }
                _ => return Err(format!("there is no option {name:?}; --help tells all")),
            }
        }
        if options.scenes.is_empty() {
            // Where names are told by multicast nothing can be put between.
            let all = Scene::ALL.into_iter();
            options.scenes = all
                .filter(|scene| !options.by_mdns || *scene != Scene::Partitioned)
                .collect();
        } else if options.by_mdns && options.scenes.contains(&Scene::Partitioned) {
            return Err("--scene partitioned: not with --resolver mdns".to_owned());
        }
        // Pictures need none, and finding it may build it.
        if options.plot.is_some() {
            return Ok(Some(options));
        }
        let ours = Binary {
            name: "daprd-rs".to_owned(),
            path: daprd_binary().to_owned(),
            is_ours: true,
        };
        options.binaries.insert(0, ours);
        Ok(Some(options))
    }
}
