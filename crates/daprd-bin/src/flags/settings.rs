//! The flags, checked and typed, in the order in which mistakes are told.

use std::time::Duration;

use super::parse::Flags;
use super::quantity;

/// What is checked before anything else; a mistake ends the process with `Failed to parse flags: …`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest body in bytes; `None` for any length.
    pub max_body: Option<u64>,
    /// What `--max-body-size` came to, as it is logged.
    pub max_body_shown: i64,
    /// The longest header in bytes; `None` for Go's megabyte.
    pub read_buffer: Option<u64>,
}

/// The protocol of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppProtocol {
    /// HTTP/1.1 in clear text.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 in clear text.
    H2c,
    /// gRPC in clear text.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
}

impl AppProtocol {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
        }
    }

    /// Whether it is one of the HTTP protocols.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https | Self::H2c)
    }
}

/// How the health of the app is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// The path, for HTTP apps.
    pub path: String,
    /// Between two checks.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// How many failures make the app unhealthy.
    pub threshold: u32,
}

/// The app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSettings {
    /// Its port; `None` without an app.
    pub port: Option<u16>,
    /// The port as it was given, which may be beyond what a port can be.
    pub port_shown: u32,
    /// Its host.
    pub address: String,
    /// Its protocol.
    pub protocol: AppProtocol,
    /// How many calls at once; `None` for any number.
    pub max_concurrency: Option<u32>,
    /// Its health checks, if they are on.
    pub health: Option<HealthSettings>,
}

/// All flags, typed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The app id.
    pub app_id: String,
    /// The app.
    pub app: AppSettings,
    /// The port of the HTTP API.
    pub http_port: u16,
    /// The port of the gRPC API.
    pub grpc_port: u16,
    /// The port that other sidecars call; `None` for the one that stays the same.
    pub internal_port: Option<u16>,
    /// The public port.
    pub public_port: Option<u16>,
    /// The profiling port; `None` when profiling is off.
    pub profile_port: Option<u16>,
    /// Addresses of the APIs; an empty one for all interfaces.
    pub listen_addresses: Vec<String>,
    /// The folder of the API's Unix sockets.
    pub socket_folder: Option<String>,
    /// Whether the app is asked for its configuration.
    pub asks_app_config: bool,
    /// Whether the app is asked for its subscriptions, where there is a message bus.
    pub asks_subscriptions: bool,
    /// Seconds that the stop may take; `None` for any time.
    pub grace: Option<Duration>,
    /// How long to go on after a signal.
    pub block_shutdown: Option<Duration>,
    /// Things to say once the log is there.
    pub warnings: Vec<String>,
}

impl Options {
    /// The first stage.
    pub fn of(flags: &Flags) -> Result<Self, String> {
        let max_body = size(flags, "max-body-size", "dapr-http-max-request-size", 20, 4 << 20)?;
        let read_buffer = size(
            flags,
            "read-buffer-size",
            "dapr-http-read-buffer-size",
            10,
            4 << 10,
        )?;
        let timeout = flags.duration("actors-disseminate-timeout");
        if timeout <= 0 {
            let shown = if timeout == 0 {
                "0s".to_owned()
            } else {
                format!(
                    "-{}",
                    go_text::format_duration(Duration::from_nanos(timeout.unsigned_abs()))
                )
            };
            return Err(format!(
                "invalid value for 'actors-disseminate-timeout' option: must be positive, got {shown}"
            ));
        }
        let positive = |size: i64| u64::try_from(size).ok().filter(|size| *size > 0);
        Ok(Self {
            max_body: positive(max_body),
            max_body_shown: max_body,
            read_buffer: positive(read_buffer),
        })
    }
}

/// A size by its flag, or by the deprecated one in larger units.
fn size(flags: &Flags, name: &str, deprecated: &str, shift: u32, default: i64) -> Result<i64, String> {
    if !flags.is_given(name) && flags.is_given(deprecated) {
        let units = flags.int(deprecated);
        return Ok(match units {
            -1 => default,
            units if units > 0 => units.saturating_mul(1 << shift),
            other => other,
        });
    }
    match quantity::parse(flags.text(name)) {
        Ok(-1) => Ok(default),
        Ok(size) => Ok(size),
        Err(cause) => Err(format!("invalid value for '{name}' option: {cause}")),
    }
}

impl Settings {
    /// The second stage; a mistake ends the process with `Fatal error from runtime: …`.
    pub fn of(flags: &Flags) -> Result<Self, String> {
        let is_standalone = match flags.text("mode") {
            "standalone" => true,
            "kubernetes" => false,
            other => return Err(format!("invalid mode: {other}")),
        };
        let app_id = flags.text("app-id").to_owned();
        if is_standalone && app_id.is_empty() {
            return Err("parameter app-id cannot be empty".to_owned());
        }
        if is_standalone && app_id.contains('.') {
            return Err("parameter app-id cannot contain dots".to_owned());
        }
        let number = |name: &str, label: &str| {
            go_text::atoi(flags.text(name)).map_err(|cause| format!("error parsing {label}: {cause}"))
        };
        let optional = |name: &str| {
            if flags.text(name).is_empty() {
                Ok(0)
            } else {
                number(name, name)
            }
        };
        let http_port = number("dapr-http-port", "dapr-http-port flag")?;
        let grpc_port = number("dapr-grpc-port", "dapr-grpc-port flag")?;
        let profile_port = number("profile-port", "profile-port flag")?;
        let internal_port = optional("dapr-internal-grpc-port")?;
        let public_port = optional("dapr-public-port")?;
        let app_port = optional("app-port")?;
        for (name, port) in [("dapr-http-port", http_port), ("dapr-grpc-port", grpc_port)] {
            if port == app_port {
                return Err(format!(
                    "the '{name}' argument value {port} conflicts with 'app-port'"
                ));
            }
        }
        let mut warnings = Vec::new();
        let protocol = protocol(flags, &mut warnings)?;
        let disabled = disabled_endpoints(flags)?;
        let is_on = |endpoint: &str| !disabled.iter().any(|name| name == endpoint);
        let (asks_app_config, asks_subscriptions) = (is_on("config"), is_on("subscribe"));
        let health = health(flags)?;
        if flags.int("scheduler-job-streams") == 0 {
            return Err("must define at least 1 scheduler stream, got 0".to_owned());
        }
        let grace = match flags.int("dapr-graceful-shutdown-seconds") {
            0 => {
                warnings.push(
                    "Graceful shutdown timeout is infinite, will wait indefinitely to shutdown".to_owned(),
                );
                None
            }
            seconds => Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(5))),
        };
        let port_of = |name: &str, port: i64| {
            u16::try_from(port).map_err(|_| format!("the '{name}' argument value {port} is no port"))
        };
        Ok(Self {
            app_id,
            app: AppSettings {
                port: u16::try_from(app_port).ok().filter(|port| *port > 0),
                port_shown: u32::try_from(app_port).unwrap_or(0),
                address: flags.text("app-channel-address").to_owned(),
                protocol,
                max_concurrency: u32::try_from(flags.int("app-max-concurrency"))
                    .ok()
                    .filter(|n| *n > 0),
                health,
            },
            http_port: port_of("dapr-http-port", http_port)?,
            grpc_port: port_of("dapr-grpc-port", grpc_port)?,
            internal_port: Some(port_of("dapr-internal-grpc-port", internal_port)?).filter(|port| *port > 0),
            public_port: match flags.text("dapr-public-port") {
                "" => None,
                _ => Some(port_of("dapr-public-port", public_port)?),
            },
            profile_port: flags
                .is_on("enable-profiling")
                .then(|| port_of("profile-port", profile_port))
                .transpose()?,
            listen_addresses: flags
                .text("dapr-listen-addresses")
                .split(',')
                .map(|a| a.trim().to_owned())
                .collect(),
            socket_folder: Some(flags.text("unix-domain-socket").to_owned())
                .filter(|folder| !folder.is_empty()),
            asks_app_config,
            asks_subscriptions,
            grace,
            block_shutdown: flags.is_given("dapr-block-shutdown-duration").then(|| {
                Duration::from_nanos(
                    u64::try_from(flags.duration("dapr-block-shutdown-duration")).unwrap_or(0),
                )
            }),
            warnings,
        })
    }
}

fn protocol(flags: &Flags, warnings: &mut Vec<String>) -> Result<AppProtocol, String> {
    let text = flags.text("app-protocol");
    let protocol = match text.to_lowercase().as_str() {
        "" => return Ok(AppProtocol::Http),
        "http" => AppProtocol::Http,
        "https" => AppProtocol::Https,
        "h2c" => AppProtocol::H2c,
        "grpc" => AppProtocol::Grpc,
        "grpcs" => AppProtocol::Grpcs,
        _ => return Err(format!("invalid value for 'app-protocol': {text}")),
    };
    if !flags.is_on("app-ssl") {
        return Ok(protocol);
    }
    let secured = match protocol {
        AppProtocol::Http => AppProtocol::Https,
        AppProtocol::Grpc => AppProtocol::Grpcs,
        other => return Ok(other),
    };
    warnings.push(format!(
        "The 'app-ssl' flag is deprecated; use 'app-protocol={}' instead",
        secured.name()
    ));
    Ok(secured)
}

fn disabled_endpoints(flags: &Flags) -> Result<Vec<String>, String> {
    let items = flags.list("disable-init-endpoints");
    let items: Vec<String> = items.iter().map(|item| item.trim().to_lowercase()).collect();
    match items
        .iter()
        .find(|item| !matches!(item.as_str(), "" | "config" | "subscribe"))
    {
        Some(unknown) => Err(format!("invalid value for 'disable-init-endpoints': {unknown}")),
        None => Ok(items),
    }
}

fn health(flags: &Flags) -> Result<Option<HealthSettings>, String> {
    let positive = |name: &str, default: u64| match u64::try_from(flags.int(name)) {
        Ok(0) | Err(_) => default,
        Ok(value) => value,
    };
    let interval = Duration::from_secs(positive("app-health-probe-interval", 5));
    let timeout = Duration::from_millis(positive("app-health-probe-timeout", 500));
    if timeout > interval {
        return Err(
            "value for 'health-probe-timeout' must be smaller than 'health-probe-interval'".to_owned(),
        );
    }
    let threshold = flags.int("app-health-threshold");
    let threshold = u32::try_from(threshold)
        .ok()
        .filter(|n| *n >= 1 && i32::try_from(*n).is_ok())
        .unwrap_or(3);
    let path = flags.text("app-health-check-path").to_owned();
    let is_on = flags.is_on("enable-app-health-check");
    Ok(is_on.then_some(HealthSettings {
        path,
        interval,
        timeout,
        threshold,
    }))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::flags::parse;

    fn of(args: &[&str]) -> Result<Settings, String> {
        let args = std::iter::once("--app-id=a").chain(args.iter().copied());
        Settings::of(&parse(args.map(OsString::from)).unwrap())
    }

    fn options(args: &[&str]) -> Result<Options, String> {
        Options::of(&parse(args.iter().map(OsString::from)).unwrap())
    }

    #[test]
    fn mistakes() {
        for (args, wanted) in [
            (&["--app-id="][..], "parameter app-id cannot be empty"),
            (&["--app-id=a.b"], "parameter app-id cannot contain dots"),
            (&["--mode=foo"], "invalid mode: foo"),
            (
                &["--dapr-http-port=abc"],
                "error parsing dapr-http-port flag: strconv.Atoi: parsing \"abc\": invalid syntax",
            ),
            (
                &["--dapr-internal-grpc-port=abc"],
                "error parsing dapr-internal-grpc-port: strconv.Atoi: parsing \"abc\": invalid syntax",
            ),
            (
                &["--app-port=abc"],
                "error parsing app-port: strconv.Atoi: parsing \"abc\": invalid syntax",
            ),
            (
                &["--app-port=3500"],
                "the 'dapr-http-port' argument value 3500 conflicts with 'app-port'",
            ),
            (
                &["--app-port=50001"],
                "the 'dapr-grpc-port' argument value 50001 conflicts with 'app-port'",
            ),
            (
                &["--dapr-http-port=0"],
                "the 'dapr-http-port' argument value 0 conflicts with 'app-port'",
            ),
            (&["--app-protocol=udp"], "invalid value for 'app-protocol': udp"),
            (
                &["--disable-init-endpoints=config,foo"],
                "invalid value for 'disable-init-endpoints': foo",
            ),
            (
                &["--app-health-probe-timeout=6000"],
                "value for 'health-probe-timeout' must be smaller than 'health-probe-interval'",
            ),
            (
                &["--scheduler-job-streams=0"],
                "must define at least 1 scheduler stream, got 0",
            ),
        ] {
            assert_eq!(of(args).map(|_| ()), Err(wanted.to_owned()), "{args:?}");
        }
    }

    #[test]
    fn values() {
        let settings = of(&["--app-port=80", "--app-protocol=GRPC", "--app-ssl"]).unwrap();
        assert_eq!(settings.app.port, Some(80));
        assert_eq!(settings.app.protocol, AppProtocol::Grpcs);
        assert_eq!(settings.warnings.len(), 1);
        assert_eq!(settings.grace, Some(Duration::from_secs(5)));
        assert_eq!(settings.block_shutdown, None);
        assert_eq!(
            of(&["--dapr-graceful-shutdown-seconds=-1"]).unwrap().grace,
            Some(Duration::from_secs(5))
        );
        assert_eq!(of(&["--dapr-graceful-shutdown-seconds=0"]).unwrap().grace, None);
        assert_eq!(
            of(&["--dapr-block-shutdown-duration=0"]).unwrap().block_shutdown,
            Some(Duration::ZERO)
        );
        assert_eq!(of(&["--app-port=70000"]).unwrap().app.port, None);
        let health = of(&[
            "--enable-app-health-check",
            "--app-health-probe-interval=0",
            "--app-health-threshold=0",
        ]);
        let health = health.unwrap().app.health.unwrap();
        assert_eq!((health.interval, health.threshold), (Duration::from_secs(5), 3));
    }

    #[test]
    fn sizes() {
        for (args, body, buffer) in [
            (&[][..], Some(4 << 20), Some(4096)),
            (
                &["--max-body-size=-1", "--read-buffer-size=8Ki"],
                Some(4 << 20),
                Some(8192),
            ),
            (&["--max-body-size=0"], None, Some(4096)),
            (&["--dapr-http-max-request-size=3"], Some(3 << 20), Some(4096)),
            (
                &["--dapr-http-max-request-size=3", "--max-body-size=1k"],
                Some(1000),
                Some(4096),
            ),
        ] {
            let options = options(args).unwrap();
            assert_eq!(
                (options.max_body, options.read_buffer),
                (body, buffer),
                "{args:?}"
            );
        }
        assert!(
            options(&["--max-body-size=abc"])
                .unwrap_err()
                .starts_with("invalid value for 'max-body-size' option: ")
        );
        assert_eq!(
            options(&["--actors-disseminate-timeout=0"]).unwrap_err(),
            "invalid value for 'actors-disseminate-timeout' option: must be positive, got 0s"
        );
    }
}
