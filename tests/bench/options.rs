//! What the command line asks for.

use std::path::PathBuf;
use std::str::FromStr;

use crate::axis::Axis;
use crate::kind::Kind;

pub(crate) const USAGE: &str = "\
bench [OPTIONS]
bench --plot FILE.json [--picture FILE.svg]

Measures calls through two sidecars, beside calls straight to the app and calls through other proxies. Rounds of
all chains are interleaved; what is shown is the median of the rounds, with the least and the greatest.

  --kind NAME            what to measure; may be repeated (default http):
                           http              HTTP call to an HTTP app
                           grpc-proxy        proxied unary gRPC call
                           grpc-stream       messages of proxied gRPC streams
                           invoke-service    InvokeService to an HTTP app and to a gRPC app
                           http-to-grpc      HTTP call to a gRPC app
                           large-body        a large body each way: throughput, growth of memory
                           idle-connections  memory of idle connections
                           start             from start to healthy
                           crowd             many calls at the same time
                           all               all of these
                         and how the cost of a call and the memory change while something grows:
                           scale-http, scale-grpc-proxy    calls at the same time
                           scale-apps                      apps that are called at random, at one address
                           scale-addresses                 the same, each at an address of its own
                           scale-policies                  policies of the callee and operations in each
                           scale-connections               idle connections
                           scale                           all of these six
  --chain NAME           measures this chain alone; may be repeated. Chains are direct (no sidecar), bytes (two
                         hops that only move bytes), relay (a bare relay of the HTTP library that daprd-rs uses),
                         daprd-rs, every peer, and nginx, envoy and haproxy when they are on the
                         machine
  --mtls                 beside every chain of sidecars, the relay, Envoy and HAProxy, the same with mTLS
                         between the hops, as NAME+mtls; nginx stays plain
  --peer NAME=PATH       another daprd binary to compare with; may be repeated
  --daprd PATH           the binary measured as daprd-rs; default: this workspace's own, or DAPRD_BIN
  --rounds N             rounds of every chain (default 3)
  --seconds S            length of each load (default 5)
  --warm-up S            load before each measured one, seconds (default 1)
  --connections N        calls at the same time in the closed loop: connections of HTTP/1, streams of gRPC, sixteen
                         on a connection (default 64)
  --rate N               calls per second of the open loop (default 1000)
  --body BYTES           length of the request's body and of the answer's (default 1024)
  --resolver NAME        how sidecars find each other: mdns or sqlite (default mdns); a Go daprd has sqlite
                         only when built with all components
  --large-body MIB       length of the large body (default 256)
  --idle N               idle connections (default 1000)
  --concurrent N         calls of the crowd (default 2000)
  --json FILE            writes every figure of every round too
  --plot FILE.json       draws the figures of such a file instead of measuring
  --picture FILE.svg     where to (default docs/src/performance.svg)
  --curves FILE.svg      where to draw how figures change while something grows (default docs/src/scale.svg)
  --help                 this text

Load comes from oha (`cargo install --locked oha`), which is looked for on PATH and among cargo's binaries. Streams and
InvokeService are called by this program itself.
";

/// How sidecars find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolver {
    Sqlite,
    Mdns,
}

impl Resolver {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Mdns => "mdns",
        }
    }
}

/// Another binary to compare with.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) binary: PathBuf,
}

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) kinds: Vec<Kind>,
    /// What grows.
    pub(crate) axes: Vec<Axis>,
    /// The chains that are measured; all when empty.
    pub(crate) chains: Vec<String>,
    /// Whether chains are measured with mTLS too.
    pub(crate) mtls: bool,
    pub(crate) peers: Vec<Peer>,
    pub(crate) daprd: Option<PathBuf>,
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) warm_up: u64,
    pub(crate) connections: usize,
    pub(crate) rate: u64,
    pub(crate) body: usize,
    pub(crate) resolver: Resolver,
    pub(crate) large_body: u64,
    pub(crate) idle: usize,
    pub(crate) concurrent: usize,
    pub(crate) json: Option<PathBuf>,
    /// A file of figures that is to be drawn.
    pub(crate) plot: Option<PathBuf>,
    pub(crate) picture: PathBuf,
    pub(crate) curves: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            axes: Vec::new(),
            chains: Vec::new(),
            mtls: false,
            peers: Vec::new(),
            daprd: None,
            rounds: 3,
            seconds: 5,
            warm_up: 1,
            connections: 64,
            rate: 1000,
            body: 1024,
            resolver: Resolver::Mdns,
            large_body: 256,
            idle: 1000,
            concurrent: 2000,
            json: None,
            plot: None,
            picture: PathBuf::from("docs/src/performance.svg"),
            curves: PathBuf::from("docs/src/scale.svg"),
        }
    }
}

impl Options {
    /// Reads a command line; `None` when it asks for help.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            if name == "--mtls" && inline.is_none() {
                options.mtls = true;
                continue;
            }
            let mut value = || {
                inline
                    .clone()
                    .or_else(|| args.next())
                    .ok_or_else(|| format!("{name} needs a value"))
            };
            match name.as_str() {
                "--peer" => options.peers.push(peer(&value()?)?),
                "--daprd" => options.daprd = Some(binary(&value()?)?),
                "--rounds" => options.rounds = at_least(1, &name, &value()?)?,
                "--seconds" => options.seconds = at_least(1, &name, &value()?)?,
                "--warm-up" => options.warm_up = number(&name, &value()?)?,
                "--connections" => options.connections = at_least(1, &name, &value()?)?,
                "--rate" => options.rate = at_least(1, &name, &value()?)?,
                "--body" => options.body = number(&name, &value()?)?,
                "--resolver" => options.resolver = resolver(&value()?)?,
                "--kind" => options.add_kind(&value()?)?,
                "--chain" => options.chains.push(value()?),
                "--large-body" => options.large_body = at_least(1, &name, &value()?)?,
                "--idle" => options.idle = at_least(1, &name, &value()?)?,
                "--concurrent" => options.concurrent = at_least(1, &name, &value()?)?,
                "--json" => options.json = Some(value()?.into()),
                "--plot" => options.plot = Some(value()?.into()),
                "--picture" => options.picture = value()?.into(),
                "--curves" => options.curves = value()?.into(),
                _ => return Err(format!("there is no option {name:?}; --help tells all")),
            }
        }
        if options.kinds.is_empty() && options.axes.is_empty() {
            options.kinds.push(Kind::Http);
        }
        Ok(Some(options))
    }

    fn add_kind(&mut self, value: &str) -> Result<(), String> {
        let kinds = Kind::ALL.into_iter();
        let kinds: Vec<_> = kinds
            .filter(|kind| value == "all" || value == kind.name())
            .collect();
        let axes = Axis::ALL.into_iter();
        let axes: Vec<_> = axes
            .filter(|axis| value == "scale" || value == axis.name())
            .collect();
        if kinds.is_empty() && axes.is_empty() {
            return Err(format!("--kind: there is no kind {value:?}; --help tells all"));
        }
        self.kinds.extend(kinds);
        let new = axes.into_iter().filter(|axis| !self.axes.contains(axis));
        let new: Vec<_> = new.collect();
        self.axes.extend(new);
        Ok(())
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name}: {value:?} is no number that fits"))
}

fn at_least<T: FromStr + PartialOrd + From<u8>>(least: u8, name: &str, value: &str) -> Result<T, String> {
    let number = number::<T>(name, value)?;
    if number < T::from(least) {
        return Err(format!("{name} must be {least} at least"));
    }
    Ok(number)
}

fn resolver(value: &str) -> Result<Resolver, String> {
    [Resolver::Sqlite, Resolver::Mdns]
        .into_iter()
        .find(|resolver| resolver.name() == value)
        .ok_or_else(|| format!("--resolver: {value:?} is neither sqlite nor mdns"))
}

fn peer(value: &str) -> Result<Peer, String> {
    let (name, path) = value
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("--peer: {value:?} is not NAME=PATH"))?;
    Ok(Peer {
        name: name.to_owned(),
        binary: binary(path)?,
    })
}

fn binary(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if !path.is_file() {
        return Err(format!("there is no binary at {}", path.display()));
    }
    // A sidecar may be started from anywhere.
    path.canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Options>, String> {
        Options::parse(args.iter().map(ToString::to_string))
    }

    #[test]
    fn values_may_follow_or_be_joined() {
        for args in [&["--rounds", "7"][..], &["--rounds=7"]] {
            assert_eq!(parse(args).ok().flatten().map(|options| options.rounds), Some(7));
        }
    }

    #[test]
    fn kinds_add_up_and_http_is_the_default() {
        let kinds = |args: &[&str]| parse(args).ok().flatten().map(|options| options.kinds);
        assert_eq!(kinds(&[]), Some(vec![Kind::Http]));
        assert_eq!(
            kinds(&["--kind", "start", "--kind=grpc-proxy"]),
            Some(vec![Kind::Start, Kind::GrpcProxy])
        );
        assert_eq!(kinds(&["--kind=all"]), Some(Kind::ALL.to_vec()));
    }

    #[test]
    fn what_grows_is_a_kind_too() {
        let axes = |args: &[&str]| {
            let options = parse(args).ok().flatten();
            options.map(|options| (options.kinds.len(), options.axes))
        };
        let two = ["--kind=scale-apps", "--kind=scale"];
        assert_eq!(axes(&two[..1]), Some((0, vec![Axis::Apps])));
        assert_eq!(axes(&two).map(|(_, axes)| axes.len()), Some(Axis::ALL.len()));
        assert_eq!(axes(&["--mtls"]), Some((1, Vec::new())));
    }

    #[test]
    fn the_name_of_a_peer_stands_before_its_path() {
        let here = std::env::current_exe().expect("the path of the test");
        let args = format!("--peer=go={}", here.display());
        let options = parse(&[&args]).expect("valid").expect("no help");
        assert_eq!(options.peers[0].name, "go");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for args in [
            &["--rounds", "0"][..],
            &["--rounds"],
            &["--rounds", "x"],
            &["--peer", "go"],
            &["--peer", "go=/nothing/here"],
            &["--resolver", "dns"],
            &["--kind", "tcp"],
            &["--turbo"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn help_is_no_error() {
        assert!(parse(&["--help"]).is_ok_and(|options| options.is_none()));
    }
}
