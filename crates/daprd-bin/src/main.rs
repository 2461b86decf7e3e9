//! `daprd`: a sidecar for service invocation.
//!
//! This is the composition: the only place that knows every crate, where each trait meets the type that
//! implements it. It reads the command line, puts the sidecar together in a fixed order, and ends it. It has no
//! rule of its own about how a call is made.
//!
//! `flags` is the command line, `environment` what is read from outside besides it, `sidecar` the start, what lasts, the
//! generations of the configuration and the end, `servers` the listeners, `observer` who sees calls. `check` and `schema` are
//! for whoever writes resources: they run no sidecar.

#![allow(
    unreachable_pub,
    reason = "the modules of a program have no reader outside of it"
)]

mod access_log;
mod check;
mod environment;
mod fatal;
mod flags;
mod limits;
mod observer;
mod process;
mod schema;
mod scope;
mod servers;
mod sidecar;
mod signals;
mod wait;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use fatal::Fatal;
use flags::{Options, Settings, SpecialMode};
use scope::SCOPE;
use sidecar::Ended;
use telemetry::log::{self, Level, Log, LogSettings};

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = subcommand(std::env::args_os().skip(1)) {
        return code;
    }
    let flags = match flags::parse(std::env::args_os().skip(1)) {
        Ok(flags) => flags,
        Err(ended) => {
            say(&mut std::io::stderr(), &ended.stderr);
            return ExitCode::from(ended.code);
        }
    };
    for warning in &flags.warnings {
        say(&mut std::io::stderr(), &format!("{warning}\n"));
    }
    let options = Options::of(&flags);
    match (flags.mode(), &options) {
        (_, Err(_)) | (SpecialMode::Run, _) => {}
        (SpecialMode::Version, _) => return print(&format!("{}\n", flags::VERSION)),
        (SpecialMode::BuildInfo, _) => {
            let (version, commit) = (flags::VERSION, flags::COMMIT);
            let middleware: Vec<String> = middleware::built_types().collect();
            return print(&format!(
                "Version: {version}\nGit Commit: {commit}\nGit Version: {commit}\nMiddleware: {}\n",
                middleware.join(", ")
            ));
        }
        (SpecialMode::Wait, _) => {
            wait::for_outbound_health(flags.text("dapr-http-port"));
            return ExitCode::SUCCESS;
        }
    }
    let level = Level::parse(flags.text("log-level"));
    let log = match begin_log(&flags, level.unwrap_or(Level::Info), options.is_ok()) {
        Ok(log) => log,
        Err(code) => return code,
    };
    let options = match (options, level) {
        (Ok(options), Some(_)) => options,
        (Err(text), _) => return fatal(&log, &format!("Failed to parse flags: {text}")),
        (_, None) => {
            return fatal(
                &log,
                &format!("invalid value for --log-level: {}", flags.text("log-level")),
            );
        }
    };
    process::prepare();
    let level = level.unwrap_or(Level::Info);
    tracing::info!(
        target: SCOPE,
        "Starting Dapr Runtime -- version {} -- commit {}", flags::VERSION, flags::COMMIT
    );
    tracing::info!(target: SCOPE, "Log level set to: {}", level.name());
    let ended = match run(&flags, &options, &log) {
        Ok(ended) => ended,
        Err(error) => return fatal(&log, &format!("Fatal error from runtime: {error}")),
    };
    match ended {
        Ended::Gracefully => {
            tracing::info!(target: SCOPE, "Daprd shutdown gracefully");
            log.flush();
            ExitCode::SUCCESS
        }
        Ended::Forced => {
            log.flush();
            ExitCode::FAILURE
        }
        Ended::Fatally(text) => fatal(&log, &text),
        Ended::BySignalDuringShutdown(text) => {
            log.fatal("dapr.signals", &text);
            log.flush();
            ExitCode::FAILURE
        }
    }
}

/// What the first argument asks for instead of a sidecar. Every other argument without a dash is passed over, as Dapr's
/// `daprd` does.
fn subcommand(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let first = args.next()?;
    let out = |text: &str| say(&mut std::io::stdout(), text);
    let complain = |text: &str| say(&mut std::io::stderr(), text);
    match first.to_str()? {
        "check" => Some(check::run(args, out, complain)),
        "schema" => Some(schema::run(args, out, complain)),
        _ => None,
    }
}

/// Runs the sidecar until it ends; a hang-up builds it anew.
fn run(flags: &flags::Flags, options: &Options, log: &Log) -> Result<Ended, Fatal> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build()
        .map_err(Fatal::Runtime)?;
    let ended = runtime.block_on(async {
        let mut signals = signals::Signals::new().map_err(Fatal::Runtime)?;
        let last = log.clone();
        signals::quit_at_once(move || {
            last.fatal("dapr.signals", "Received signal 'quit'; exiting immediately");
            last.flush();
        })
        .map_err(Fatal::Runtime)?;
        loop {
            sidecar::check_security(flags)?;
            let settings = Settings::of(flags).map_err(Fatal::Settings)?;
            if let Some(ended) = sidecar::run(flags, options, &settings, log, &mut signals).await? {
                return Ok(ended);
            }
        }
    });
    // What still runs now has been told to end, and nobody waits for it any more.
    runtime.shutdown_background();
    ended
}

/// Half of the processors that this container may use (not of those that the host has): the other half is the app's.
/// More threads hand calls to each other more often, which costs more than they save: see the page on performance.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

fn begin_log(flags: &flags::Flags, level: Level, is_known: bool) -> Result<Log, ExitCode> {
    let settings = LogSettings {
        level,
        as_json: is_known && flags.is_on("log-as-json"),
        file: Some(flags.text("log-file"))
            .filter(|file| !file.is_empty())
            .map(Into::into),
        app_id: if is_known {
            flags.text("app-id").to_owned()
        } else {
            String::new()
        },
        instance: name_resolution::host::host_name(),
        version: flags::VERSION,
    };
    log::init(settings.clone()).map_err(|error| {
        // Without its file the log goes to the standard output, to say so.
        match log::init(LogSettings {
            file: None,
            ..settings
        }) {
            Ok(log) => fatal(&log, &error.to_string()),
            Err(_) => ExitCode::FAILURE,
        }
    })
}

fn fatal(log: &Log, text: &str) -> ExitCode {
    log.fatal(SCOPE, text);
    log.flush();
    ExitCode::FAILURE
}

fn print(text: &str) -> ExitCode {
    say(&mut std::io::stdout(), text);
    ExitCode::SUCCESS
}

/// A closed output is no reason to fail.
fn say(output: &mut impl Write, text: &str) {
    let _ = output.write_all(text.as_bytes());
    let _ = output.flush();
}
