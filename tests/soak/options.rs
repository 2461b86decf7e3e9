//! What the command line asks for.

use std::time::Duration;

pub(crate) const USAGE: &str = "\
soak [OPTIONS]

Calls through sidecars while their peers and apps are killed, stopped and started again. Fails when a call is
answered wrongly, hangs, or a sidecar holds more and more.

  --reload               nothing is killed: the configuration and the resources of the callers change all the time.
                         Fails when any call fails or any connection is closed, too
  --minutes N            how long (default 10)
  --seconds N            the same, for less than a minute
  --workers N            calls at the same time (default 16)
  --seed N               what is done when (default: the time)
  --help                 this text
";

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) length: Duration,
    pub(crate) workers: usize,
    pub(crate) seed: u64,
    /// Whether configuration and resources change instead of peers.
    pub(crate) reloads: bool,
}

impl Options {
    /// Reads a command line; `None` when it asks for help.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            length: Duration::from_secs(600),
            workers: 16,
            seed: fastrand::u64(..1_000_000),
            reloads: false,
        };
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            if name == "--reload" {
                options.reloads = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{name}: {value:?} is no number"))
            };
            match name.as_str() {
                "--minutes" => options.length = Duration::from_secs(number()?.max(1) * 60),
                "--seconds" => options.length = Duration::from_secs(number()?.max(1)),
                "--workers" => options.workers = usize::try_from(number()?.max(1)).unwrap_or(16),
                "--seed" => options.seed = number()?,
                _ => return Err(format!("there is no option {name:?}; --help tells all")),
            }
        }
        Ok(Some(options))
    }
}
