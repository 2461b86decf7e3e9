//! `daprd check`: everything that is wrong with resources, told at once and without running anything.
//!
//! `args` is the command line, `files` reads, `judge` looks for what is wrong with what can be read, `report` writes it down.
//! Reading is that of a sidecar, and so is judging: nothing here knows better than they what is right.

mod args;
mod files;
mod judge;
mod report;

use std::ffi::OsString;
use std::process::ExitCode;

use resources::Severity;

use args::Ended;
use report::FileFinding;

/// The exit code of a command line that cannot be understood.
const WRONG_USE: u8 = 2;

/// Checks what `args` name; `say` and `complain` write to the standard output and error.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    say: impl FnOnce(&str),
    complain: impl FnOnce(&str),
) -> ExitCode {
    let arguments = match args::parse(args) {
        Ok(arguments) => arguments,
        Err(Ended::Help) => {
            say(args::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(Ended::Wrong(why)) => {
            complain(&format!("{}\n{why}\n", args::USAGE));
            return ExitCode::from(WRONG_USE);
        }
    };
    let lookup = |name: &str| std::env::var(name).ok();
    // What the sidecar puts in place by itself is always there.
    let with_own =
        |name: &str| lookup(name).or_else(|| OWN_VARIABLES.contains(&name).then(|| "0".to_owned()));
    let files = files::read(&arguments, &with_own);
    let mut told = judge::judge(&arguments, &files, &lookup);
    for file in &files {
        let own = file.inspection.findings.iter().cloned();
        told.extend(own.map(|finding| FileFinding {
            file: file.name.clone(),
            finding,
        }));
    }
    // In the order of files as they were given, and of places in them.
    let position = |told: &FileFinding| files.iter().position(|file| file.name == told.file);
    told.sort_by_cached_key(|told| {
        let FileFinding { finding, .. } = told;
        (position(told), finding.place, finding.rule, finding.text.clone())
    });
    told.dedup();
    say(&report::render(&told, files.len(), arguments.output));
    let fails = report::count(&told, Severity::Error) > 0
        || (arguments.denies_warnings && report::count(&told, Severity::Warning) > 0);
    if fails {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The variables of configurations that a sidecar sets itself.
const OWN_VARIABLES: [&str; 8] = [
    "APP_ID",
    "APP_PORT",
    "DAPR_GRPC_PORT",
    "DAPR_HTTP_PORT",
    "DAPR_METRICS_PORT",
    "DAPR_PORT",
    "DAPR_PROFILE_PORT",
    "HOST_ADDRESS",
];
