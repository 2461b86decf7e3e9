//! Every flag there is.

use std::fmt::Write as _;

/// The type of a flag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Uint,
    String,
    Strings,
    Duration,
}

impl Kind {
    /// What the usage text calls it.
    pub(super) fn shown(self) -> &'static str {
        match self {
            Self::Bool => "",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::String => "string",
            Self::Strings => "strings",
            Self::Duration => "duration",
        }
    }
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The default, as it would be written.
    pub(super) default: &'static str,
    /// What is printed when it is used all the same; such flags are not in the usage text.
    pub(super) deprecated: Option<&'static str>,
    pub(super) help: &'static str,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default,
        deprecated: None,
        help,
    }
}

const fn deprecated(name: &'static str, kind: Kind, default: &'static str, hint: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default,
        deprecated: Some(hint),
        help: "",
    }
}

use Kind::{Bool, Duration, Int, String, Strings, Uint};

/// In the order of their names.
pub(super) const FLAGS: &[Flag] = &[
    flag(
        "actors-disseminate-timeout",
        Duration,
        "30s",
        "Accepted for compatibility: this sidecar hosts no actors",
    ),
    deprecated("actors-service", String, "", "flag no longer has any effect"),
    flag(
        "allowed-origins",
        String,
        "",
        "Origins that may call the HTTP API, comma separated, or *",
    ),
    flag(
        "app-binding-options-timeout",
        Duration,
        "3s",
        "Accepted for compatibility: this sidecar has no bindings",
    ),
    flag(
        "app-channel-address",
        String,
        "127.0.0.1",
        "Host or address that the app listens on",
    ),
    flag(
        "app-health-check-path",
        String,
        "/healthz",
        "Path that health checks of an HTTP app call",
    ),
    flag(
        "app-health-probe-interval",
        Int,
        "5",
        "Seconds between health checks of the app",
    ),
    flag(
        "app-health-probe-timeout",
        Int,
        "500",
        "Milliseconds that a health check may take",
    ),
    flag(
        "app-health-threshold",
        Int,
        "3",
        "Failures in a row that make the app unhealthy",
    ),
    flag("app-id", String, "", "Id of the app, by which others call it"),
    flag(
        "app-max-concurrency",
        Int,
        "-1",
        "Calls that the app gets at once; -1 for any number",
    ),
    flag("app-port", String, "", "Port that the app listens on"),
    flag(
        "app-protocol",
        String,
        "http",
        "Protocol of the app: http, https, h2c, grpc or grpcs",
    ),
    deprecated("app-ssl", Bool, "false", "use '--app-protocol https|grpcs'"),
    flag("build-info", Bool, "false", "Print version and commit, then exit"),
    deprecated("components-path", String, "", "use --resources-path"),
    flag(
        "config",
        Strings,
        "",
        "Configuration file, may be repeated; in Kubernetes the name of a Configuration",
    ),
    flag(
        "control-plane-address",
        String,
        "",
        "Address of the operator, in Kubernetes",
    ),
    flag(
        "control-plane-namespace",
        String,
        "default",
        "Namespace of the control plane",
    ),
    flag(
        "control-plane-trust-domain",
        String,
        "localhost",
        "Trust domain of the control plane",
    ),
    flag(
        "dapr-block-shutdown-duration",
        Duration,
        "0s",
        "Keep working for so long after a signal, or until the app is unhealthy",
    ),
    flag(
        "dapr-graceful-shutdown-seconds",
        Int,
        "5",
        "Seconds that calls in flight have to end; 0 for any time",
    ),
    flag("dapr-grpc-port", String, "50001", "Port of the gRPC API"),
    deprecated(
        "dapr-http-max-request-size",
        Int,
        "4",
        "use '--max-body-size 4Mi'",
    ),
    flag("dapr-http-port", String, "3500", "Port of the HTTP API"),
    deprecated(
        "dapr-http-read-buffer-size",
        Int,
        "4",
        "use '--read-buffer-size 4Ki'",
    ),
    flag(
        "dapr-internal-grpc-listen-address",
        String,
        "",
        "Address that other sidecars call; empty for all interfaces",
    ),
    flag(
        "dapr-internal-grpc-port",
        String,
        "",
        "Port that other sidecars call; empty for one that stays the same",
    ),
    flag(
        "dapr-listen-addresses",
        String,
        "",
        "Addresses of the APIs, comma separated; empty for all interfaces",
    ),
    flag(
        "dapr-public-listen-address",
        String,
        "",
        "Address of the public port",
    ),
    flag(
        "dapr-public-port",
        String,
        "",
        "Port with health and metadata alone, without a token",
    ),
    flag(
        "disable-builtin-k8s-secret-store",
        Bool,
        "false",
        "Do not set up the secret store of Kubernetes",
    ),
    flag(
        "disable-init-endpoints",
        Strings,
        "",
        "What the app is not asked at start: config, subscribe",
    ),
    flag(
        "enable-api-logging",
        Bool,
        "false",
        "Log every call of the API; overrides the configuration",
    ),
    flag(
        "enable-app-health-check",
        Bool,
        "false",
        "Check the health of the app",
    ),
    flag("enable-metrics", Bool, "true", "Serve metrics"),
    flag("enable-mtls", Bool, "false", "Use mTLS between sidecars"),
    flag("enable-profiling", Bool, "false", "Open the profiling port"),
    flag(
        "hot-reload-reconcile-interval",
        Duration,
        "0s",
        "How often resources are compared; 0 for every minute",
    ),
    flag("log-as-json", Bool, "false", "Log JSON, one object a line"),
    flag(
        "log-file",
        String,
        "",
        "File to log into instead of the standard output",
    ),
    flag(
        "log-level",
        String,
        "info",
        "What to log: debug, info, warn, error or fatal",
    ),
    flag(
        "max-body-size",
        String,
        "4Mi",
        "Longest body of a request, as a quantity; 0 for any length",
    ),
    flag(
        "metrics-listen-address",
        String,
        "0.0.0.0",
        "Address of the metrics port",
    ),
    flag("metrics-port", String, "9090", "Port of the metrics"),
    flag("mode", String, "standalone", "standalone or kubernetes"),
    flag(
        "placement-host-address",
        String,
        "",
        "Accepted for compatibility: this sidecar hosts no actors",
    ),
    flag("profile-port", String, "7777", "Port for profiling"),
    flag(
        "read-buffer-size",
        String,
        "4Ki",
        "Longest header of a request, as a quantity",
    ),
    deprecated("reminders-service", String, "", "flag no longer has any effect"),
    flag(
        "resources-path",
        Strings,
        "",
        "Folder with resources, may be repeated",
    ),
    flag(
        "scheduler-host-address",
        Strings,
        "",
        "Accepted for compatibility: this sidecar runs no jobs",
    ),
    flag(
        "scheduler-job-streams",
        Uint,
        "3",
        "Accepted for compatibility: this sidecar runs no jobs",
    ),
    flag(
        "sentry-address",
        String,
        "",
        "Address of the certificate authority",
    ),
    flag(
        "sentry-request-jwt-audiences",
        Strings,
        "",
        "Audiences of the tokens to ask for with a certificate",
    ),
    flag(
        "unix-domain-socket",
        String,
        "",
        "Folder for the sockets of the APIs, instead of ports",
    ),
    flag("version", Bool, "false", "Print the version, then exit"),
    flag(
        "wait",
        Bool,
        "false",
        "Wait until a sidecar on this host can call out, then exit",
    ),
];

/// The usage text.
pub(super) fn usage() -> std::string::String {
    let mut text = std::string::String::from("Usage of daprd:\n");
    let shown: Vec<&Flag> = FLAGS.iter().filter(|flag| flag.deprecated.is_none()).collect();
    let head = |flag: &Flag| {
        format!("      --{} {}", flag.name, flag.kind.shown())
            .trim_end()
            .to_owned()
    };
    let width = shown.iter().map(|flag| head(flag).len()).max().unwrap_or(0) + 3;
    for flag in shown {
        let default = match (flag.kind, flag.default) {
            (_, "") | (Bool, "false") | (Duration, "0s") => std::string::String::new(),
            (String, default) => format!(" (default {default:?})"),
            (_, default) => format!(" (default {default})"),
        };
        let _ = writeln!(text, "{:width$}{}{default}", head(flag), flag.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of a Dapr sidecar: name, type, default, deprecation.
    const KNOWN: &str = include_str!("../../tests-data/flags.tsv");

    #[test]
    fn every_flag_of_dapr_is_there_and_no_other() {
        let ours: Vec<std::string::String> = FLAGS
            .iter()
            .map(|flag| {
                let kind = match flag.kind {
                    Bool => "bool",
                    Strings => "list",
                    other => other.shown(),
                };
                format!(
                    "{}\t{kind}\t{}\t{}",
                    flag.name,
                    flag.default,
                    flag.deprecated.unwrap_or_default()
                )
            })
            .collect();
        let known: Vec<&str> = KNOWN.lines().collect();
        assert_eq!(ours, known);
    }

    #[test]
    fn the_usage_text_is_a_table() {
        let usage = usage();
        assert!(!usage.contains("app-ssl"), "deprecated flags are not shown");
        assert!(usage.contains("--enable-metrics "), "{usage}");
        assert!(usage.lines().all(|line| line.len() < 140), "{usage}");
    }

    const PAGE: &str = include_str!("../../../../docs/src/flags.md");

    /// The rows of the page that begin with a flag: its name and its default.
    fn rows() -> Vec<(&'static str, &'static str)> {
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `--"));
        let mut found = Vec::new();
        for row in rows {
            let mut cells = row.split('|');
            let (names, default) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
            let default = default.split('`').nth(1).unwrap_or_default();
            for name in names.split("`--") {
                let name = name.split('`').next().unwrap_or_default();
                found.push((name, default));
            }
        }
        found
    }

    #[test]
    fn the_page_tells_every_flag_and_its_default() {
        let rows = rows();
        for flag in FLAGS {
            let Some((_, default)) = rows.iter().find(|(name, _)| *name == flag.name) else {
                panic!("docs/src/flags.md has no row for --{}", flag.name);
            };
            let is_shown = *default == flag.default || flag.deprecated.is_some() || flag.kind == Kind::Bool;
            assert!(
                is_shown,
                "--{}: the default is {:?}, the page says {default:?}",
                flag.name, flag.default
            );
        }
        for (name, _) in rows {
            let is_mode = matches!(name, "version" | "build-info" | "wait" | "help");
            assert!(
                is_mode || FLAGS.iter().any(|flag| flag.name == name),
                "docs/src/flags.md tells of --{name}, which is none"
            );
        }
    }
}
